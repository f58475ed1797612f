"""Write a finished study into dvc.lock, whoever made it, and push it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from collabpipe.cli.arguments import add_remote
from collabpipe.plan.plan import Plan


def arguments(parser: ArgumentParser) -> None:
    """Whether the study is pushed, and where to."""
    add_remote(parser)
    parser.add_argument("--no-push", dest="push", action="store_false", help="write dvc.lock alone")


def run(arguments: Namespace) -> None:
    """Share the configured study."""
    from collabpipe.audit.share import configured_study, share

    plan = Plan.from_files(configured_study(), arguments.results.root)
    share(plan, arguments.remote, arguments.push)
