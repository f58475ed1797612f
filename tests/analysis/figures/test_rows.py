"""Figures with a row or a mark per method: differences, seen through, accuracy per class, overhead."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from collabpipe.analysis.figures.classes import draw_classes
from collabpipe.analysis.figures.differences import draw_differences
from collabpipe.analysis.figures.overhead import draw_overhead, spread
from collabpipe.analysis.figures.seen_through import draw_seen_through
from tests.analysis.figures.studies import FEW, LARGE, STUDIES, Made, cells, drawn, inside, panels

ALL = STUDIES | LARGE
EACH = pytest.mark.parametrize("made", ALL.values(), ids=ALL)


@EACH
def test_differences_have_one_scale_per_noise_and_no_empty_row(made: Made) -> None:
    table = made.main()
    figure = drawn(draw_differences, table)

    known = table.dropna(subset=["diff_baseline", "diff_control", "diff_rival"], how="all")
    if known.empty:
        assert not figure.axes
        assert "can be compared" in figure.texts[0].get_text()
        return
    groups = list(known.groupby(["dataset", "noise", "network"], sort=False))
    limits: dict[str, set[tuple[float, float]]] = {}
    cell: Any
    for axes, (cell, group) in zip(panels(figure), groups, strict=True):
        limits.setdefault(cell[1], set()).add(axes.get_xlim())
        points = sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() in ("o", "s", "D"))
        assert points >= group[["diff_baseline", "diff_control", "diff_rival"]].notna().to_numpy().sum()
        assert len(axes.get_yticklabels()) == len(group)
        low, high = axes.get_xlim()
        assert (group["diff_baseline_low"].dropna() >= low).all()
        assert (group["diff_baseline_high"].dropna() <= high).all()
    assert all(len(found) == 1 for found in limits.values())


def test_the_comparators_are_those_that_the_study_has() -> None:
    columns = [f"diff_{to}{limit}" for to in ("baseline", "control", "rival") for limit in ("", "_low", "_high")]
    row = {"dataset": "d", "noise": "none", "network": "n", "method": "m"} | dict(zip(columns, range(9), strict=True))
    without = row | dict.fromkeys(columns[6:], np.nan)
    figures = [drawn(draw_differences, pd.DataFrame([one])) for one in (row, without)]

    names = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in figures]
    assert names == [
        ["to the baseline", "to the matched control", "to the rival"],
        ["to the baseline", "to the matched control"],
    ]
    marks = [line for line in panels(figures[0])[0].lines if line.get_marker() in ("o", "s", "D")]
    points = [line.get_xydata().tolist() for line in marks]
    assert points == [[[0.0, pytest.approx(-0.24)]], [[3.0, 0.0]], [[6.0, pytest.approx(0.24)]]]


def test_a_row_says_how_many_runs_diverged() -> None:
    figure = drawn(draw_differences, STUDIES["diverged runs"].main())
    labels = [label.get_text() for axes in panels(figure) for label in axes.get_yticklabels()]
    assert [label for label in labels if "diverged" in label] == ["m1 (1 of 3 diverged)", "m2 (1 of 3 diverged)"]


@EACH
def test_flipped_labels_are_memorised_or_seen_through(made: Made) -> None:
    figure = drawn(draw_seen_through, made.histories())

    noisy = [cell for cell in made.cells if cell[1] != "none"]
    if not noisy:
        assert [text.get_text() for text in figure.texts] == ["No label of this study's training images is flipped."]
        return
    assert len(panels(figure)) == len(noisy)
    for axes, cell in zip(panels(figure), noisy, strict=True):
        methods = [method for where, method in made.rows if where == cell]
        assert len(axes.get_yticklabels()) == len(methods)
        assert inside(axes)
        assert inside(axes, column=0)


@EACH
def test_classes_have_a_row_per_method(made: Made) -> None:
    # Of the large study two classes are enough for thousands of numbers.
    count = 10 if len(made.cells) < 20 else 2
    predicted = made.predicted(classes=count)
    names = {cell[0]: [f"class {number}" for number in range(count)] for cell in made.cells}
    figure = drawn(draw_classes, predicted, names)

    assert len(panels(figure)) == len(predicted)
    for axes, by_method in zip(panels(figure), predicted.values(), strict=True):
        assert axes.images[0].get_array().shape == (len(by_method), count)
        assert len(axes.texts) == count * len(by_method)


@pytest.mark.parametrize(("count", "named", "numbered"), [(2, 2, 2), (12, 12, 12), (20, 20, 0), (100, 0, 0)])
def test_many_classes_have_neither_names_nor_numbers(count: int, named: int, numbered: int) -> None:
    made = Made(FEW[:1], ["baseline"])
    names = {"data0": [f"$class_{number}$ {'x' * 80}" for number in range(count)]}
    figure = drawn(draw_classes, made.predicted(classes=count), names)

    (axes,) = panels(figure)
    assert len(axes.get_xticklabels()) == named
    assert len(axes.texts) == numbered


@EACH
def test_overhead_names_each_point(made: Made) -> None:
    figure = drawn(draw_overhead, made.accuracies(), made.costs())

    measured = [cell for cell in made.cells if cell[0] == made.cells[0][0]]
    assert len(panels(figure)) == len(measured)
    for axes, cell in zip(panels(figure), measured, strict=True):
        methods = [method for where, method in made.rows if where == cell]
        (points,) = axes.collections
        assert len(points.get_offsets()) == len(axes.texts) == len(methods)
        low, high = axes.get_ylim()
        assert all(low < y < high for _, y in points.get_offsets())


def test_overhead_that_is_not_measured_is_said() -> None:
    made = STUDIES["one pair"]
    figure = drawn(draw_overhead, made.accuracies(), None)
    assert "not measured yet" in figure.texts[0].get_text()

    others = made.costs().assign(dataset="another")
    assert "both an accuracy" in drawn(draw_overhead, made.accuracies(), others).texts[0].get_text()


@pytest.mark.parametrize("wanted", [[0.5], [0.5] * 8, [0.0] * 8, [1.0] * 8, [0.9, 0.1, 0.95, 0.5, 0.52]])
def test_names_are_spread_without_overlap(wanted: list[float]) -> None:
    places = sorted(spread(wanted, 0.1))
    assert all(b - a > 0.1 - 1e-9 for a, b in pairwise(places))
    assert places[0] >= -0.05
    assert places[-1] <= 0.95 + 1e-9


def test_a_cell_in_which_all_diverged_is_no_panel_of_classes() -> None:
    made = Made(cells(1, ("none", "symmetric-0.5")), ["baseline"], seeds=1, diverged=[(FEW[1], "baseline")])
    figure = drawn(draw_classes, made.predicted(), {"data0": list("0123456789")})
    assert [axes.get_title(loc="left") for axes in panels(figure)] == ["data0, none, resnet8"]
