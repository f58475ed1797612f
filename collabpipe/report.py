"""What the commands that look at a study print."""

from __future__ import annotations

import csv
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from collabpipe.data.sources import SOURCES
from collabpipe.errors import CollabpipeError
from collabpipe.paths import FIGURE_FILES, TABLE_FILES, Paths
from collabpipe.plan import Plan
from collabpipe.prune import Unasked, freed_bytes
from collabpipe.reconcile import State

if TYPE_CHECKING:
    from collabpipe.storage import Restored
    from collabpipe.verify import Broken, Verifier


def _console() -> Console:
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
    console = _console()
    console.print(table)
    for name, data in plan.settings.datasets.items():
        classes = len(SOURCES[data.source].classes)
        if data.validation_size < classes:
            console.print(
                f"warning: datasets.{name}.validation_size is {data.validation_size}, fewer than the {classes} "
                "classes: some will have no part in the choice of the best epoch. Raise it to change that."
            )
    if plan.selections:
        candidates = sum(name in state.trained for name in plan.candidates)
        console.print(
            f"{len(plan.selections)} choices: {len(state.chosen)} made; {len(plan.candidates)} candidates' trainings: "
            f"{candidates} trained"
        )
    console.print(
        f"{len(plan.runs)} runs: {sum(trained.values())} trained, {len(state.evaluated)} evaluated; "
        f"tables {'are current' if state.tables else 'are to be made'}"
    )


def show_estimate(plan: Plan, rate: float | None) -> None:
    """Runs, hours and disk by data set, from rates that are measured now or from the one that is given.

    Raises:
        CollabpipeError: the size of a data set is not known yet.
    """
    from collabpipe.costs import Estimator
    from collabpipe.training.device import describe

    estimator = Estimator(plan, rate)
    table = Table(title="estimate", title_justify="left")
    for column in ("data set", "", "trainings", "steps", "hours on one device", "disk (GB)"):
        table.add_column(column, justify="left" if column in ("data set", "") else "right")
    hours = disk = 0.0
    for dataset, what, found in estimator.by_dataset():
        numbers = (f"{found.runs:,}", f"{found.steps:,}", f"{found.seconds / 3600:,.1f}", f"{found.disk / 1e9:,.2f}")
        table.add_row(dataset, what, *numbers)
        hours, disk = hours + found.seconds / 3600, disk + found.disk / 1e9
    pixels = sum((s.train + s.validation + s.test) * math.prod(s.shape) for s in estimator.sizes.values()) / 1e9
    console = _console()
    console.print(table)
    rates = [rate] if rate else list(estimator.rates.measured.values())
    device = "as given" if rate else f"measured on {describe(estimator.rates.device)}, plain cross-entropy"
    console.print(f"Rate: {min(rates) / 1e12:.3g} to {max(rates) / 1e12:.3g} TFLOP/s, {device}.")
    kept = plan.settings.execution.keep_weights
    console.print(
        f"{hours:,.1f} hours on one such device; {disk + pixels:,.1f} GB ({pixels:.1f} of them images) on disk."
    )
    console.print(
        f"keep_weights: {kept}. Choices are counted as their first candidates; the data sets' archives are extra."
    )


def show_proofs(verifier: Verifier, plan: Plan) -> None:
    """A row a kind of artefact: how many there should be, are proven, missing, broken.

    Raises:
        CollabpipeError: not everything is proven; the message names the first break and lists the others.
    """
    from collabpipe.verify import Stale

    counts: dict[str, Counter[str]] = {}
    wrong: list[Broken] = []
    for check in verifier.checks():
        broken = check.broken() if check.is_there else None
        outcome = "broken" if broken else "proven" if check.is_there else "missing"
        counts.setdefault(check.kind, Counter())[outcome] += 1
        wrong += [broken] if broken else []
    table = Table(title=f"study {plan.settings.study}", title_justify="left")
    for column in ("", "asked for", "proven", "missing", "broken"):
        table.add_column(column, justify="right" if column else "left")
    for kind, found in counts.items():
        table.add_row(kind, str(found.total()), *(str(found[outcome]) for outcome in ("proven", "missing", "broken")))
    _console().print(table)
    missing = sum(found["missing"] for found in counts.values())
    if wrong:
        others = "".join(f"\n{one}" for one in wrong[1:])
        stale = all(isinstance(one, Stale) for one in wrong)
        remedy = "Run Snakemake: it makes this again." if stale else "Remove what is broken and run Snakemake."
        raise CollabpipeError(f"first break: {wrong[0]}{others}\n{remedy}")
    if missing:
        raise CollabpipeError(f"{missing} artefacts are missing, so the tables are not proven. See: snakemake -n")
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


def show_unasked(found: Unasked, configs: Sequence[Path]) -> None:
    """What no configuration asks for, by kind, and what it takes."""
    for kind, paths in found.items():
        for path in paths:
            print(f"{kind}: {path}")
    number = sum(len(paths) for paths in found.values())
    asked = ", ".join(str(config) for config in configs)
    if not number:
        print(f"Everything here is asked for by {asked}.")
        return
    print(f"{number} files and folders that none of {asked} asks for; {freed_bytes(found) / 1e6:,.1f} MB.")


def show_tables(paths: Paths) -> None:
    """The main table as it was written, and the paths of everything beside it.

    Raises:
        CollabpipeError: there are no tables.
    """
    path = paths.tables / "main.md"
    if not path.exists():
        raise CollabpipeError(f"{path}: there are no tables yet. Make them: snakemake --cores all -- tables")
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    table = Table(*rows[0])
    for before, row in zip([rows[0], *rows[2:]], rows[2:], strict=False):
        if before[:3] != row[:3]:
            table.add_section()
        table.add_row(*row)
    console = _console()
    console.print(table)
    console.print(lines[-1], soft_wrap=False)
    _show_claims(paths, console)
    console.print("Tables: " + ", ".join(str(paths.tables / name) for name in TABLE_FILES[:-1]))
    console.print("Figures: " + ", ".join(str(paths.figures / name) for name in FIGURE_FILES[:-1]))


def _show_claims(paths: Paths, console: Console) -> None:
    """The declared contrasts that the study's runs can judge."""
    with (paths.tables / "claims.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["verdict"] != "not run" and "(" not in row["reading"]]
    if not rows:
        return
    table = Table(title="claims (all of them, with other readings and places: claims.md)", title_justify="left")
    for column in (
        "claim",
        "comparison",
        "reading",
        "expected",
        "estimate",
        "n",
        "verdict",
        "control",
        "rival",
        "survives",
    ):
        table.add_column(column)
    for row in rows:
        interval = f" [{float(row['low']):.2f}, {float(row['high']):.2f}]" if row["low"] else ""
        estimate = f"{float(row['estimate']):.2f}{interval}" if row["estimate"] else ""
        judged = (row["n"], row["verdict"], row["verdict_control"], row["verdict_rival"], row["survives"])
        table.add_row(row["claim"], row["comparison"], row["reading"], row["expected"], estimate, *judged)
    console.print(table)
