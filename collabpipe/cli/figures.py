"""Draw a study's figures."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from collabpipe.cli.arguments import add_study


def arguments(parser: ArgumentParser) -> None:
    """The study, and whether all its runs must be finished."""
    add_study(parser, "figures/partial")


def run(arguments: Namespace) -> None:
    """Write the figures."""
    # A notebook sets a backend that need not be installed here; matplotlib then cannot even be imported.
    os.environ["MPLBACKEND"] = "agg"
    from collabpipe.analysis.figures.write import write_figures
    from collabpipe.plan.recipes import read_recipe
    from collabpipe.plan.study_recipes import StudyRecipe

    write_figures(read_recipe(arguments.recipe, StudyRecipe), arguments.results, arguments.partial)
