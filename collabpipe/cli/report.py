"""Write a study's page: one HTML file with verdicts, tables, figures and runs, which opens offline."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from collabpipe.cli.arguments import add_study


def arguments(parser: ArgumentParser) -> None:
    """The study, and whether all its runs must be finished."""
    add_study(parser, "tables/partial/report.html")


def run(arguments: Namespace) -> None:
    """Write the page and say where it is."""
    os.environ["MPLBACKEND"] = "agg"  # as in figures.py
    from collabpipe.common.errors import CollabpipeError
    from collabpipe.plan.recipes import read_recipe
    from collabpipe.plan.study_recipes import StudyRecipe
    from collabpipe.report.write import write_report
    from collabpipe.results.studies import known_studies, study_here

    last = study = study_here(arguments.results, arguments.results.study)
    if arguments.recipe and (digest := read_recipe(arguments.recipe, StudyRecipe).digest) != last.plan.study.digest:
        # While it ran, another configuration with its name was planned.
        found = [one for one in known_studies(arguments.results) if one.plan.study.digest == digest]
        if not found:
            raise CollabpipeError(
                f"{arguments.recipe}: study {last.name} was planned again with another configuration. "
                f"Write the page of that one: {last.remedy('report')}"
            )
        study = found[0]
    print(f"Report: {write_report(study, arguments.partial)} (open it in a browser)")
