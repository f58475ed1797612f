"""List a configuration's runs, their number and what exists."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import Counter

from rich.filesize import decimal
from rich.table import Table

from collabpipe.catalogue.sources import SOURCES
from collabpipe.cli.arguments import add_config
from collabpipe.cli.console import console, duration, first_few
from collabpipe.cli.status import failures
from collabpipe.common.counts import counted
from collabpipe.host.results_lock import occupy
from collabpipe.plan.plan import Plan
from collabpipe.results.earlier import take_over
from collabpipe.results.prune import left_over
from collabpipe.results.state import State, check_files, look
from collabpipe.results.status import status_of
from collabpipe.results.timestamps import settle


def arguments(parser: ArgumentParser) -> None:
    """The configuration, and what is done beyond listing."""
    add_config(parser)
    parser.add_argument("--write", action="store_true", help="write the recipes into the results folder")
    parser.add_argument("--estimate", action="store_true", help="measure rates, and estimate hours and disk space")
    parser.add_argument(
        "--rate", type=_rate, metavar="FLOPS", help="operations per second of another device, instead of measuring"
    )


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.0 < rate < float("inf"):
        raise ArgumentTypeError(f"{text} is not above 0; give operations a second, as in 5e13")
    return rate


def run(arguments: Namespace) -> None:
    """Print the plan; with --write, bring the results folder in line with it first."""
    plan = Plan.from_files(arguments.config, arguments.results.root)
    if arguments.write:
        if moved := take_over(plan):
            print(moved)
        occupy(plan.results)
    state = settle(plan) if arguments.write else look(plan)
    show_plan(plan, state)
    if arguments.estimate:
        show_estimate(plan, arguments.rate)
    check_files(plan, state)


def show_plan(plan: Plan, state: State) -> None:
    """Print a row per cell with its seeds and what exists of them, then the totals."""
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
        if data.validation_size is not None and data.validation_size < classes:
            out.print(
                f"warning: datasets.{name}.validation_size is {data.validation_size}, fewer than the {classes} "
                "classes: some will have no part in the choice of the best epoch. Raise it to change that."
            )
    if plan.selections:
        choices = counted(len(plan.selections), "choice", "choices")
        candidates = counted(len(plan.candidates), "training of a candidate", "trainings of candidates")
        done = sum(name in state.trained for name in plan.candidates)
        out.print(f"{choices}: {len(state.chosen)} made; {candidates}: {done} done")
    now = status_of(plan, state)
    runs, evaluations = counted(len(plan.runs), "run", "runs"), len(state.evaluated)
    out.print(f"{runs}: {trained.total()} trained, {evaluations} evaluated; {now.shown}")
    unfinished = now.of("running", "stopped")
    for text in (*first_few("Trainings that were begun and are not finished:", unfinished, str), *failures(now)):
        print(text)
    if line := left_over(plan):
        print(line)


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
