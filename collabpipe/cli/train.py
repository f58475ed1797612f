"""Train one or more runs in one process; a killed training continues."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from collabpipe.cli.arguments import EXECUTION, add_cuda_graphs, add_jobs_per_gpu, at_least
from collabpipe.settings.training import ExecutionSettings


def arguments(parser: ArgumentParser) -> None:
    """The recipes, and how their job is cut and saved."""
    parser.add_argument("recipes", type=Path, nargs="+", metavar="RECIPE", help="recipes of kind train")
    parser.add_argument(
        "--save-seconds",
        type=at_least(float, 0),
        default=EXECUTION.save_seconds,
        metavar="S",
        help="time between two saved states; saving takes at most 2%% of it (default: %(default)g; 0: every epoch)",
    )
    parser.add_argument(
        "--save-epochs",
        type=at_least(int, 1),
        default=EXECUTION.save_epochs,
        metavar="N",
        help="also save after this many epochs",
    )
    add_jobs_per_gpu(parser)
    parser.add_argument(
        "--at-once",
        type=at_least(int, 1),
        default=EXECUTION.trainings_at_once,
        metavar="N",
        help="number of trainings to run at the same time",
    )
    add_cuda_graphs(parser)
    parser.add_argument(
        "--stage",
        default=EXECUTION.stage,
        metavar="DIR",
        help="a folder on this host's own disk to copy the images to",
    )


def run(arguments: Namespace) -> None:
    """Train the runs that are not in the store."""
    from collabpipe.jobs.blocks import for_each
    from collabpipe.jobs.train import train
    from collabpipe.plan.recipes import TrainRecipe

    keys = ("save_seconds", "save_epochs", "jobs_per_gpu", "cuda_graphs", "stage")
    execution = ExecutionSettings(**{key: getattr(arguments, key) for key in keys})
    for_each(
        arguments.recipes,
        TrainRecipe,
        lambda recipe: train(recipe, arguments.results, execution, arguments.interruption),
        arguments.at_once,
    )
