"""Write labels or weights in a form that other code reads."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from collabpipe.cli.export import labels, weights

FORMS = (labels, weights)
"""What can be exported: a module each, built as a command is."""


def arguments(parser: ArgumentParser) -> None:
    """What is exported, with the arguments of each."""
    forms = parser.add_subparsers(dest="form", required=True, metavar="WHAT")
    for form in FORMS:
        sub = forms.add_parser(form.__name__.rpartition(".")[2], help=form.__doc__, description=form.__doc__)
        sub.set_defaults(export=form.run)
        form.arguments(sub)


def run(arguments: Namespace) -> None:
    """Export it."""
    arguments.export(arguments)
