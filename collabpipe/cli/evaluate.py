"""Predict the test set with trained runs and score it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from collabpipe.cli.arguments import add_jobs_per_gpu, add_keep


def arguments(parser: ArgumentParser) -> None:
    """The recipes, and what stays of the weights."""
    parser.add_argument("recipes", type=Path, nargs="+", metavar="RECIPE", help="recipes of kind train")
    add_keep(parser, "what to keep of the weights afterwards (default: %(default)s)")
    add_jobs_per_gpu(parser)


def run(arguments: Namespace) -> None:
    """Evaluate the runs that are not in the store."""
    from collabpipe.jobs.blocks import for_each
    from collabpipe.jobs.evaluate import evaluate
    from collabpipe.plan.recipes import TrainRecipe

    for_each(
        arguments.recipes,
        TrainRecipe,
        lambda recipe: evaluate(recipe, arguments.results, arguments.keep, arguments.jobs_per_gpu),
    )
