"""Draw all figures of a study."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from collabpipe.analysis.figures import (
    accuracy,
    classes,
    corrupted,
    curves,
    differences,
    kernels,
    overhead,
    reliability,
    representations,
    robustness,
    seen_images,
    seen_through,
    terms,
    transitions,
    wrong,
)
from collabpipe.analysis.figures.described import described
from collabpipe.analysis.figures.material import Material
from collabpipe.analysis.figures.style import own_style, save
from collabpipe.analysis.runs import read_runs
from collabpipe.analysis.tables import write_record
from collabpipe.common.whereabouts import whereabouts
from collabpipe.plan.figures import FIGURES
from collabpipe.plan.file_names import FIGURE_FILES
from collabpipe.plan.paths import Paths
from collabpipe.plan.study_recipes import StudyRecipe
from collabpipe.results.provenance import note

DRAW: dict[str, Callable[[Material], Figure]] = {
    module.__name__.rpartition(".")[2]: module.draw
    for module in (
        accuracy,
        classes,
        corrupted,
        curves,
        differences,
        kernels,
        overhead,
        reliability,
        representations,
        robustness,
        seen_images,
        seen_through,
        terms,
        transitions,
        wrong,
    )
}
"""What draws each figure, by its name."""


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
            figure = DRAW[kind.name](material)
            texts[kind.name] = described(figure)
            for name in kind.files:
                save(figure, folder / name)
    write_record(folder, FIGURE_FILES, study, runs, texts)
    note(paths, folder, whereabouts("cpu"))
