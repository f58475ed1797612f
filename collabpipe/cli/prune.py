"""List the results that no known study needs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.filesize import decimal

from collabpipe.common.counts import counted
from collabpipe.host.results_lock import only_process
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.results.prune import Unasked, freed_bytes, remove, unasked
from collabpipe.results.studies import Study, command_for, known_studies


def arguments(parser: ArgumentParser) -> None:
    """The studies, and whether what they do not ask for is removed."""
    parser.add_argument(
        "config", type=Path, nargs="*", metavar="CONFIG", help="the studies (default: all that are known here)"
    )
    parser.add_argument("--remove", action="store_true", help="remove them")


def run(arguments: Namespace) -> None:
    """Print what no study asks for, and remove it if that was asked."""
    paths = arguments.results
    named = [Study.of_files(Plan.from_files([file], paths.root)) for file in arguments.config]
    if not named:
        known_studies(paths)  # refuse a folder without studies before anything is made there
    with only_process(paths.root, "pruning"):  # from here on nobody plans a study
        known = known_studies(paths) if not (named and arguments.remove) else []
        found = unasked([study.plan for study in named or known], paths)
        show_unasked(found, named or known)
        if arguments.remove:
            remove(found, paths)
        if found and arguments.remove:
            print("Removed.")
        elif found:
            advise_removal(found, named, known, paths)


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
    what = counted(number, "file or folder", "files and folders")
    print(f"Not asked for by {asked}: {what}, {decimal(freed_bytes(found))}.")


def advise_removal(found: Unasked, named: Sequence[Study], known: Sequence[Study], paths: Paths) -> None:
    """How to remove what was found, unless a study that is known here and was not named asks for some of it."""
    number = sum(len(of_kind) for of_kind in found.values())
    needed = []
    for study in known if named else ():
        left = unasked([one.plan for one in (*named, study)], paths)
        kept = number - sum(len(of_kind) for of_kind in left.values())
        if kept:
            needed.append(study)
            print(f"{counted(kept, 'of them is', 'of them are')} asked for by study {study.name} ({study.label}).")
    if needed:
        print(f"To list what no study asks for: {command_for(paths, 'prune')}")
    else:
        files = [file for study in named for file in study.plan.files]
        print(f"Remove them with: {command_for(paths, 'prune', *files, '--remove')}")
