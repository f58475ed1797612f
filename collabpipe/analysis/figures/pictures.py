"""Rows of small images with a text below each: corrupted labels, those seen through, what all methods get wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from collabpipe.analysis.figures.style import MOST_PANELS, Sheet, height_of, shortened, wrapped

ACROSS = 10
"""The most images in a row."""
SIDE = 0.8
GAP = 0.12
EMPTY = 0.05
"""The height of a row without images, of which the title alone is read."""


@dataclass(frozen=True)
class Row:
    """Images (n, C, H, W) uint8 with a text for each, and what they have in common."""

    title: str
    images: NDArray[np.uint8]
    texts: Sequence[str]


def short(name: str) -> str:
    """A class's name as it fits below an image."""
    return shortened(name, 14)


def draw_rows(rows: Sequence[Row]) -> Figure:
    """One row below the other, the images in their own pixels."""
    rows = rows[:MOST_PANELS]
    texts = [[wrapped(line, SIDE, 6.5) for line in row.texts] for row in rows]
    below = height_of([text for row in texts for text in row], 6.5) + 0.1
    titles = [wrapped(row.title, ACROSS * (SIDE + GAP)) for row in rows]
    heights = [SIDE if row.texts else EMPTY for row in rows]
    sheet = Sheet(len(rows), 1, ACROSS * (SIDE + GAP), heights, left=0.15, bottom=below, titles=titles)
    for at, (row, title, of_row) in enumerate(zip(rows, titles, texts, strict=True)):
        axes = sheet.axes(at, 0, title)
        axes.set_axis_off()
        axes.set_xlim(0.0, ACROSS * (SIDE + GAP))
        axes.set_ylim(SIDE, 0.0)
        for number, (image, text) in enumerate(zip(row.images, of_row, strict=True)):
            left = number * (SIDE + GAP)
            # Grey images have one channel; of others the first three are shown.
            shown = image[0] if len(image) < 3 else image[:3].transpose(1, 2, 0)
            axes.imshow(
                shown, cmap="gray", vmin=0, vmax=255, extent=(left, left + SIDE, SIDE, 0.0), interpolation="nearest"
            )
            axes.text(left + SIDE / 2, SIDE + 0.04, text, ha="center", va="top", fontsize=6.5)
        axes.set_xlim(0.0, ACROSS * (SIDE + GAP))
        axes.set_ylim(SIDE, 0.0)
        axes.set_aspect("auto")
    return sheet.figure
