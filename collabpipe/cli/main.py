"""The command line: every step of the pipeline, each usable by hand."""

from __future__ import annotations

import argparse
import codecs
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from collabpipe.cli import commands as run
from collabpipe.common.errors import CollabpipeError
from collabpipe.host.results_lock import occupy
from collabpipe.host.signals import EXIT_CODE, Interrupted, Interruption
from collabpipe.plan.paths import STAGES, Paths

WRITING = ("fetch", "prepare", "labels", "train", "choose", "evaluate", "overhead", "tables", "figures")
"""Commands that must not meet a restore."""
PLAIN = {"±": "+-", "−": "-", "×": "x", "…": "...", "→": "->", "·": "*", "≤": "<=", "≥": ">="}
"""What a terminal is shown that lacks a character."""


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0; give operations a second, as in 5e13")
    return rate


def _at_least(kind: type[int] | type[float], least: int) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least} up")
        return value

    return number


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="collabpipe", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(work: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(work.__name__, help=work.__doc__, description=work.__doc__)
        sub.set_defaults(run=work)
        sub.add_argument(
            "--results",
            type=lambda folder: Paths(Path(folder)),
            default=Paths(),
            metavar="DIR",
            help="the results folder (default: results)",
        )
        return sub

    def with_config(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("config", type=Path, nargs="*", default=[Path("config/config.yaml")], metavar="CONFIG")

    def with_gpu(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--jobs-per-gpu",
            type=_at_least(int, 0),
            default=1,
            metavar="N",
            help="wait for a GPU that fewer jobs use (default: 1; 0: use none)",
        )

    sub = command(run.plan)
    with_config(sub)
    sub.add_argument("--write", action="store_true", help="write the recipes into the results folder")
    sub.add_argument("--estimate", action="store_true", help="measure rates and say hours and disk beforehand")
    sub.add_argument("--rate", type=_rate, metavar="FLOPS", help="another device's rate, in place of measuring")

    sub = command(run.fetch)
    sub.add_argument("recipe", type=Path, help="a recipe of kind data (collabpipe plan --write makes them)")
    sub.add_argument("--data-dir", type=Path, metavar="DIR", help="a folder with your own copies of the files")
    sub.add_argument(
        "--mirror", action="append", default=[], metavar="URL", help="a web folder to try first; may be repeated"
    )
    sub.add_argument("--offline", action="store_true", help="ask no server: the files must be here already")

    sub = command(run.prepare)
    sub.add_argument("recipe", type=Path, help="a recipe of kind data")

    sub = command(run.labels)
    sub.add_argument("recipe", type=Path, help="a recipe of kind labels")

    sub = command(run.train)
    sub.add_argument("recipes", type=Path, nargs="+", metavar="RECIPE", help="recipes of kind train")
    sub.add_argument(
        "--save-seconds",
        type=_at_least(float, 0),
        default=30.0,
        metavar="S",
        help="time between two saved states, at most 2%% of which goes into saving (default: 30; 0: every epoch)",
    )
    sub.add_argument("--save-epochs", type=_at_least(int, 1), metavar="N", help="save after so many epochs as well")
    with_gpu(sub)
    sub.add_argument(
        "--at-once", type=_at_least(int, 1), default=1, metavar="N", help="run so many trainings at the same time"
    )
    sub.add_argument("--stage", metavar="DIR", help="a folder on this host's own disk to copy the images to")

    sub = command(run.evaluate)
    sub.add_argument("recipes", type=Path, nargs="+", metavar="RECIPE", help="recipes of kind train")

    kept = ("all", "half", "none")
    sub.add_argument("--keep", choices=kept, default="all", help="what stays of the weights afterwards (default: all)")
    with_gpu(sub)

    sub = command(run.choose)
    sub.add_argument("recipe", type=Path, help="a recipe of kind selection")
    sub.add_argument("--keep", choices=kept, default="all", help="unless all, the candidates' weights are dropped")

    sub = command(run.overhead)
    sub.add_argument("recipe", type=Path, help="a recipe of kind overhead")
    sub.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="time for the rounds of a network (default: 10)"
    )
    sub.add_argument("--cpu", action="store_true", help="measure on the CPU, whatever GPUs there are")

    for work in (run.tables, run.figures):
        sub = command(work)
        sub.add_argument("study", type=Path, help="a recipe of kind study")
        into = f"{work.__name__}/partial"
        sub.add_argument("--partial", action="store_true", help=f"from the runs that are finished, into {into}")

    command(run.show)

    sub = command(run.verify)
    sub.add_argument(
        "config", type=Path, nargs="*", metavar="CONFIG", help="the study (default: whose tables lie here)"
    )
    sub.add_argument("--recompute", action="store_true", help="draw the labels and predict the test sets again as well")

    sub = command(run.restore)
    sub.add_argument("--remote", metavar="NAME", help="DVC's remote (default: its own default)")
    sub.add_argument("--only", action="append", choices=STAGES, help="pull this stage alone; may be repeated")
    sub.add_argument("--no-pull", dest="pull", action="store_false", help="take the results as they are here")
    sub.add_argument(
        "--force",
        action="store_true",
        help="overwrite or remove results that were never shared",
    )

    sub = command(run.share)
    sub.add_argument("--remote", metavar="NAME", help="DVC's remote (default: its own default)")
    sub.add_argument("--no-push", dest="push", action="store_false", help="write dvc.lock alone")

    sub = command(run.prune)
    sub.add_argument(
        "config", type=Path, nargs="*", metavar="CONFIG", help="the studies (default: all that are known here)"
    )
    sub.add_argument("--remove", action="store_true", help="remove it")

    sub = command(run.doctor)
    with_config(sub)

    sub = command(run.schema)
    sub.add_argument("--out", type=Path, metavar="FILE", help="write it there instead")
    return top


def _plain(error: UnicodeError) -> tuple[str, int]:
    """ASCII in place of characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end


def _print_in_any_locale() -> None:
    """Let no output fail because the locale is not UTF-8, as on many clusters."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; a user's mistake ends in one message and exit code 1, not in a traceback."""
    _print_in_any_locale()
    arguments = parser().parse_args(argv)
    try:
        if arguments.command in WRITING or getattr(arguments, "write", False):
            occupy(arguments.results.root)
        with Interruption() as arguments.interruption:
            arguments.run(arguments)
    except CollabpipeError as error:
        print(f"collabpipe {arguments.command}: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of a pipe, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        where = error.filename or arguments.results.root
        print(f"collabpipe {arguments.command}: error: {where}: {error.strerror or error}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        print(f"collabpipe {arguments.command}: {interrupted}", file=sys.stderr)
        return EXIT_CODE
    return 0
