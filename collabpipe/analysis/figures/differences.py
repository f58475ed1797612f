"""Forest plots of the differences to the baseline, the matched control and the rival."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from collabpipe.analysis.figures.material import CELL, Material, shown_cell
from collabpipe.analysis.figures.panels import Rows
from collabpipe.analysis.figures.style import COLOURS, GREY, MARKERS, MOST_PANELS, Sheet, fitted, message, wrapped

COMPARATORS = (
    ("diff_baseline", COLOURS[2], MARKERS[0], "to the baseline"),
    ("diff_control", COLOURS[1], MARKERS[1], "to the matched control"),
    ("diff_rival", COLOURS[3], MARKERS[3], "to the rival"),
)
WIDTH = 2.6


def draw(material: Material) -> Figure:
    """A panel per cell."""
    return draw_differences(material.main)


def draw_differences(table: pd.DataFrame) -> Figure:
    """From the main table: each method's differences with their 95% intervals, on one scale per noise."""
    drawn = [one for one in COMPARATORS if table[one[0]].notna().any()]
    table = table[table[[column for column, *_ in drawn]].notna().any(axis=1)] if drawn else table[:0]
    groups = list(table.groupby(CELL, sort=False))[:MOST_PANELS]
    if not groups:
        return message("No method of this study can be compared with another one.")
    ends = [f"{column}{end}" for column, *_ in drawn for end in ("", "_low", "_high")]
    limits: dict[str, tuple[float, float]] = {}
    for noise, rows in table.groupby("noise", sort=False):
        values = np.append(rows[ends].to_numpy(), 0.0)
        limits[str(noise)] = fitted(float(np.nanmin(values)), float(np.nanmax(values)))
    names = [[_named(row) for row in group.to_dict("records")] for _, group in groups]
    layout = Rows([name for of_cell in names for name in of_cell], least=0.11 * len(drawn) + 0.05)
    titles = [wrapped(shown_cell(cell), WIDTH) for cell, _ in groups]  # type: ignore[arg-type]
    columns = min(len(groups), 3)
    height = layout.pitch * max(map(len, names))
    # In one panel there is no room for the legend's parts side by side.
    heads = {0: 0.25 if columns > 1 else 0.55}
    sheet = Sheet(-(-len(groups) // columns), columns, WIDTH, height, left=layout.left, titles=titles, heads=heads)
    for at, ((cell, group), title) in enumerate(zip(groups, titles, strict=True)):
        axes = sheet.axes(*divmod(at, columns), title)
        for number, (column, colour, marker, label) in enumerate(drawn):
            shift = 0.24 * (number - (len(drawn) - 1) / 2)
            _marks(axes, group, column, shift, color=colour, marker=marker, label=label)
        axes.axvline(0.0, color=GREY, lw=0.8)
        layout.label(axes, names[at])
        axes.set_xlim(*limits[cell[1]])  # type: ignore[index]
        axes.set_xlabel("difference of test accuracy (points)")
    sheet.legend(axes.get_legend_handles_labels(), columns=3 if columns > 1 else 1)
    return sheet.figure


def _named(row: dict[Hashable, object]) -> str:
    diverged = row.get("diverged", 0)
    return f"{row['method']} ({diverged} of {row['n']} diverged)" if diverged else str(row["method"])


def _marks(axes: Axes, group: pd.DataFrame, column: str, shift: float, **look: Any) -> None:
    centre = group[column].to_numpy()
    sides = np.abs(group[[f"{column}_low", f"{column}_high"]].to_numpy().T - centre)
    # A difference without an interval (a single pair) is still a point.
    axes.errorbar(
        centre, np.arange(len(group)) + shift, xerr=np.nan_to_num(sides), ls="none", capsize=2, elinewidth=1.0, **look
    )
