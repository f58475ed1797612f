"""The tables of the page: the columns that a reader looks for, and by what each cell is sorted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from collabpipe.analysis.figures.material import Material
from collabpipe.analysis.figures.wrong import wrong_under_all
from collabpipe.analysis.formats import with_interval, with_spread
from collabpipe.common.files import read_record
from collabpipe.plan.paths import MAIN_CSV, NOISE_CSV, ROBUSTNESS_CSV

ENTITIES = {"dataset": "data set", "noise": "noise", "network": "network", "method": "method"}
"""The columns by which a reader filters, and what the page calls them."""


@dataclass(frozen=True)
class Cell:
    """What a cell says, and what it is sorted by if that is not its text."""

    text: str
    order: float | None = None


@dataclass(frozen=True)
class ShownTable:
    """A table of the page; texts are not escaped."""

    name: str
    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]] = field(default_factory=list)
    file: str = ""
    """Where all its numbers are."""


def read_table(path: Path) -> pd.DataFrame:
    """A table of the study; names such as "null" are text."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def entities(row: Any, columns: Iterable[str]) -> list[Cell]:
    """The cells that name a row."""
    return [Cell(str(row[name])) for name in columns]


def number(value: Any, form: str = ".2f", plus_minus: float = math.nan) -> Cell:
    """A number, empty where there is none."""
    if pd.isna(value):
        return Cell("", float("-inf"))
    return Cell(with_spread(value, plus_minus, form), float(value))


def interval(value: Any, low: Any, high: Any, form: str = "+.2f") -> Cell:
    """An estimate with its interval."""
    if pd.isna(value):
        return Cell("", float("-inf"))
    return Cell(with_interval(value, low, high, form), float(value))


def study_tables(folder: Path, costs: pd.DataFrame | None, overhead: Path, material: Material) -> list[ShownTable]:
    """The tables in `folder`, what the methods cost, and what the predictions of the runs say."""
    noise = read_table(folder / NOISE_CSV)
    tables = [
        _methods(folder / MAIN_CSV, noise),
        _classes(material),
        _wrong(material),
        _noise(folder / NOISE_CSV, noise),
    ]
    further = further_sets_table(folder / ROBUSTNESS_CSV)
    if further.rows:
        tables.insert(1, further)
    if costs is not None:
        tables.append(_costs(costs, overhead))
    return tables


def _methods(path: Path, noise: pd.DataFrame) -> ShownTable:
    table = read_table(path)
    rates = noise.groupby(["dataset", "noise"])["true_rate"].mean()
    rows = [
        [
            *entities(row, ENTITIES),
            number(100.0 * rates.get((row["dataset"], row["noise"]), np.nan), ".1f"),
            number(row["n"], "d"),
            number(row["accuracy_mean"], plus_minus=row["accuracy_std"]),
            number(row["best_mean"]),
            *(
                interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
                for name in ("diff_baseline", "diff_control", "diff_rival")
            ),
            Cell("" if pd.isna(row["control"]) else str(row["control"])),
            Cell("" if pd.isna(row["rival"]) else str(row["rival"])),
            number(row["collapsed"], "d"),
            number(row["diverged"], "d"),
        ]
        for row in table.to_dict("records")
    ]
    names = ["wrong labels, %", "n", "accuracy, %", "best epoch, %", "− baseline", "− control", "− rival"]
    return ShownTable(
        "methods",
        "Methods, by noise rate",
        "Test accuracy at the last epoch, as a mean over n replicates ± its standard deviation, beside the true share "
        "of wrong labels; and at the epoch that was best on the noisy validation labels. Differences are percentage "
        "points, paired over replicates, with 95% t intervals: to the baseline; to the matched control, which has the "
        "same passes and dropout without the collaboration; and to the rival, the best method of one pass.",
        [*ENTITIES.values(), *names, "matched control", "rival", "collapsed", "diverged"],
        rows,
        str(path),
    )


def further_sets_table(path: Path) -> ShownTable:
    """The accuracies on further test sets; without such sets it has no rows."""
    table = read_table(path)
    severities = [name for name in map(str, table) if name.startswith("severity_")]
    rows = [
        [
            *entities(row, (*ENTITIES, "test_set")),
            number(row["n"], "d"),
            number(row["clean_mean"]),
            number(row["accuracy_mean"], plus_minus=row["accuracy_std"]),
            interval(row["diff_baseline"], row["diff_baseline_low"], row["diff_baseline_high"]),
            *(number(row[name]) for name in severities),
        ]
        for row in table.to_dict("records")
    ]
    names = ["test set", "n", "own test images, %", "accuracy, %", "− baseline"]
    return ShownTable(
        "robustness",
        "Further test sets",
        "Accuracy of the same trained networks on further test sets, beside that on the data set's own test images; "
        "means over n replicates at the last epoch ± their standard deviation. Differences to the baseline are "
        "percentage points, paired over replicates, with 95% t intervals. Of corruptions the accuracy is the mean over "
        "all of them, and over those of each severity; the file has each corruption's.",
        [*ENTITIES.values(), *names, *(f"{name.replace('_', ' ')}, %" for name in severities)],
        rows,
        str(path),
    )


def _noise(path: Path, noise: pd.DataFrame) -> ShownTable:
    rows = [
        [
            *entities(row, ("dataset", "noise")),
            number(row["seed"], "d"),
            number(row["images"], ",d"),
            number(row["validation"], ",d"),
            number(100.0 * row["rate_asked"], ".1f"),
            number(100.0 * row["true_rate"]),
            number(round(row["images"] * row["true_rate"]), ",d"),
        ]
        for row in noise.to_dict("records")
    ]
    return ShownTable(
        "noise",
        "Label noise that was drawn",
        "One row per label file: the rate that was asked for, and what was drawn.",
        ["data set", "noise", "seed", "images", "of these for validation", "asked, %", "wrong, %", "wrong labels"],
        rows,
        str(path),
    )


def _costs(costs: pd.DataFrame, path: Path) -> ShownTable:
    rows = [
        [
            *entities(row, ("network", "method")),
            number(row["params_train"], ",.0f"),
            number(row["params_inference"], ",.0f"),
            number(1000.0 * row["step_seconds"]),
            number(row["step_seconds_ratio"]),
            number(row["peak_bytes"] / 2**20, ",.1f"),
            number(row["peak_bytes_ratio"]),
            Cell(str(row["device"])),
        ]
        for row in costs.to_dict("records")
    ]
    columns = ["parameters, training", "parameters, use", "ms per step", "× baseline", "peak, MiB", "× baseline "]
    return ShownTable(
        "overhead",
        "What the methods cost",
        "Measured alone on the device that is named, with one batch of the study's size.",
        ["network", "method", *columns, "device"],
        rows,
        str(path),
    )


def _classes(material: Material) -> ShownTable:
    rows = []
    for cell, by_method in material.predicted.items():
        names = _class_names(material, cell[0])
        for method, predicted in by_method.items():
            for name, hits, images in zip(names, *predicted.classes.tolist(), strict=True):
                if images:
                    rows.append([*map(Cell, (*cell, method, name)), number(100.0 * hits / images)])
    return ShownTable(
        "classes",
        "Accuracy per class",
        "Test accuracy at the last epoch per true class, over up to five replicates of each method.",
        [*ENTITIES.values(), "class", "accuracy, %"],
        rows,
    )


def _wrong(material: Material) -> ShownTable:
    rows = []
    for cell, by_method in material.predicted.items():
        names, one = _class_names(material, cell[0]), next(iter(by_method.values()))
        votes = np.sum([each.votes for each in by_method.values()], axis=0)
        for place in wrong_under_all(by_method):
            true, said = one.label[place], votes[place].argmax()
            share = 100.0 * votes[place, said] / votes[place].sum()
            index = number(one.index[place], "d")
            rows.append([*map(Cell, cell), index, Cell(names[true]), Cell(names[said]), number(share, ".0f")])
    return ShownTable(
        "wrong",
        "Test images that all methods get wrong",
        "Images that no method classifies correctly in any of up to five replicates; the figure of the same title "
        "shows some of them. The share is of all predictions of the image.",
        ["data set", "noise", "network", "test image", "class", "predicted most often", "share, %"],
        rows,
    )


def _class_names(material: Material, dataset: str) -> list[str]:
    labels = next(run.recipe.labels for run in material.runs if run.name.dataset == dataset)
    return [str(name) for name in read_record(material.paths.label_files(labels)[1])["classes"]]
