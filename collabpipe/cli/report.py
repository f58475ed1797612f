"""Write a study's page: one HTML file with verdicts, tables, figures and runs, which opens offline."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path


def arguments(parser: ArgumentParser) -> None:
    """The study, and whether all its runs must be finished."""
    parser.add_argument("recipe", type=Path, nargs="?", help="a recipe of kind study (default: the one planned last)")
    parser.add_argument(
        "--partial", action="store_true", help="from the runs that are finished, into tables/partial/report.html"
    )


def run(arguments: Namespace) -> None:
    """Write the page and say where it is."""
    os.environ["MPLBACKEND"] = "agg"  # as in figures.py
    from collabpipe.common.errors import CollabpipeError
    from collabpipe.plan.recipes import read_recipe
    from collabpipe.plan.study_recipes import StudyRecipe
    from collabpipe.report.write import write_report
    from collabpipe.results.studies import study_here

    study = study_here(arguments.results, arguments.results.study)
    if arguments.recipe and read_recipe(arguments.recipe, StudyRecipe).digest != study.plan.study.digest:
        raise CollabpipeError(
            f"{arguments.recipe}: study {study.name} was planned anew after this recipe. "
            f"Write its page: {study.command} -- report"
        )
    print(f"Report: {write_report(study, arguments.partial)} (open it in a browser)")
