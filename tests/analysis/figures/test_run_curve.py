"""The small curve of a run."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from collabpipe.analysis.figures.run_curve import HEIGHT, WIDTH, run_curve

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    """An element that this package wrote."""
    return ElementTree.fromstring(text)  # noqa: S314


def lines(text: str) -> list[list[tuple[float, float]]]:
    """The points of the curves."""
    found = parsed(text).iter(f"{SVG}polyline")
    return [[tuple(map(float, point.split(","))) for point in one.attrib["points"].split()] for one in found]  # type: ignore[misc]


def test_a_run_has_a_line_per_quantity_within_the_frame() -> None:
    shares = [epoch / 1000 for epoch in range(1000)]
    text = run_curve({"epoch": range(1, 1001), "validation_accuracy": shares, "memorised": shares[::-1]}, "a run")

    first, second = lines(text)
    assert len(first) == len(second) == 100
    assert first[-1] == (WIDTH - 8, 8.1), "the last epoch is drawn"
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in first + second)
    assert len(text) < 5000


def test_the_axis_fits_the_values() -> None:
    text = run_curve({"epoch": [1, 2], "validation_accuracy": [0.93, 0.97], "memorised": [None, None]}, "clean")
    assert len(lines(text)) == 1
    assert re.findall(r'text-anchor="end">(\d+)<', text) == ["100", "90"]


@pytest.mark.parametrize("values", [[0.5], [1.0], [0.0]])
def test_a_run_of_one_epoch_is_a_dot(values: list[float]) -> None:
    text = run_curve({"epoch": [1], "validation_accuracy": values}, "short")
    (circle,) = parsed(text).iter(f"{SVG}circle")
    assert 8 <= float(circle.attrib["cy"]) <= HEIGHT - 22


def test_a_run_without_values_says_so_and_names_are_harmless() -> None:
    text = run_curve({"epoch": [], "validation_accuracy": []}, "<script>alert(1)</script> & $x_1$")
    assert "no curve" in text
    assert parsed(text).findtext(f"{SVG}title") == "<script>alert(1)</script> & $x_1$"
