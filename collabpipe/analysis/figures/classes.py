"""Accuracy per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from collabpipe.analysis.figures.material import Cell, Material, Predicted, shown_cell
from collabpipe.analysis.figures.panels import Rows
from collabpipe.analysis.figures.style import MOST_PANELS, SMALL, Sheet, message, shortened, width_of, wrapped
from collabpipe.common.files import read_record
from collabpipe.plan.record_types import LabelsRecord

NAMED = 20
"""The most classes whose names fit below a panel."""
NUMBERED = 12
"""The most classes whose accuracies are written into the panel."""


def draw(material: Material) -> Figure:
    """A panel per cell."""
    classes = {}
    for dataset in {cell[0] for cell in material.predicted}:
        of_data = next(run.recipe.labels for run in material.runs if run.name.dataset == dataset)
        labels: LabelsRecord = read_record(material.paths.label_files(of_data)[1])
        classes[dataset] = labels["classes"]
    return draw_classes(material.predicted, classes)


def draw_classes(predicted: Mapping[Cell, Mapping[str, Predicted]], classes: Mapping[str, Sequence[str]]) -> Figure:
    """From what was predicted in each cell by each method, and the names of each data set's classes."""
    cells = list(predicted)[:MOST_PANELS]
    if not cells:
        return message("All runs of this study diverged.")
    rows = Rows(list(dict.fromkeys(name for cell in cells for name in predicted[cell])))
    width = max(2.6, *(min(0.32 * len(names), 6.4) for names in classes.values()))
    titles = [wrapped(shown_cell(cell), width) for cell in cells]
    named = [shortened(name, 20) for names in classes.values() if len(names) <= NAMED for name in names]
    columns = min(len(cells), 3 if width < 4.0 else 2)
    sheet = Sheet(
        -(-len(cells) // columns),
        columns,
        width,
        max(rows.pitch * max(len(predicted[cell]) for cell in cells), 0.5),
        left=rows.left,
        bottom=width_of(named, SMALL) + 0.4,
        titles=titles,
        right=0.75,
    )
    for at, (cell, title) in enumerate(zip(cells, titles, strict=True)):
        axes = sheet.axes(*divmod(at, columns), title)
        _panel(sheet, axes, predicted[cell], classes[cell[0]], rows)
    return sheet.figure


def _panel(sheet: Sheet, axes: Axes, by_method: Mapping[str, Predicted], classes: Sequence[str], rows: Rows) -> None:
    hits, images = np.stack([one.classes for one in by_method.values()], axis=1).astype(np.float64)
    shares: NDArray[np.float64] = np.divide(100.0 * hits, images, out=np.full_like(hits, np.nan), where=images > 0)
    low, high = float(np.nanmin(shares)), float(np.nanmax(shares))
    image = axes.imshow(shares, aspect="auto", cmap="cividis", vmin=low - 0.5, vmax=high + 0.5, interpolation="none")
    place = axes.get_position()
    bar = sheet.figure.add_axes((place.x1 + 0.08 / sheet.width, place.y0, 0.09 / sheet.width, place.height))
    sheet.figure.colorbar(image, cax=bar, ticks=MaxNLocator(max(int(sheet.heights[0] / 0.3), 1))).outline.set_visible(
        False
    )
    rows.label(axes, list(by_method))
    if len(classes) <= NAMED:
        names = [shortened(name, 20) for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=0 if max(map(len, names)) <= 2 else 90)
    else:
        axes.set_xticks([])
    axes.set_xlabel("true class" if len(classes) <= NAMED else f"true class (all {len(classes)}, in their order)")
    if len(classes) <= NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if share == share:
                colour = "white" if share < (low + high) / 2 else "black"
                axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=6.5, color=colour)
