"""Assemble a study's tables."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from collabpipe.cli.arguments import add_study


def arguments(parser: ArgumentParser) -> None:
    """The study, and whether all its runs must be finished."""
    add_study(parser, "tables/partial")


def run(arguments: Namespace) -> None:
    """Write the tables."""
    from collabpipe.analysis.tables import write_tables
    from collabpipe.plan.recipes import read_recipe
    from collabpipe.plan.study_recipes import StudyRecipe

    write_tables(read_recipe(arguments.recipe, StudyRecipe), arguments.results, arguments.partial)
