"""Arguments that several commands take; their defaults are those of the settings."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from collabpipe.plan.record_types import Keep
from collabpipe.settings.training import ExecutionSettings

if TYPE_CHECKING:
    from collabpipe.plan.study_recipes import StudyRecipe

EXECUTION = ExecutionSettings()


def at_least(kind: type[int] | type[float], least: int) -> Callable[[str], float]:
    """The type of an argument that is a number from `least` up."""

    def number(text: str) -> float:
        value = kind(text)
        if not least <= value < float("inf"):
            raise ArgumentTypeError(f"{text} is not a number from {least} up")
        return value

    return number


def add_best(parser: ArgumentParser) -> None:
    """Which weights of a run are used."""
    parser.add_argument(
        "--best",
        action="store_true",
        help="the weights of the epoch that was best on the validation images (default: the last epoch's)",
    )


def add_config(parser: ArgumentParser) -> None:
    """The files of a study's configuration."""
    parser.add_argument(
        "config",
        type=Path,
        nargs="*",
        default=[Path("config/config.yaml")],
        metavar="CONFIG",
        help="the study; later files are merged over earlier ones (default: config/config.yaml)",
    )


def add_cuda_graphs(parser: ArgumentParser) -> None:
    """Whether steps run as CUDA graphs."""
    parser.add_argument(
        "--no-cuda-graphs",
        dest="cuda_graphs",
        action="store_false",
        default=EXECUTION.cuda_graphs,
        help="run each training step on a GPU as it is written",
    )


def add_jobs_per_gpu(parser: ArgumentParser) -> None:
    """How many jobs may share a GPU."""
    parser.add_argument(
        "--jobs-per-gpu",
        type=at_least(int, 0),
        default=EXECUTION.jobs_per_gpu,
        metavar="N",
        help="jobs that may share a GPU; another one waits (default: %(default)s; 0: use no GPU)",
    )


def add_keep(parser: ArgumentParser, text: str) -> None:
    """What stays of weights."""
    parser.add_argument("--keep", choices=get_args(Keep), default=EXECUTION.keep_weights, help=text)


def add_shared(parser: ArgumentParser) -> None:
    """Which studies are shared, and where."""
    parser.add_argument("study", nargs="*", metavar="STUDY", help="a study that dvc.yaml names (default: all of them)")
    parser.add_argument("--remote", metavar="NAME", help="the remote (default: DVC's default remote)")


def add_study(parser: ArgumentParser, into: str) -> None:
    """The recipe of a study, and whether a part of it will do."""
    parser.add_argument("recipe", type=Path, nargs="?", help="a recipe of kind study (default: the one planned last)")
    parser.add_argument("--partial", action="store_true", help=f"use only the finished runs, and write to {into}")


def study_recipe(arguments: Namespace) -> StudyRecipe:
    """The recipe that `add_study` asked for."""
    from collabpipe.plan.recipes import read_recipe
    from collabpipe.plan.study_recipes import StudyRecipe
    from collabpipe.results.studies import study_here

    if arguments.recipe:
        return read_recipe(arguments.recipe, StudyRecipe)
    return study_here(arguments.results, arguments.results.study).plan.study


def add_study_choice(parser: ArgumentParser) -> None:
    """Which study is looked at: by its files, or by its name."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "config",
        type=Path,
        nargs="*",
        default=[],  # without one the group would ask for a value
        metavar="CONFIG",
        help="the study's files, or its name (default: the study planned last)",
    )
    choice.add_argument("--study", metavar="STUDY", help="the study's name or folder, in place of its files")
