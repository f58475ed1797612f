"""Assemble a study's tables."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from collabpipe.cli.arguments import add_study, study_recipe


def arguments(parser: ArgumentParser) -> None:
    """The study, and whether all its runs must be finished."""
    add_study(parser, "tables/partial")


def run(arguments: Namespace) -> None:
    """Write the tables."""
    from collabpipe.analysis.tables import write_tables

    write_tables(study_recipe(arguments), arguments.results, arguments.partial)
