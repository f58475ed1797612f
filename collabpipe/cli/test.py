"""Predict further test sets with trained runs and score them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from collabpipe.cli.arguments import add_jobs_per_gpu


def arguments(parser: ArgumentParser) -> None:
    """The recipes, and where they run."""
    parser.add_argument("recipes", type=Path, nargs="+", metavar="RECIPE", help="recipes of kind test")
    add_jobs_per_gpu(parser)


def run(arguments: Namespace) -> None:
    """Evaluate the runs on the further test sets for which the store has no evaluation."""
    from collabpipe.jobs.blocks import for_each
    from collabpipe.jobs.further import evaluate_further
    from collabpipe.plan.recipes import FurtherRecipe

    for_each(
        arguments.recipes,
        FurtherRecipe,
        lambda recipe: evaluate_further(recipe, arguments.results, arguments.jobs_per_gpu),
    )
