"""What the commands that look at a study print."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from collabpipe.catalogue.sources import SOURCES
from collabpipe.common.errors import CollabpipeError
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.results.prune import Unasked, freed_bytes, left_over, prune_command, unasked
from collabpipe.results.state import State
from collabpipe.results.studies import Study
from collabpipe.results.unfinished import begun, failed

if TYPE_CHECKING:
    from collabpipe.audit.share import Restored
    from collabpipe.audit.verify import Verifier

MOST_LINES = 10
"""Of unfinished trainings, and of failed jobs, so many are shown."""


def console() -> Console:
    """Where tables are printed."""
    # A log or a pipe is no terminal of 80 columns: a table must not be folded there.
    return Console(width=None if sys.stdout.isatty() else 200)


def show_plan(plan: Plan, state: State) -> None:
    """A row a cell with its seeds and what exists of them, then the totals."""
    table = Table(title=f"study {plan.settings.study}", title_justify="left")
    for column in ("data set", "noise", "network", "method", "seeds", "trained", "evaluated"):
        table.add_column(column)
    seeds: dict[tuple[str, str, str, str], list[str]] = {}
    trained: Counter[tuple[str, str, str, str]] = Counter()
    evaluated = trained.copy()
    for name, recipe in plan.runs.items():
        run = recipe.run
        cell = (run.dataset, run.noise, run.network, run.method)
        seeds.setdefault(cell, []).append(str(run.seed))
        trained[cell] += name in state.trained
        evaluated[cell] += name in state.evaluated
    for cell, named in seeds.items():
        counts = (f"{found[cell]} of {len(named)}" for found in (trained, evaluated))
        table.add_row(*cell, " ".join(named), *counts)
    out = console()
    out.print(table)
    for name, data in plan.settings.datasets.items():
        classes = len(SOURCES[data.source].classes)
        if data.validation_size < classes:
            out.print(
                f"warning: datasets.{name}.validation_size is {data.validation_size}, fewer than the {classes} "
                "classes: some will have no part in the choice of the best epoch. Raise it to change that."
            )
    if plan.selections:
        candidates = sum(name in state.trained for name in plan.candidates)
        out.print(
            f"{len(plan.selections)} choices: {len(state.chosen)} made; {len(plan.candidates)} candidates' trainings: "
            f"{candidates} trained"
        )
    tables = "are to be made" if not state.tables else "are current" if state.figures else "are current, figures not"
    out.print(
        f"{len(plan.runs)} runs: {sum(trained.values())} trained, {len(state.evaluated)} evaluated; tables {tables}"
    )
    _show_unfinished(plan, state)
    if line := left_over(plan):
        print(line)


def _show_unfinished(plan: Plan, state: State) -> None:
    """Trainings that were begun and jobs that failed, the first few of each."""
    found = {
        "Trainings that were begun and are not finished:": list(begun(plan, state)),
        "Jobs that failed when they were tried last (what their logs end with, and the logs):": [
            f"{one.job}: {one.line}\n    {one.log}" for one in failed(plan, state)
        ],
    }
    for title, lines in found.items():
        if lines:
            more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
            print("\n  ".join([title, *lines[:MOST_LINES], *more]))


def show_estimate(plan: Plan, rate: float | None) -> None:
    """Runs, time and disk by data set, from rates that are measured now or from the one that is given.

    Raises:
        CollabpipeError: the size of a data set is not known yet.
    """
    from collabpipe.jobs.estimate import Estimator
    from collabpipe.training.device import describe

    estimator = Estimator(plan, rate)
    table = Table(title="estimate", title_justify="left")
    for column in ("data set", "", "trainings", "steps", "time on one device", "disk"):
        table.add_column(column, justify="left" if column in ("data set", "") else "right")
    seconds = disk = 0.0
    for dataset, what, found in estimator.by_dataset():
        numbers = (f"{found.runs:,}", f"{found.steps:,}", duration(found.seconds), decimal(int(found.disk)))
        table.add_row(dataset, what, *numbers)
        seconds, disk = seconds + found.seconds, disk + found.disk
    images = sum((s.train + s.validation + s.test) * math.prod(s.shape) for s in estimator.sizes.values())
    out = console()
    out.print(table)
    rates = [rate] if rate else list(estimator.rates.measured.values())
    shown = list(
        dict.fromkeys(f"{one / 1e9:,.0f}" if one >= 1e11 else f"{one / 1e9:.3g}" for one in (min(rates), max(rates)))
    )
    device = "as given" if rate else f"measured on {describe(estimator.rates.device)}, plain cross-entropy"
    out.print(f"Rate: {' to '.join(shown)} GFLOP/s, {device}.")
    out.print(
        f"{duration(seconds)} on one such device; {decimal(int(disk + images))} on disk ({decimal(images)} of images)."
    )
    kept = plan.settings.execution.keep_weights
    out.print(
        f"keep_weights: {kept}. Choices are counted as their first candidates; the data sets' archives are extra."
    )


def duration(seconds: float) -> str:
    """A length of time with two or three figures in the unit that suits it."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            number = seconds / size
            return f"{number:,.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.2g} seconds"


def show_proofs(verifier: Verifier, study: Study) -> None:
    """A row per kind of artefact: how many there should be, are proven, missing, out of date, broken.

    Raises:
        CollabpipeError: not everything is proven; the message names the first break and lists the others.
    """
    from collabpipe.audit.proofs import Stale

    counts: dict[str, Counter[str]] = {}
    wrong: dict[str, list[str]] = {"broken": [], "out of date": []}
    for check in verifier.checks():
        found = check.broken() if check.is_there else None
        outcome = "out of date" if isinstance(found, Stale) else "broken" if found else "proven"
        counts.setdefault(check.kind, Counter())[outcome if check.is_there else "missing"] += 1
        if found:
            wrong[outcome].append(str(found))
    outcomes = ("proven", "missing", *wrong)
    table = Table()
    for column in ("", "asked for", *outcomes):
        table.add_column(column, justify="right" if column else "left")
    for kind, of_kind in counts.items():
        table.add_row(kind, str(of_kind.total()), *(str(of_kind[outcome]) for outcome in outcomes))
    print(f"study {study.name} ({study.label})")  # a table's title would be folded at its width
    console().print(table)
    messages = []
    if wrong["broken"]:
        lines = "\n".join(wrong["broken"])
        messages.append(f"first break: {lines}\nRemove what is broken and make it again: {study.command}")
    if wrong["out of date"]:
        lines = "\n".join(wrong["out of date"])
        messages.append(f"out of date: {lines}\nNothing of this needs to be removed. Make it again: {study.command}")
    missing = sum(of_kind["missing"] for of_kind in counts.values())
    if missing and not messages:
        many = "1 artefact is" if missing == 1 else f"{missing} artefacts are"
        messages.append(f"{many} missing, so the tables are not proven. Make what is missing: {study.command}")
    if messages:
        raise CollabpipeError("\n".join(messages))
    print("Every cell of the tables follows from its data, labels, recipes and checkpoints.")


def show_restored(found: Restored) -> None:
    """What was proven, what is missing and what was removed because it does not fit."""
    print("proven: " + (", ".join(f"{n} × {kind}" for kind, n in found.proven.items()) or "nothing"))
    if found.missing:
        print("not here: " + ", ".join(f"{n} × {kind}" for kind, n in found.missing.items()))
    for other in found.stale:
        print(f"will be made again: {other}")
    for wrong in found.removed:
        print(f"removed, will be made again: {wrong}")


def show_unasked(found: Unasked, studies: Sequence[Study]) -> None:
    """What none of the studies asks for, by kind, and what it takes."""
    for kind, paths in found.items():
        for path in paths:
            print(f"{kind}: {path}")
    number = sum(len(paths) for paths in found.values())
    asked = ", ".join(study.label for study in studies)
    if not number:
        print(f"Everything here is asked for by {asked}.")
        return
    print(f"{number} files and folders that none of {asked} asks for; {decimal(freed_bytes(found))}.")


def advise_removal(found: Unasked, named: Sequence[Study], known: Sequence[Study], paths: Paths) -> None:
    """How to remove what was found, unless a study that is known here and was not named asks for some of it."""
    number = sum(len(of_kind) for of_kind in found.values())
    needed = []
    for study in known if named else ():
        left = unasked([one.plan for one in (*named, study)], paths)
        kept = number - sum(len(of_kind) for of_kind in left.values())
        if kept:
            needed.append(study)
            print(f"{kept} of them are asked for by study {study.name} ({study.label}).")
    if needed:
        print(f"To list what no study asks for: {prune_command(paths)}")
    else:
        files = [file for study in named for file in study.plan.files]
        print(f"Remove them with: {prune_command(paths, *files, '--remove')}")
