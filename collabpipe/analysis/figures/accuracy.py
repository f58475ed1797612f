"""Accuracy against noise rate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from collabpipe.analysis.figures.material import Material
from collabpipe.analysis.figures.panels import Panel, Section, by_groups
from collabpipe.analysis.figures.style import Methods, fitted


def draw(material: Material) -> Figure:
    """A panel per data set, network and kind of noise."""
    return draw_accuracy(material.accuracies, material.methods)


def draw_accuracy(table: pd.DataFrame, methods: Methods) -> Figure:
    """From one row per cell and method: kind and rate (%) of the noise, mean accuracy (%) with low and high."""
    panels = []
    for (dataset, network), of_place in table.groupby(["dataset", "network"], sort=False):
        kinds = [kind for kind in of_place["kind"].unique() if kind != "none"] or ["none"]
        for kind in kinds:
            # Labels without noise are the rate zero of each kind.
            rows = of_place[of_place["kind"].isin([kind, "none"])].sort_values("rate", kind="stable")
            title = f"{dataset}, {network}" + ("" if kind == "none" else f", {kind} noise")
            panels.append(Panel(title, rows["method"].unique().tolist(), partial(_panel, methods, rows)))
    return by_groups([Section(panels, methods)])


def _panel(methods: Methods, table: pd.DataFrame, axes: Axes, names: Sequence[str]) -> None:
    rates = np.unique(table["rate"].round(1))
    # Side by side, so that intervals do not hide each other.
    apart = 0.012 * max(float(np.ptp(rates)), 10.0)
    for place, name in enumerate(names):
        rows, style = table[table["method"] == name], methods.styles[name]
        axes.errorbar(
            rows["rate"] + apart * (place - (len(names) - 1) / 2),
            rows["mean"],
            yerr=np.nan_to_num((rows["mean"] - rows["low"], rows["high"] - rows["mean"])),
            color=style.colour,
            marker=style.marker,
            ls=style.line,
            elinewidth=0.9,
            capsize=1.5,
        )
    # One scale for all methods, in whichever column they are.
    ends = table[["mean", "low", "high"]].to_numpy()
    axes.set_ylim(*fitted(float(np.nanmin(ends)), float(np.nanmax(ends))))
    axes.set_xlim(*fitted(float(rates[0]) - 4 * apart, float(rates[-1]) + 4 * apart, least=4.0))
    if len(rates) <= 6:
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xlabel("wrong labels (%)")
    axes.set_ylabel("test accuracy (%)")
