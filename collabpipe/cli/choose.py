"""Choose a method's hyper-parameters by its candidates' validation accuracy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from collabpipe.cli.arguments import add_keep


def arguments(parser: ArgumentParser) -> None:
    """The recipe, and whether the candidates' weights stay."""
    parser.add_argument("recipe", type=Path, help="a recipe of kind selection")
    add_keep(parser, "unless this is all, the candidates' weights are removed")


def run(arguments: Namespace) -> None:
    """Write the choice."""
    from collabpipe.jobs.choose import choose
    from collabpipe.plan.recipes import SelectionRecipe, read_recipe

    choose(read_recipe(arguments.recipe, SelectionRecipe), arguments.results, arguments.keep)
