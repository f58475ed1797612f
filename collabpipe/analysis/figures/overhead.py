"""Accuracy against the time and the memory of a training step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from collabpipe.analysis.figures.material import CELL, Material, shown_cell
from collabpipe.analysis.figures.style import (
    BAR,
    GREY,
    MOST_PANELS,
    SMALL,
    Sheet,
    fitted,
    height_of,
    message,
    width_of,
    wrapped,
)

WIDTH = 2.8


def draw(material: Material) -> Figure:
    """A panel per cell of the data set whose overhead was measured."""
    return draw_overhead(material.accuracies, material.costs)


def draw_overhead(accuracies: pd.DataFrame, costs: pd.DataFrame | None) -> Figure:
    """From one row per cell and method with the mean accuracy (%), and the overhead table."""
    if costs is None:
        return message("The overhead of this study's methods is not measured yet.")
    table = accuracies.merge(costs, on=["dataset", "network", "method"])
    table = table.dropna(subset=["mean", "step_seconds_ratio", "peak_bytes_ratio"])
    groups = list(table.groupby(CELL, sort=False))[:MOST_PANELS]
    if not groups:
        return message("No method of this study has both an accuracy and a measured overhead.")
    table = table.assign(shown=list(map(_shown, table["method"], table["peak_bytes_ratio"])))
    names = table["shown"].tolist()
    pitch = height_of(names, SMALL) + 0.03
    height = max(2.4, pitch * max(len(group) for _, group in groups))
    titles = [wrapped(shown_cell(cell), WIDTH) for cell, _ in groups]  # type: ignore[arg-type]
    columns = min(len(groups), 2)
    right = width_of(names, SMALL) + 0.55
    sheet = Sheet(-(-len(groups) // columns), columns, WIDTH, height, titles=titles, heads={0: BAR}, right=right)
    memory = Normalize(1.0, max(float(table["peak_bytes_ratio"].max()), 1.1))
    for at, ((_, group), title) in enumerate(zip(groups, titles, strict=True)):
        _panel(sheet.axes(*divmod(at, columns), title), table.loc[group.index], memory, pitch / height)
    sheet.colour_bar(ScalarMappable(memory, "cividis"), "peak memory / baseline's")
    return sheet.figure


def _shown(method: str, memory: float) -> str:
    return wrapped(f"{method} {memory:.2f}", 2.4, SMALL)


def spread(wanted: list[float], apart: float) -> list[float]:
    """Places from 0 to 1 that are at least `apart`, each as near to its wanted place as those before allow."""
    order = np.argsort(wanted, kind="stable")
    places = np.asarray(wanted, dtype=float)[order]
    places = np.maximum.accumulate(places - apart * np.arange(len(places))) + apart * np.arange(len(places))
    # What was pushed over the top moves down, and pushes in turn.
    ceiling = 1.0 - apart / 2 - apart * np.arange(len(places))[::-1]
    places = np.minimum(places, ceiling)
    found = np.empty(len(places))
    found[order] = places
    return found.tolist()


def _panel(axes: Axes, rows: pd.DataFrame, memory: Normalize, apart: float) -> None:
    time, accuracy = rows["step_seconds_ratio"], rows["mean"]
    axes.set_xlim(*fitted(float(min(time.min(), 1.0)), float(time.max()), least=0.2))
    axes.set_ylim(*fitted(float(accuracy.min()), float(accuracy.max())))
    look: dict[str, Any] = {"cmap": "cividis", "s": 30, "edgecolors": "black", "linewidths": 0.6}
    axes.scatter(time, accuracy, c=rows["peak_bytes_ratio"], norm=memory, **look)
    low, high = axes.get_ylim()
    names = spread([(value - low) / (high - low) for value in accuracy], apart)
    for x, y, name, label in zip(time, accuracy, names, rows["shown"], strict=True):
        # Names are at the right, where none hides another or a point.
        axes.annotate(
            label,
            (x, y),
            xytext=(1.08, name),
            textcoords="axes fraction",
            va="center",
            fontsize=SMALL,
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.4, "shrinkA": 1, "shrinkB": 3, "relpos": (0.0, 0.5)},
        )
    axes.set_xlabel("seconds per training step / baseline's")
    axes.set_ylabel("test accuracy (%)")
