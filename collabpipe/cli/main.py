"""The command line: every step of the pipeline, each usable by hand."""

from __future__ import annotations

import argparse
import codecs
import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from collabpipe.cli import (
    choose,
    doctor,
    evaluate,
    export,
    fetch,
    figures,
    init,
    labels,
    overhead,
    plan,
    predict,
    prepare,
    prune,
    report,
    restore,
    schema,
    share,
    show,
    status,
    tables,
    test,
    train,
    verify,
)
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.plugins import faults_with_lines
from collabpipe.host.results_lock import occupy
from collabpipe.host.signals import EXIT_CODE, Interrupted, Interruption
from collabpipe.plan.paths import Paths
from collabpipe.results.studies import study_here


class Command(Protocol):
    """A module of this package: it is named as its command, and its docstring is what --help says."""

    __name__: str
    __doc__: str | None

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""

    def run(self, arguments: argparse.Namespace) -> int | None:
        """Do what the command says; what takes long to import is imported here. Returns an exit code that is not 0."""


OF_A_STUDY: tuple[Command, ...] = (labels, train, evaluate, test, choose, overhead, tables, figures, report)
"""Commands that make something of a study."""
WRITING: tuple[Command, ...] = (fetch, prepare, *OF_A_STUDY)
"""Commands that must not meet a restore."""
READING: tuple[Command, ...] = (status, show, predict, export, verify)
"""Commands that look at results."""
COMMANDS: tuple[Command, ...] = (init, plan, *WRITING, *READING, restore, share, prune, doctor, schema)
PLAIN = {"±": "+-", "−": "-", "×": "x", "…": "...", "→": "->", "·": "*", "≤": "<=", "≥": ">="}
"""What a terminal is shown that lacks a character."""


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="collabpipe", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(
            command.__name__.rpartition(".")[2], help=command.__doc__, description=command.__doc__
        )
        sub.set_defaults(run=command.run, writes=command in WRITING, of_a_study=command in OF_A_STUDY)
        sub.add_argument(
            "--results",
            type=lambda folder: Paths(Path(folder)),
            default=Paths(),
            metavar="DIR",
            help="the results folder (default: results)",
        )
        if command in OF_A_STUDY:
            sub.add_argument(
                "--study", metavar="FOLDER", help="the study's folder in DIR (default: of the study planned last)"
            )
        command.arguments(sub)
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


def _of_study(paths: Paths, study: str | None) -> Paths:
    return Paths(paths.root, study) if study else study_here(paths).plan.paths


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; a user's mistake ends in one message and exit code 1, not in a traceback."""
    _print_in_any_locale()
    arguments = parser().parse_args(argv)
    try:
        if arguments.writes:
            occupy(arguments.results.root)
        if arguments.of_a_study:
            arguments.results = _of_study(arguments.results, arguments.study)
        with faults_with_lines(), Interruption() as arguments.interruption:
            code: int | None = arguments.run(arguments)
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
    return code or 0
