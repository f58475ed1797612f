"""Show how far a study is: what runs, what failed and why, and the time that is left."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from collabpipe.cli.arguments import add_study_choice, at_least
from collabpipe.cli.console import console, duration, first_few
from collabpipe.common.counts import counted
from collabpipe.host.signals import Interrupted
from collabpipe.results.status import Stage, Status, status_of
from collabpipe.results.studies import command_for, study_asked_for

LISTED: tuple[Stage, ...] = ("running", "stopped", "diverged")
"""Trainings at these stages are listed one by one."""
FAILED_CODE = 3
"""The exit code if a job failed. 0: none did; 1: there is no study to look at; 2: wrong arguments."""


def arguments(parser: ArgumentParser) -> None:
    """The study, and how it is shown."""
    parser.epilog = f"exit codes: 0: no job failed; {FAILED_CODE}: a job failed; 1: there is no study to look at"
    add_study_choice(parser)
    parser.add_argument(
        "--watch",
        type=at_least(float, 1),
        nargs="?",
        const=5.0,
        metavar="S",
        help="look again every S seconds (default: %(const)g) until the study is finished, or Ctrl-C",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON, for scripts")


def run(arguments: Namespace) -> int:
    """Print how far the study is; returns the exit code."""
    found = _look(arguments)
    if arguments.watch is None:
        _print(found, arguments.json)
    else:
        try:
            found = _watch(arguments, found)
        except Interrupted:  # Ctrl-C is how one stops watching
            print("stopped watching", file=sys.stderr)
    return FAILED_CODE if found.failed else 0


def _look(arguments: Namespace) -> Status:
    return status_of(study_asked_for(arguments.results, arguments.config, arguments.study).plan)


def _print(found: Status, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.as_record()), flush=True)
        return
    out = console()
    if out.is_terminal:
        out.print(_drawn(found))
    else:
        print("\n".join(lines(found)), flush=True)


def _watch(arguments: Namespace, found: Status) -> Status:
    out = console()
    if arguments.json or not out.is_terminal:
        _print(found, arguments.json)
        while not found.complete:
            time.sleep(arguments.watch)
            found = _look(arguments)
            _print(found, arguments.json)
        return found
    with Live(_drawn(found), console=out, auto_refresh=False) as live:
        while not found.complete:
            time.sleep(arguments.watch)
            found = _look(arguments)
            live.update(_drawn(found), refresh=True)
    return found


def _drawn(found: Status) -> RenderableType:
    """For a terminal: the lines, with a bar below the first one."""
    first, *rest = lines(found)
    bar = Table.grid()  # the bar alone does not end its line
    bar.add_row(ProgressBar(total=1.0, completed=found.share, width=60))
    return Group(Text(first), bar, Text("\n".join(rest)))


def lines(found: Status) -> Iterator[str]:
    """How far a study is, in lines for a person."""
    trainings = counted(len(found.trainings), "training", "trainings")
    counts = [f"{number} {stage}" for stage, number in found.counts.items() if number]
    yield f"study {found.plan.settings.study}: {100 * found.share:.0f}% of {trainings}"
    yield f"{', '.join(counts)}; {found.shown}"
    show = command_for(found.plan.paths, "show", found.plan.settings.study)
    yield f"The study is finished: {show}" if found.complete else _left(found)
    for stage in LISTED:
        yield from first_few(f"{stage.capitalize()}:", found.of(stage), str)
    yield from failures(found)


def failures(found: Status) -> list[str]:
    """The jobs that failed, with the ends of their logs."""
    title = "Jobs whose last attempt failed (the last line of the log, and the log):"
    return first_few(title, found.failed, str)


def _left(found: Status) -> str:
    seconds, running = found.seconds_left, len(found.of("running"))
    if seconds is None:
        return "Time left: not known before a training has finished. collabpipe plan --estimate measures it."
    if seconds and running:
        return f"Time left: about {duration(seconds / running)} of training, with {running} at once as now."
    return f"Time left: about {duration(seconds)} of training, one after the other." if seconds else "Time left: none."
