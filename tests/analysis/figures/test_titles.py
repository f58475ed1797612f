"""Titles of panels: measured as they are drawn, however long the names in them are."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from matplotlib.figure import Figure

from collabpipe.analysis.figures.accuracy import draw_accuracy
from collabpipe.analysis.figures.classes import draw_classes
from collabpipe.analysis.figures.curves import draw_curves
from collabpipe.analysis.figures.differences import draw_differences
from collabpipe.analysis.figures.overhead import draw_overhead
from collabpipe.analysis.figures.seen_through import draw_seen_through
from collabpipe.analysis.figures.style import own_style
from collabpipe.analysis.figures.terms import draw_terms
from tests.analysis.figures.studies import Made, cells, panels
from tests.workspaces import REPOSITORY

METHODS = ["baseline", "m1", "m2"]
STUDIES = {
    "evidence": [("fashion_mnist", noise, "resnet18") for noise in ("none", "symmetric_inclusive-0.5")],
    "spaces": [("a b " * 20, noise, "resnet18") for noise in ("none", "symmetric_inclusive-0.5")],
    "80 letters": [("d" * 80, noise, "n" * 80) for noise in ("none", "symmetric-0.5")],
    "three across": cells(3, ("symmetric_inclusive-0.5",), ("a_network-of.some_length-" * 2,)),
}
DRAW: dict[str, Callable[[Made], Figure]] = {
    "accuracy": lambda made: draw_accuracy(made.accuracies(), made.methods),
    "classes": lambda made: draw_classes(made.predicted(), {cell[0]: list("abcdefghij") for cell in made.cells}),
    "curves": lambda made: draw_curves(made.histories(), made.methods),
    "differences": lambda made: draw_differences(made.main()),
    "overhead": lambda made: draw_overhead(made.accuracies(), made.costs()),
    "seen_through": lambda made: draw_seen_through(made.histories()),
    "terms": lambda made: draw_terms(made.histories(), made.methods),
}


def assert_titles_fit(figure: Figure) -> None:
    """Every title lies within the figure, apart from other titles and from all panels."""
    with own_style():
        figure.draw_without_rendering()
        titles = [axes._left_title.get_window_extent() for axes in panels(figure)]
    assert titles
    for at, title in enumerate(titles):
        assert title.x0 >= 0
        assert title.y0 >= 0
        assert title.x1 <= figure.bbox.width
        assert title.y1 <= figure.bbox.height
        assert not any(title.overlaps(other) for other in titles[:at])
        assert not any(title.overlaps(axes.bbox) for axes in figure.axes)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_titles_of_any_length_fit(draw: Callable[[Made], Figure], study: list[tuple[str, str, str]]) -> None:
    with own_style():
        figure = draw(Made(study, METHODS))
    assert_titles_fit(figure)


def test_the_titles_of_the_evidence_fit() -> None:
    table = pd.read_csv(REPOSITORY / "docs/results/evidence/main.csv", keep_default_na=False, na_values=[""])
    with own_style():
        figure = draw_differences(table)
    assert_titles_fit(figure)
    assert [" ".join(axes.get_title(loc="left").split()) for axes in panels(figure)] == [
        "fashion_mnist, none, resnet18",
        "fashion_mnist, symmetric_inclusive-0.5, resnet18",
    ]
