"""Heat maps of the label noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from collabpipe.analysis.figures.material import Material
from collabpipe.analysis.figures.style import BAR, MOST_PANELS, SMALL, Sheet, message, shortened, width_of, wrapped
from collabpipe.data.labels import transition_matrix
from collabpipe.plan.record_types import LabelsRecord

# The square root keeps shares of a few percent visible next to the diagonal.
SCALE = PowerNorm(0.5, vmin=0.0, vmax=100.0)
NAMED, NUMBERED = 20, 10
"""The most classes whose names fit on the axes, and whose shares fit into the squares."""
SIDE = 3.0


def draw(material: Material) -> Figure:
    """A panel per data set and noise."""
    return draw_transitions(material.noise[1])


def draw_transitions(labels: Sequence[tuple[str, LabelsRecord]]) -> Figure:
    """One heat map per label file, from its name and record: the share of each class that carries each label."""
    if not labels:
        return message("no label noise in this study")
    labels = labels[:MOST_PANELS]
    titles = [wrapped(name, SIDE) + f"\n{_rate(about)}" for name, about in labels]
    named = [shortened(name, 20) for _, about in labels if len(about["classes"]) <= NAMED for name in about["classes"]]
    room = width_of(named, SMALL) + 0.4
    columns = min(len(labels), 3)
    rows = -(-len(labels) // columns)
    sheet = Sheet(rows, columns, SIDE, SIDE, left=room, bottom=room, titles=titles, heads={0: BAR})
    for at, ((_, about), title) in enumerate(zip(labels, titles, strict=True)):
        _panel(sheet.axes(*divmod(at, columns), title), about)
    ticks = [0, 1, 5, 10, 20, 40, 60, 100]
    sheet.colour_bar(ScalarMappable(SCALE, "Blues"), "share of the true class (%)", ticks=ticks)
    return sheet.figure


def _rate(about: LabelsRecord) -> str:
    return f"true rate {100.0 * about['true_rate']:.1f}%, n = {about['images']:,}"


def _panel(axes: Axes, about: LabelsRecord) -> None:
    shares = 100.0 * transition_matrix(about)
    classes = [shortened(name, 20) for name in about["classes"]]
    axes.imshow(shares, cmap="Blues", norm=SCALE, interpolation="none")
    axes.set_xlabel("label given")
    axes.set_ylabel("true class")
    if len(classes) <= NAMED:
        upright = max(map(len, classes)) <= 2
        axes.set_xticks(range(len(classes)), classes, rotation=0 if upright else 90)
        axes.set_yticks(range(len(classes)), classes)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if len(classes) <= NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if share > 0.0:
                colour = "white" if share > 30.0 else "black"
                axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=SMALL, color=colour)
