"""Figures with methods in groups: accuracy against noise rate, curves, loss terms, reliability."""

from __future__ import annotations

import numpy as np
import pytest

from collabpipe.analysis.figures import curves as curves_module
from collabpipe.analysis.figures.accuracy import draw_accuracy
from collabpipe.analysis.figures.curves import MOST_PANELS, draw_curves
from collabpipe.analysis.figures.reliability import draw_reliability
from collabpipe.analysis.figures.style import TOGETHER, Methods
from collabpipe.analysis.figures.terms import draw_terms
from tests.analysis.figures.studies import FEW, LARGE, STUDIES, Made, cells, drawn, inside, panels

ALL = STUDIES | LARGE
EACH = pytest.mark.parametrize("made", STUDIES.values(), ids=STUDIES)
EACH_AND_LARGE = pytest.mark.parametrize("made", ALL.values(), ids=ALL)


def test_methods_share_panels_with_the_baseline_and_beside_their_controls() -> None:
    groups = Methods(["m1", "baseline", *(f"m{number}" for number in range(2, 10))], "baseline", {"m1": "m9"}).groups

    assert groups == [["baseline", "m1", "m9", "m2", "m3"], ["baseline", "m4", "m5", "m6", "m7", "m8"]]
    assert Methods(["only"]).groups == [["only"]]
    assert Methods(["baseline"], "baseline").groups == [["baseline"]]


@pytest.mark.parametrize("count", [1, 7, 8, 40, 100])
def test_methods_in_a_panel_differ_in_colour_marker_and_line(count: int) -> None:
    methods = Methods(["baseline", *(f"m{number}" for number in range(count))], "baseline")

    assert sorted({name for group in methods.groups for name in group}) == sorted(methods.names)
    for group in methods.groups:
        assert len(group) <= TOGETHER
        styles = [methods.styles[name] for name in group]
        for part in ("colour", "marker", "line"):
            assert len({getattr(style, part) for style in styles}) == len(group)


@EACH_AND_LARGE
def test_accuracy_has_a_mark_for_each_method_and_rate(made: Made) -> None:
    table = made.accuracies()
    figure = drawn(draw_accuracy, table, made.methods)

    kinds = table[table["kind"] != "none"].groupby(["dataset", "network"])["kind"].nunique()
    groups = len(made.methods.groups)
    assert len(panels(figure)) == max(int(kinds.sum()), 1) * groups
    for axes in panels(figure):
        assert inside(axes)
        low, high = axes.get_ylim()
        assert high - low < 1.2 * (table["high"].max() - table["low"].min()) + 2.0 or made.seeds == 1
    marks = {round(float(y), 6) for axes in panels(figure) for line in axes.lines for y in line.get_ydata()}
    assert {round(float(mean), 6) for mean in table["mean"]} <= marks


@EACH_AND_LARGE
def test_curves_have_no_empty_panel_and_axes_that_fit(made: Made) -> None:
    histories = made.histories()
    figure = drawn(draw_curves, histories, made.methods)

    noisy = [cell for cell in made.cells if cell[1] != "none"]
    groups = len(made.methods.groups)
    every = (len(made.cells) + len(noisy)) * groups
    left_out = [int(text.get_text().split()[0]) for text in figure.texts]
    assert len(panels(figure)) + sum(left_out) == every
    assert MOST_PANELS - 2 * groups < len(panels(figure)) <= MOST_PANELS or not left_out
    learning = [axes for axes in panels(figure) if "validation" in axes.get_ylabel()]
    for axes in learning:
        low, high = axes.get_ylim()
        assert low > 45.0, "the first quarter of the epochs, far below, does not set the scale"
        assert high < 100.0
    assert [axes for axes in panels(figure) if "fitted" in axes.get_ylabel()] or not noisy


def test_a_study_without_noise_has_no_panel_on_memorisation() -> None:
    made = Made(FEW[:1], ["baseline", "m1"])
    figure = drawn(draw_curves, made.histories(), made.methods)

    (axes,) = panels(figure)
    assert "validation" in axes.get_ylabel()


def test_a_study_that_validates_nothing_says_so() -> None:
    made = Made(FEW[:1], ["baseline"])
    figure = drawn(draw_curves, made.histories().assign(validation_accuracy=None), made.methods)

    assert not figure.axes
    assert "no curves to draw" in figure.texts[0].get_text().replace("\n", " ")


def test_a_band_spans_the_replicates_and_a_cross_marks_a_divergence() -> None:
    made = STUDIES["diverged runs"]
    figure = drawn(draw_curves, made.histories(), made.methods)

    first = panels(figure)[0]
    marks = [line for line in first.lines if line.get_markersize() == 8.0]
    crosses = [line for line in marks if len(line.get_xdata())]
    assert [line.get_xdata().tolist() for line in crosses] == [[3]]
    assert inside(first) is False, "the steep first epochs leave the axis"
    low, high = first.get_ylim()
    assert low < crosses[0].get_ydata()[0] < high
    assert len(first.collections) == len(made.names)
    band = first.collections[0].get_paths()[0].vertices
    assert float(np.ptp(band[np.isclose(band[:, 0], 8)][:, 1])) == pytest.approx(0.4)


@EACH
def test_terms_are_drawn_for_the_methods_that_have_them(made: Made) -> None:
    figure = drawn(draw_terms, made.histories(), made.methods)

    if set(made.names) == {"baseline"}:
        assert not figure.axes
        return
    named = {text.get_text().replace("\n", "") for legend in figure.legends for text in legend.get_texts()}
    assert named == set(made.names) - {"baseline"}
    assert {axes.get_ylabel() for axes in panels(figure)} == {"kernel"}


@EACH
def test_reliability_has_a_line_for_each_method(made: Made) -> None:
    predicted = made.predicted()
    figure = drawn(draw_reliability, predicted, made.methods)

    assert len(panels(figure)) == len(predicted) * len(made.methods.groups)
    for axes in panels(figure):
        assert inside(axes)
        assert inside(axes, column=0)
        assert all(len(line.get_xdata()) for line in axes.lines)


def test_a_study_whose_runs_all_diverged_says_so() -> None:
    figure = drawn(draw_reliability, {}, Methods(["baseline"], "baseline"))
    assert [text.get_text() for text in figure.texts] == ["All runs of this study diverged."]


def test_a_study_of_many_cells_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves_module, "MOST_PANELS", 8)
    made = Made(cells(3, ("none", "symmetric-0.5")), ["baseline"], seeds=1)
    figure = drawn(draw_curves, made.histories(), made.methods)

    assert [axes.get_ylabel()[:8] for axes in panels(figure)] == 5 * ["accuracy"] + 3 * ["flipped "]
    assert [text.get_text() for text in figure.texts] == ["1 further panel is left out."]

    monkeypatch.setattr(curves_module, "MOST_PANELS", 1)
    assert len(panels(drawn(draw_curves, made.histories(), made.methods))) == 2, "one of each kind at least"


def test_places_without_a_panel_are_not_counted_as_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"method{number}" for number in range(2 * TOGETHER)]
    of_study = cells(3, ("symmetric-0.5",))
    made = Made(of_study, names, seeds=1, missing=[(cell, name) for cell in of_study[1:] for name in names[TOGETHER:]])
    shown = len(panels(drawn(draw_curves, made.histories(), made.methods)))
    assert shown == 8, "two groups of methods in the first cell, one in the others; two quantities"
    monkeypatch.setattr(curves_module, "MOST_PANELS", 4)
    figure = drawn(draw_curves, made.histories(), made.methods)
    assert [text.get_text().split()[0] for text in figure.texts] == [str(shown - len(panels(figure)))]
