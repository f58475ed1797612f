"""Record finished studies in dvc.lock and push them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from collabpipe.cli.arguments import add_shared


def arguments(parser: ArgumentParser) -> None:
    """Which studies, whether they are pushed, and where to."""
    add_shared(parser)
    parser.add_argument("--no-push", dest="push", action="store_false", help="only write dvc.lock")


def run(arguments: Namespace) -> None:
    """Share the configured studies."""
    from collabpipe.audit.dvc import configured_studies
    from collabpipe.audit.share import share

    share(configured_studies(arguments.results.root, arguments.study), arguments.remote, arguments.push)
