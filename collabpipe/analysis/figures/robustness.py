"""Accuracy against the severity of corruptions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from collabpipe.analysis.figures.material import CELL, Material, shown_cell
from collabpipe.analysis.figures.panels import Panel, Section, by_groups
from collabpipe.analysis.figures.style import Methods, fitted, message
from collabpipe.analysis.intervals import t_interval
from collabpipe.analysis.robustness import severity_table


def draw(material: Material) -> Figure:
    """A panel per cell whose runs are tested on corruptions."""
    return draw_robustness(severity_table(material.runs), material.methods)


def draw_robustness(table: pd.DataFrame, methods: Methods) -> Figure:
    """From one row per cell, method, severity (0: the data set's own test images) and seed: accuracy (%)."""
    if table.empty:
        return message("No data set of this study is tested on corruptions (test_on).")
    panels = []
    for cell, rows in table.groupby(CELL, sort=False):
        names = rows["method"].unique().tolist()
        panels.append(Panel(shown_cell(cell), names, partial(_panel, methods, rows)))  # type: ignore[arg-type]
    return by_groups([Section(panels, methods.only(set(table["method"])))])


def _panel(methods: Methods, table: pd.DataFrame, axes: Axes, names: Sequence[str]) -> None:
    ends = []
    for place, name in enumerate(table["method"].unique()):
        by_severity = table[table["method"] == name].groupby("severity")["accuracy"]
        found = [t_interval(values.to_numpy()) for _, values in by_severity]
        mean, low, high = (np.array([getattr(one, part) for one in found]) for part in ("mean", "low", "high"))
        ends += [*mean, *low, *high]
        if name in names:
            style, apart = methods.styles[name], 0.06 * (place % len(names) - (len(names) - 1) / 2)
            axes.errorbar(
                np.array(list(by_severity.groups), dtype=float) + apart,
                mean,
                yerr=np.nan_to_num((mean - low, high - mean)),
                color=style.colour,
                marker=style.marker,
                ls=style.line,
                elinewidth=0.9,
                capsize=1.5,
            )
    # One scale for all methods, in whichever column they are.
    axes.set_ylim(*fitted(float(np.nanmin(ends)), float(np.nanmax(ends))))
    severities = sorted(table["severity"].unique())
    axes.set_xlim(severities[0] - 0.4, severities[-1] + 0.4)
    axes.set_xticks(severities)
    axes.set_xlabel("severity (0: clean)")
    axes.set_ylabel("test accuracy (%)")
