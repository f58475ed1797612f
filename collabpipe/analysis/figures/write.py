"""Draw all figures of a study."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from matplotlib.figure import Figure

from collabpipe.analysis.figures.described import described
from collabpipe.analysis.figures.material import Material
from collabpipe.analysis.figures.style import own_style, save
from collabpipe.analysis.runs import read_runs
from collabpipe.analysis.tables import write_record
from collabpipe.common.whereabouts import whereabouts
from collabpipe.plan.figures import FIGURES
from collabpipe.plan.paths import FIGURE_FILES, Paths
from collabpipe.plan.study_recipes import StudyRecipe
from collabpipe.results.provenance import note


def drawing(name: str) -> Callable[[Material], Figure]:
    """What draws a figure: `draw` of the module that is named as the figure."""
    draw: Callable[[Material], Figure] = import_module(f"collabpipe.analysis.figures.{name}").draw
    return draw


def write_figures(study: StudyRecipe, paths: Paths, partial: bool = False) -> None:
    """Write the study's figures, and the record of what they show.

    With `partial` they are made from the runs that are finished, and lie in `partial` below the figures.

    Raises:
        CollabpipeError: a run does not fit its recipe; with `partial`, none does.
    """
    runs = read_runs(study, paths, partial)
    folder = paths.partial(paths.figures) if partial else paths.figures
    material, texts = Material(study, runs, paths), {}
    with own_style():
        for kind in FIGURES:
            figure = drawing(kind.name)(material)
            texts[kind.name] = described(figure)
            for name in kind.files:
                save(figure, folder / name)
    write_record(folder, FIGURE_FILES, study, runs, texts)
    note(paths, folder, whereabouts("cpu"))
