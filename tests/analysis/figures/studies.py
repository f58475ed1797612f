"""Made-up tables of studies that are hard to draw, and what makes a drawing readable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from collabpipe.analysis.figures.material import CELL, Cell, Predicted, tally
from collabpipe.analysis.figures.style import Methods, own_style

LONG = ["baseline", *(f"{word}_{'x' * 60}_{word}.variant-{word}"[:80].ljust(80, "y") for word in ("one", "two"))]
ODD = ["baseline", "a$b$c", "_under_", "<script>&amp;", "$x_1", r"\alpha%"]


@dataclass(frozen=True)
class Made:
    """A study: its cells, methods and replicates, those cells' methods that are missing, and those that diverged."""

    cells: Sequence[Cell]
    names: Sequence[str]
    seeds: int = 3
    missing: Sequence[tuple[Cell, str]] = ()
    diverged: Sequence[tuple[Cell, str]] = ()

    @property
    def methods(self) -> Methods:
        return Methods(self.names, "baseline" if "baseline" in self.names else None, {"m1": "m9"})

    @property
    def rows(self) -> list[tuple[Cell, str]]:
        return [(c, m) for c in self.cells for m in self.names if (c, m) not in self.missing]

    @staticmethod
    def rate(cell: Cell) -> float:
        return 0.0 if cell[1] == "none" else float(cell[1].rpartition("-")[2]) * 100.0

    def accuracies(self) -> pd.DataFrame:
        table = []
        for number, (cell, method) in enumerate(self.rows):
            mean = 95.0 - self.rate(cell) / 2 + 0.37 * (number % 11)
            half = 0.5 if self.seeds > 1 else np.nan
            names = dict(zip(CELL, cell, strict=True)) | {"method": method}
            about = {"kind": cell[1].rpartition("-")[0] or "none", "rate": self.rate(cell)}
            table.append(names | about | {"mean": mean, "low": mean - half, "high": mean + half})
        return pd.DataFrame(table)

    def main(self) -> pd.DataFrame:
        table = []
        for number, (cell, method) in enumerate(self.rows):
            row = dict(zip(CELL, cell, strict=True)) | {"method": method, "n": self.seeds}
            row["diverged"] = 1 if (cell, method) in self.diverged else 0
            for at, column in enumerate(("diff_baseline", "diff_control", "diff_rival")):
                known = method != "baseline" and (at < 2 or number % 2)
                centre = (number % 7 - 3.0) * (1.0 + self.rate(cell)) if known else np.nan
                half = 0.8 if self.seeds > 1 else np.nan
                row |= {column: centre, f"{column}_low": centre - half, f"{column}_high": centre + half}
            table.append(row)
        return pd.DataFrame(table)

    def histories(self, epochs: int = 8) -> pd.DataFrame:
        table = []
        for number, (cell, method) in enumerate(self.rows):
            for seed in range(self.seeds):
                stops = (cell, method) in self.diverged and seed == 0
                for epoch in range(1, (3 if stops else epochs) + 1):
                    share = 1.0 - 0.8 / epoch
                    flips = self.rate(cell) > 0.0
                    table.append(
                        dict(zip(CELL, cell, strict=True))
                        | {
                            "method": method,
                            "seed": seed,
                            "epoch": epoch,
                            "validation_accuracy": 0.9 * share + 0.003 * (number % 9) + 0.002 * seed,
                            "memorised": share * (number % 5) / 5 if flips else np.nan,
                            "flipped_accuracy": (1 - share) * (number % 5) / 5 if flips else np.nan,
                            "kernel": 1.0 / epoch + 0.01 * seed if method != "baseline" else np.nan,
                            "label": 1.0,
                            "loss": 1.0,
                            "diverged": stops and epoch == 3,
                        }
                    )
        return pd.DataFrame(table)

    def costs(self) -> pd.DataFrame:
        pairs = dict.fromkeys((cell[2], method) for cell, method in self.rows)
        return pd.DataFrame(
            [
                {
                    "dataset": self.cells[0][0],
                    "network": network,
                    "method": method,
                    "step_seconds_ratio": 1.0 + 0.1 * (number % 8),
                    "peak_bytes_ratio": 1.0 + 0.2 * (number % 5),
                }
                for number, (network, method) in enumerate(pairs)
            ]
        )

    def predicted(self, classes: int = 10, images: int = 200) -> dict[Cell, dict[str, Predicted]]:
        found: dict[Cell, dict[str, Predicted]] = {}
        generator = np.random.default_rng(0)
        for cell, method in self.rows:
            if (cell, method) not in self.diverged or self.seeds > 1:
                found.setdefault(cell, {})[method] = tally([predictions(generator, classes, images)])
        return found


def predictions(generator: np.random.Generator, classes: int, images: int) -> pa.Table:
    """Predictions as an evaluation writes them; images 0 to 4 are wrong."""
    label = np.arange(images) % classes
    logits = generator.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), label] += 2.0
    logits[np.arange(5), label[:5]] = -9.0
    rows = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), classes)
    return pa.table({"index": np.arange(images), "label": label, "prediction": logits.argmax(1), "logits": rows})


def cells(datasets: int, noises: Sequence[str], networks: Sequence[str] = ("resnet8",)) -> list[Cell]:
    return [(f"data{d}", noise, network) for d in range(datasets) for noise in noises for network in networks]


FEW = cells(1, ("none", "symmetric-0.5"))
SOME = [f"m{number}" for number in range(4)]
STUDIES = {
    "one run": Made(FEW[:1], ["baseline"], seeds=1),
    "one pair": Made(FEW[1:], ["baseline", "m1"], seeds=1),
    "no baseline": Made(FEW, ["m1", "m2"]),
    "missing cells": Made(FEW, ["baseline", *SOME], missing=[(FEW[0], "m1"), (FEW[1], "baseline"), (FEW[1], "m2")]),
    "diverged runs": Made(FEW, ["baseline", *SOME], diverged=[(FEW[0], "m1"), (FEW[1], "m2")]),
    "long names": Made([("d" * 80, "symmetric-0.5", "n" * 80), ("d" * 80, "none", "n" * 80)], LONG),
    "odd names": Made([("<b>$1_2$", "symmetric-0.5", "$n$"), ("<b>$1_2$", "none", "$n$")], ODD),
}
LARGE = {
    "40 methods, 20 cells": Made(
        cells(4, ("none", "symmetric-0.2", "symmetric-0.4", "symmetric-0.8", "pair-0.4")),
        ["baseline", *(f"method_{number}" for number in range(39))],
    ),
}


def drawn(draw: Callable[..., Figure], *arguments: object) -> Figure:
    """A figure in the style of all figures."""
    with own_style():
        figure = draw(*arguments)
        figure.draw_without_rendering()
        readable(figure)
    return figure


def panels(figure: Figure) -> list[Any]:
    """The axes with a title: those that are no bar of colours. Matplotlib's types leave open what a line holds."""
    return [axes for axes in figure.axes if axes.get_title(loc="left")]


def texts(figure: Figure) -> list[Text]:
    """Everything that can be read."""
    ticks = [label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _ticks(axes, axis)]
    axes_of = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    drop = {label for axis in axes_of for label in axis.get_ticklabels(which="both")}
    others = [one for one in figure.findobj(Text) if one not in drop]
    return [one for one in (*others, *ticks) if one.get_text() and one.get_visible() and isinstance(one, Text)]


def _ticks(axes: Axes, axis: object) -> list[Text]:
    """The labels of ticks within the limits: the others are not drawn."""
    if not axes.axison:
        return []
    low, high = sorted(axis.get_view_interval())  # type: ignore[attr-defined]
    found = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)  # type: ignore[attr-defined]
    return [label for place, label in found if low <= place <= high]


def readable(figure: Figure) -> None:
    """Nothing is cut off, no text covers another, and no panel is empty."""
    width, height = figure.bbox.width, figure.bbox.height
    shown = texts(figure)
    # Of an annotation without its arrow.
    boxes = np.array([Text.get_window_extent(one).extents for one in shown])
    names = [one.get_text() for one in shown]
    outside = (boxes[:, :2] < -1).any(1) | (boxes[:, 2] > width + 1) | (boxes[:, 3] > height + 1)
    assert not outside.any(), f"cut off: {[name for name, cut in zip(names, outside, strict=True) if cut][:5]}"
    low, high = boxes[:, :2] + 0.75, boxes[:, 2:] - 0.75
    over = (low[:, None] < high[None]).all(-1) & (low[None] < high[:, None]).all(-1)
    pairs = np.argwhere(np.triu(over, 1))
    assert not len(pairs), f"on each other: {[(names[a], names[b]) for a, b in pairs[:5]]}"
    for axes in figure.axes:
        empty = axes.axison and not (axes.lines or axes.collections or axes.images)
        assert not empty, f"{axes.get_title(loc='left')}: is empty"
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()


def inside(axes: Axes, column: int = 1) -> bool:
    """Whether all points of markers lie within the axis's limits."""
    low, high = sorted(axes.get_ylim() if column else axes.get_xlim())
    points = np.concatenate([np.asarray(line.get_xydata())[:, column] for line in axes.lines])
    return bool(((points >= low) & (points <= high)).all())
