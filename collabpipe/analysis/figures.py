"""Figures of a study: differences with their intervals, and what happens during training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from collabpipe.analysis.runs import read_runs
from collabpipe.analysis.tables import main_table, noise_table, write_record
from collabpipe.common.files import atomic_path
from collabpipe.common.whereabouts import whereabouts
from collabpipe.data.labels import transition_matrix
from collabpipe.plan.paths import FIGURE_FILES, Paths
from collabpipe.plan.recipes import RunName
from collabpipe.plan.study_recipes import StudyRecipe
from collabpipe.results.provenance import note

CELL = ["dataset", "noise", "network"]
DRAWN = ["epoch", "validation_accuracy", "memorised"]
COMPARATORS = (
    ("diff_baseline", "tab:blue", "to the baseline"),
    ("diff_control", "tab:orange", "to the matched control"),
    ("diff_rival", "tab:green", "to the rival"),
)
COLOURS = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]


def write_figures(study: StudyRecipe, paths: Paths, partial: bool = False) -> None:
    """Write the study's figures, and the record of what they show.

    With `partial` they are made from the runs that are finished, and lie in `partial` below the figures.

    Raises:
        CollabpipeError: a run does not fit its recipe; with `partial`, none does.
    """
    runs = read_runs(study, paths, partial)
    figures = paths.figures / "partial" if partial else paths.figures
    draw_transitions(noise_table(runs, paths)[1], figures / "transitions.png")
    draw_differences(main_table(study, runs, paths), figures / "differences.png")
    draw_curves([(run.name, paths.run(run.name) / "history.parquet") for run in runs], figures / "curves.png")
    write_record(figures, FIGURE_FILES, study, runs)
    note(paths, figures, whereabouts("cpu"))


@contextmanager
def _own_style() -> Iterator[None]:
    """Draw with matplotlib's defaults, whatever a personal matplotlibrc says: LaTeX need not be installed here."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        # Without the software's version in it, equal tables give equal files.
        figure.savefig(temporary, format="png", backend="agg", dpi=150, metadata={"Software": None})


def _panels(cells: int, height: float, of_each: int = 1) -> tuple[Figure, list[tuple[Axes, ...]]]:
    """A figure with `of_each` panels per cell, one below the other, and at most four cells side by side."""
    columns = min(cells, 4)
    rows = -(-cells // columns)
    figure = Figure(figsize=(5.5 * columns, height * rows), layout="constrained")
    grid = figure.subplots(of_each * rows, columns, squeeze=False)
    places = [
        tuple(grid[of_each * row + part][column] for part in range(of_each))
        for row in range(rows)
        for column in range(columns)
    ]
    for spare in places[cells:]:
        for axes in spare:
            axes.set_axis_off()
    return figure, places[:cells]


@_own_style()
def draw_differences(table: pd.DataFrame, path: Path) -> None:
    """A panel per cell: each method's difference to baseline, matched control and rival, with 95% intervals."""
    groups = list(table.groupby(CELL, sort=False))
    drawn = [one for one in COMPARATORS if table[one[0]].notna().any() or one[0] != "diff_rival"]
    height = 1.2 + 0.34 * max(len(group) for _, group in groups)
    figure, panels = _panels(len(groups), height)
    for (axes,), (cell, group) in zip(panels, groups, strict=True):
        rows = np.arange(len(group))
        for number, (column, colour, label) in enumerate(drawn):
            shift = 0.24 * (number - (len(drawn) - 1) / 2)
            centre = group[column].to_numpy()
            sides = np.abs(group[[f"{column}_low", f"{column}_high"]].to_numpy().T - centre)
            # A difference without an interval (a single pair) is still a point.
            axes.errorbar(
                centre, rows + shift, xerr=np.nan_to_num(sides), fmt="o", ms=4, capsize=2, color=colour, label=label
            )
        axes.axvline(0.0, color="grey", lw=0.8)
        axes.set_yticks(rows, group["method"])
        axes.invert_yaxis()
        axes.set_title(", ".join(str(part) for part in cell), fontsize=10)
        axes.set_xlabel("difference of test accuracy (points)")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    _save(figure, path)


@_own_style()
def draw_curves(runs: Sequence[tuple[RunName, Path]], path: Path) -> None:
    """Means over replicates by epoch, one column per cell: validation accuracy, share of flipped labels fitted."""
    groups = list(_histories(runs).groupby(CELL, sort=False))
    figure, panels = _panels(len(groups), 6.5, of_each=2)
    for (upper, lower), (cell, group) in zip(panels, groups, strict=True):
        upper.set_title(", ".join(str(part) for part in cell), fontsize=10)
        _curves(upper, group, "validation_accuracy", "accuracy on noisy validation labels (%)")
        _curves(lower, group, "memorised", "flipped training labels fitted (%)")
    handles, labels = upper.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    _save(figure, path)


def _histories(runs: Sequence[tuple[RunName, Path]]) -> pd.DataFrame:
    """The drawn columns of all histories with the names of their runs."""
    # Opened one by one, without a pool of threads for each: a fifth of the time.
    tables = [pq.ParquetFile(file).read(columns=DRAWN, use_threads=False) for _, file in runs]
    histories: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
    epochs = [table.num_rows for table in tables]
    names = {part: np.repeat([getattr(name, part) for name, _ in runs], epochs) for part in (*CELL, "method")}
    return histories.assign(**names)


def _curves(axes: Axes, group: pd.DataFrame, column: str, label: str) -> None:
    for position, (method, of_method) in enumerate(group.groupby("method", sort=False)):
        mean = 100.0 * of_method.dropna(subset=[column]).groupby("epoch")[column].mean()
        round_, colour = divmod(position, len(COLOURS))
        style = ("-", "--", ":", "-.")[round_ % 4]
        axes.plot(mean.index, mean, lw=1.4, ls=style, color=COLOURS[colour], label=str(method))
    if not group[column].notna().any():
        nothing = "no flipped labels" if column == "memorised" else "all images are trained on"
        axes.text(0.5, 0.5, nothing, ha="center", transform=axes.transAxes, color="grey")
    axes.set_ylim(0, 102)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(label)


@_own_style()
def draw_transitions(labels: Sequence[tuple[str, dict[str, Any]]], path: Path) -> None:
    """One heat map per label file, from its name and record: the share of each class that carries each label."""
    if not labels:
        figure = Figure(figsize=(4.0, 1.5))
        figure.text(0.5, 0.5, "no label noise in this study", ha="center", va="center", color="grey")
        _save(figure, path)
        return
    rows = math.ceil(len(labels) / 4)
    columns = math.ceil(len(labels) / rows)
    figure = Figure(figsize=(4.4 * columns + 1.0, 5.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, about) in zip(panels, labels, strict=False):
        _transitions(axes, name, about)
    for axes in panels[len(labels) :]:
        axes.set_visible(False)
    figure.colorbar(
        panels[0].images[0],
        ax=list(panels),
        label="share of the true class (%)",
        ticks=[0, 1, 5, 10, 20, 40, 60, 80, 100],
        aspect=25 * rows,
        shrink=0.9,
    )
    _save(figure, path)


def _transitions(axes: Axes, name: str, about: dict[str, Any]) -> None:
    shares = 100.0 * transition_matrix(about)
    classes = about["classes"]
    # The square root keeps shares of a few percent visible next to the diagonal.
    axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0.0, vmax=100.0))
    axes.set_title(
        f"{name}\ntrue rate {100.0 * about['true_rate']:.1f}%, n = {about['images']:,}", fontsize=10, parse_math=False
    )
    axes.set_xlabel("label given")
    axes.set_ylabel("true class")
    if len(classes) <= 20:
        upright = max(map(len, classes)) <= 2
        axes.set_xticks(range(len(classes)), classes, rotation=0 if upright else 90, fontsize=8, parse_math=False)
        axes.set_yticks(range(len(classes)), classes, fontsize=8, parse_math=False)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if len(classes) <= 10:
        for (row, column), share in np.ndenumerate(shares):
            if share > 0.0:
                colour = "white" if share > 30.0 else "black"
                axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color=colour)
