"""Which methods memorise the flipped labels, and which see through them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from collabpipe.analysis.figures.material import CELL, Material, shown_cell
from collabpipe.analysis.figures.panels import Rows
from collabpipe.analysis.figures.style import COLOURS, MARKERS, MOST_PANELS, Sheet, message, wrapped

SHARES = (
    ("memorised", COLOURS[1], MARKERS[1], "predicts the wrong label given"),
    ("flipped_accuracy", COLOURS[2], MARKERS[0], "predicts the true class"),
)
WIDTH = 2.6


def draw(material: Material) -> Figure:
    """A panel per cell with flipped labels."""
    return draw_seen_through(material.histories)


def draw_seen_through(histories: pd.DataFrame) -> Figure:
    """From all histories with the names of their runs: shares at the last epoch from 0 to 1, drawn in percent."""
    columns = [column for column, *_ in SHARES]
    last = histories.groupby([*CELL, "method", "seed"], sort=False).tail(1).dropna(subset=columns)
    groups = list(last.groupby(CELL, sort=False))[:MOST_PANELS]
    if not groups:
        return message("No label of this study's training images is flipped.")
    rows = Rows(last["method"].unique().tolist())
    titles = [wrapped(shown_cell(cell), WIDTH) for cell, _ in groups]  # type: ignore[arg-type]
    across = min(len(groups), 3)
    height = rows.pitch * max(group["method"].nunique() for _, group in groups)
    sheet = Sheet(-(-len(groups) // across), across, WIDTH, height, left=rows.left, titles=titles, heads={0: 0.4})
    for at, ((_, group), title) in enumerate(zip(groups, titles, strict=True)):
        axes = sheet.axes(*divmod(at, across), title)
        _panel(axes, rows, 100.0 * group.groupby("method", sort=False)[columns].agg(["mean", "min", "max"]))
    sheet.legend(axes.get_legend_handles_labels())
    return sheet.figure


def _panel(axes: Axes, rows: Rows, shares: pd.DataFrame) -> None:
    for shift, (column, colour, marker, label) in zip((-0.15, 0.15), SHARES, strict=True):
        mean, low, high = (shares[column][part].to_numpy() for part in ("mean", "min", "max"))
        places = np.arange(len(shares)) + shift
        # Rounding may put the mean of equal values beside them.
        sides = np.maximum((mean - low, high - mean), 0.0)
        axes.errorbar(mean, places, xerr=sides, color=colour, marker=marker, ls="none", label=label)
    rows.label(axes, shares.index.tolist())
    axes.set_xlim(-3.0, 103.0)
    axes.set_xlabel("flipped training labels (%)")
