"""Draw a study's figures."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from collabpipe.cli.arguments import add_study, study_recipe


def arguments(parser: ArgumentParser) -> None:
    """The study, and whether all its runs must be finished."""
    add_study(parser, "figures/partial")


def run(arguments: Namespace) -> None:
    """Write the figures."""
    # A notebook sets a backend that need not be installed here; matplotlib then cannot even be imported.
    os.environ["MPLBACKEND"] = "agg"
    from collabpipe.analysis.figures.write import write_figures

    write_figures(study_recipe(arguments), arguments.results, arguments.partial)
