"""Turn a data set's files into memory-mapped Arrow files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def arguments(parser: ArgumentParser) -> None:
    """The recipe."""
    parser.add_argument("recipe", type=Path, help="a recipe of kind data")


def run(arguments: Namespace) -> None:
    """Write the Arrow files, and note where they were made."""
    from collabpipe.common.whereabouts import whereabouts
    from collabpipe.data.prepared import prepare
    from collabpipe.plan.recipes import DataRecipe, read_recipe
    from collabpipe.results.provenance import note

    recipe = read_recipe(arguments.recipe, DataRecipe)
    folder = arguments.results.dataset(recipe.dataset)
    prepare(recipe, arguments.results.raw(recipe.dataset), folder)
    note(arguments.results, folder, whereabouts("cpu"))
