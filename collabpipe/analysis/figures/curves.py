"""What happens during training: learning, memorisation, and what each loss term lowers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from collabpipe.analysis.figures.material import CELL, Material, shown_cell
from collabpipe.analysis.figures.panels import Panel, Section, by_groups
from collabpipe.analysis.figures.style import Methods, fitted, message

QUANTITIES = {
    "validation_accuracy": "accuracy on noisy\nvalidation labels (%)",
    "memorised": "flipped training\nlabels fitted (%)",
}
MOST_POINTS = 40
"""Of a curve: more cannot be told apart in a panel, and make large files."""
MOST_PANELS = 96
"""Of curves in one figure: those of 24 methods in 16 cells, half of them with noise."""


def draw(material: Material) -> Figure:
    """A panel per cell for each quantity that it has."""
    return draw_curves(material.histories, material.methods)


def draw_curves(histories: pd.DataFrame, methods: Methods) -> Figure:
    """From all histories with the names of their runs: shares from 0 to 1, drawn in percent."""
    sections = [curves(histories, column, label, methods, 100.0, 0.25) for column, label in QUANTITIES.items()]
    sections = [section for section in sections if section.panels]
    if not sections:
        return message("This study validates on no images and flips no labels, so there are no curves to draw.")
    return by_groups(sections, most=MOST_PANELS)


def curves(
    histories: pd.DataFrame, column: str, label: str, methods: Methods, scale: float = 1.0, skip: float = 0.0
) -> Section:
    """A panel for each cell in which `column` has values.

    The axis fits the epochs after the share `skip` of them: at first, curves change more than they differ later.
    """
    known = histories.dropna(subset=[column]) if column in histories else histories[:0]
    methods = methods.only(set(known["method"]))
    panels = []
    for cell, rows in known.groupby(CELL, sort=False):
        names = rows["method"].unique().tolist()
        title = shown_cell(cell)  # type: ignore[arg-type]
        bands = scale * rows.groupby(["method", "epoch"])[column].agg(["mean", "min", "max"])
        panels.append(Panel(title, names, partial(_panel, methods, rows, bands, column, label, scale, skip)))
    return Section(panels, methods)


def _panel(
    methods: Methods,
    rows: pd.DataFrame,
    bands: pd.DataFrame,
    column: str,
    label: str,
    scale: float,
    skip: float,
    axes: Axes,
    names: Sequence[str],
) -> None:
    for name in names:
        of_method, style = rows[rows["method"] == name], methods.styles[name]
        band = bands.loc[name]
        seen = band.iloc[np.unique(np.linspace(0, len(band) - 1, MOST_POINTS).astype(int))]
        every = max(len(seen) // 5, 1)
        axes.plot(
            seen.index, seen["mean"], color=style.colour, ls=style.line, marker=style.marker, markevery=every, ms=3.0
        )
        if of_method["seed"].nunique() > 1:
            axes.fill_between(seen.index, seen["min"], seen["max"], color=style.colour, alpha=0.12, lw=0)
        stops = of_method[of_method["diverged"]]
        axes.plot(stops["epoch"], scale * stops[column], color=style.colour, marker="X", ms=8.0, mec="black", ls="none")
    # One scale for all methods, in whichever column they are.
    late = scale * rows.loc[(rows["epoch"] > skip * rows["epoch"].max()) | rows["diverged"], column]
    axes.set_ylim(*fitted(float(late.min()), float(late.max()), least=0.02 * scale))
    axes.set_xlim(*fitted(float(rows["epoch"].min()), float(rows["epoch"].max())))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
