"""Measure what a training step of each method costs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from collabpipe.cli.arguments import EXECUTION, add_cuda_graphs


def arguments(parser: ArgumentParser) -> None:
    """The recipe, and on what and how long to measure."""
    parser.add_argument("recipe", type=Path, help="a recipe of kind overhead")
    parser.add_argument(
        "--seconds",
        type=float,
        default=EXECUTION.overhead_seconds,
        metavar="S",
        help="time for the rounds of a network (default: %(default)g)",
    )
    parser.add_argument("--cpu", action="store_true", help="measure on the CPU, whatever GPUs there are")
    add_cuda_graphs(parser)


def run(arguments: Namespace) -> None:
    """Write the overhead table."""
    from collabpipe.host.gpu_lease import lease_device
    from collabpipe.jobs.overhead import measure_study
    from collabpipe.plan.recipes import read_recipe
    from collabpipe.plan.study_recipes import OverheadRecipe

    lease_device(0 if arguments.cpu else 1)
    recipe = read_recipe(arguments.recipe, OverheadRecipe)
    measure_study(recipe, arguments.results, arguments.seconds, arguments.cuda_graphs)
