"""Reliability diagrams: how often predictions of a confidence are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from collabpipe.analysis.figures.material import Cell, Material, Predicted, shown_cell
from collabpipe.analysis.figures.panels import Panel, Section, by_groups
from collabpipe.analysis.figures.style import GREY, Methods, message

FEWEST = 10
"""Predictions in a bin: the accuracy of fewer says nothing."""


def draw(material: Material) -> Figure:
    """A panel per cell."""
    return draw_reliability(material.predicted, material.methods)


def draw_reliability(predicted: Mapping[Cell, Mapping[str, Predicted]], methods: Methods) -> Figure:
    """From what was predicted in each cell by each method."""
    panels = [
        Panel(shown_cell(cell), list(by_method), partial(_panel, methods, by_method))
        for cell, by_method in predicted.items()
    ]
    if not panels:
        return message("All runs of this study diverged.")
    drawn = methods.only({name for panel in panels for name in panel.methods})
    return by_groups([Section(panels, drawn)], height=2.6)


def _panel(methods: Methods, by_method: Mapping[str, Predicted], axes: Axes, names: Sequence[str]) -> None:
    axes.plot([0.0, 100.0], [0.0, 100.0], color=GREY, lw=0.8, ls=(0, (2, 2)))
    for name in names:
        number, confidence, hits = by_method[name].bins
        full = number >= min(FEWEST, number.max())
        style = methods.styles[name]
        axes.plot(
            100.0 * confidence[full] / number[full],
            100.0 * hits[full] / number[full],
            color=style.colour,
            marker=style.marker,
            ls=style.line,
        )
    axes.set_xlim(-3.0, 103.0)
    axes.set_ylim(-3.0, 103.0)
    axes.set_xlabel("confidence (%)")
    axes.set_ylabel("accuracy (%)")
