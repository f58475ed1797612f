"""Pull shared studies and prove them, so that nothing is made again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from collabpipe.cli.arguments import add_shared
from collabpipe.plan.paths import STAGES

if TYPE_CHECKING:
    from collabpipe.audit.restore import Restored


def arguments(parser: ArgumentParser) -> None:
    """Which studies, what of them is pulled, and from where."""
    add_shared(parser)
    parser.add_argument("--only", action="append", choices=STAGES, help="pull only this stage; may be repeated")
    parser.add_argument(
        "--no-pull", dest="pull", action="store_false", help="pull nothing: use the results that are here"
    )
    parser.add_argument("--force", action="store_true", help="overwrite or remove results that were never shared")


def run(arguments: Namespace) -> None:
    """Restore the configured studies."""
    from collabpipe.audit.dvc import configured_studies
    from collabpipe.audit.restore import restore

    plans = configured_studies(arguments.results.root, arguments.study)
    show_restored(restore(plans, arguments.remote, arguments.only or [], arguments.pull, arguments.force))


def show_restored(found: Restored) -> None:
    """What was proven, what is missing and what was removed because it does not fit."""
    print("proven: " + (", ".join(f"{n} × {kind}" for kind, n in found.proven.items()) or "nothing"))
    if found.missing:
        print("not here: " + ", ".join(f"{n} × {kind}" for kind, n in found.missing.items()))
    for other in found.stale:
        print(f"will be made again: {other}")
    for wrong in found.removed:
        print(f"removed, will be made again: {wrong}")
