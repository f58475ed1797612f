"""Gram matrices of methods side by side: what a loss on similarities lowers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from collabpipe.analysis.figures.style import BAR, Methods, Sheet, wrapped

MOST_SHOWN = 64
MOST_METHODS = 6
SIDE = 1.5


def compared(methods: Methods, collaborating: Collection[str]) -> list[str]:
    """The baseline, and each method that has the loss behind its matched control; at most `MOST_METHODS`."""
    having = [name for name in methods.names if name in collaborating]
    pairs = [name for method in having for name in (methods.controls.get(method), method)]
    return [name for name in dict.fromkeys((methods.baseline, *pairs)) if name and name in methods.names][:MOST_METHODS]


def draw_grams(rows: Sequence[tuple[str, Sequence[tuple[str, NDArray[np.float64]]]]], what: str) -> Figure:
    """A row of methods with their cosines (C, C) per title.

    Args:
        rows: titles, and what each method of a row has.
        what: the cosines are between, such as "kernels".
    """
    columns = max(len(found) for _, found in rows)
    titles = {
        (row, name): f"{wrapped(title, SIDE)}\n{wrapped(name, SIDE)}\nmean {_mean(gram):.3f}"
        for row, (title, found) in enumerate(rows)
        for name, gram in found
    }
    sheet = Sheet(len(rows), columns, SIDE, SIDE, left=0.2, bottom=0.15, titles=list(titles.values()), heads={0: BAR})
    cosines = np.concatenate([np.abs(gram[~np.eye(len(gram), dtype=bool)]) for _, found in rows for _, gram in found])
    # All but the largest differ in colour.
    scale = Normalize(0.0, max(float(np.quantile(cosines, 0.99)), 1e-3) if cosines.size else 1.0)
    for row, (_, found) in enumerate(rows):
        for column, (name, gram) in enumerate(found):
            axes = sheet.axes(row, column, titles[row, name])
            shown = np.abs(gram[:MOST_SHOWN, :MOST_SHOWN])
            axes.imshow(shown, cmap="Greys", norm=scale, interpolation="none")
            axes.set_xticks([])
            axes.set_yticks([])
    sheet.colour_bar(ScalarMappable(scale, "Greys"), f"|cosine| of two {what}", extend="max")
    return sheet.figure


def _mean(gram: NDArray[np.float64]) -> float:
    """Of the absolute cosines off the diagonal."""
    off = ~np.eye(len(gram), dtype=bool)
    return float(np.abs(gram[off]).mean()) if off.any() else 0.0
