"""Download or copy a data set's files and check their sums."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def arguments(parser: ArgumentParser) -> None:
    """The recipe, and where the files may come from."""
    parser.add_argument("recipe", type=Path, help="a recipe of kind data (collabpipe plan --write makes them)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="a folder with your own copies of the files")
    parser.add_argument(
        "--mirror", action="append", default=[], metavar="URL", help="a web folder to try first; may be repeated"
    )
    parser.add_argument("--offline", action="store_true", help="ask no server: the files must be here already")


def run(arguments: Namespace) -> None:
    """Fetch the files into the results folder."""
    from collabpipe.data.fetch import fetch
    from collabpipe.plan.recipes import DataRecipe, read_recipe

    recipe = read_recipe(arguments.recipe, DataRecipe)
    folder = arguments.results.raw(recipe.dataset)
    fetch(recipe, folder, arguments.data_dir, arguments.mirror, arguments.offline)
