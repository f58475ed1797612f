"""What figures are drawn from: tables, histories and predictions of a study's runs, and its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from collabpipe.analysis.figures.style import Methods
from collabpipe.analysis.intervals import t_interval
from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.analysis.tables import main_table, noise_table, read_costs
from collabpipe.common.files import read_columns
from collabpipe.data.prepared import Images, open_images
from collabpipe.plan.paths import TEST, TRAIN, Paths
from collabpipe.plan.recipes import DataRecipe
from collabpipe.plan.record_types import LabelsRecord
from collabpipe.plan.study_recipes import StudyRecipe

CELL = ["dataset", "noise", "network"]
Cell = tuple[str, str, str]
REPLICATES = 5
"""So many replicates' predictions are read of each method in a cell: thousands of runs would take minutes."""
BINS = 10


def shown_cell(cell: Sequence[str]) -> str:
    """A cell as titles name it."""
    return ", ".join(cell)


@dataclass
class Predicted:
    """What the predictions of a method's replicates add up to.

    bins: (3, BINS) number of predictions, sum of confidences, number of hits; classes: (2, C) hits and test images by
    true class; wrong: (N,) whether all replicates are wrong; votes: (N, C) how often each class was predicted;
    index, label: (N,) of the test images.
    """

    bins: NDArray[np.float64]
    classes: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    votes: NDArray[np.int16]
    index: NDArray[np.int64]
    label: NDArray[np.int64]


def tally(tables: Sequence[pa.Table]) -> Predicted:
    """Add up the predictions of replicates, which have the same test images."""
    index, label = (tables[0].column(name).to_numpy() for name in ("index", "label"))
    logits = [table.column("logits").combine_chunks().flatten().to_numpy().reshape(len(label), -1) for table in tables]
    count = logits[0].shape[1]
    bins, hits = np.zeros((3, BINS)), np.zeros(len(label), dtype=np.int64)
    votes = np.zeros((len(label), count), dtype=np.int16)
    for table, scores in zip(tables, logits, strict=True):
        prediction = table.column("prediction").to_numpy()
        right = prediction == label
        # The largest softmax.
        confidence = 1.0 / np.exp(scores - scores.max(1, keepdims=True)).sum(1, dtype=np.float64)
        place = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
        for row, weights in enumerate((np.ones_like(confidence), confidence, right.astype(np.float64))):
            bins[row] += np.bincount(place, weights, BINS)
        hits += right
        votes[np.arange(len(label)), prediction] += 1
    by_class = np.array([np.bincount(label, hits, count), len(tables) * np.bincount(label, minlength=count)])
    return Predicted(bins, by_class.astype(np.int64), hits == 0, votes, index, label)


@dataclass(frozen=True)
class Material:
    """The evaluated runs of a study, and what figures read of them."""

    study: StudyRecipe
    runs: list[EvaluatedRun]
    paths: Paths

    @cached_property
    def methods(self) -> Methods:
        """The study's methods, in the order of the configuration."""
        names = list(dict.fromkeys(run.name.method for run in self.runs))
        controls = {method.split("/", 1)[1]: control for method, control in self.study.controls.items()}
        return Methods(names, self.study.baseline, controls)

    @cached_property
    def by_method(self) -> dict[Cell, dict[str, list[EvaluatedRun]]]:
        """The runs of each cell by method, in the order of the configuration."""
        cells: dict[Cell, dict[str, list[EvaluatedRun]]] = {}
        for run in self.runs:
            name = run.name
            of_cell = cells.setdefault((name.dataset, name.noise, name.network), {})
            of_cell.setdefault(name.method, []).append(run)
        return cells

    @cached_property
    def main(self) -> pd.DataFrame:
        """The main table."""
        return main_table(self.study, self.runs, self.paths)

    @cached_property
    def noise(self) -> tuple[pd.DataFrame, list[tuple[str, LabelsRecord]]]:
        """The noise table; the record of the first replicate of each noise, by its name."""
        return noise_table(self.runs, self.paths)

    @cached_property
    def costs(self) -> pd.DataFrame | None:
        """The overhead table, None before it is measured."""
        return read_costs(self.study, self.paths)

    @cached_property
    def accuracies(self) -> pd.DataFrame:
        """One row per cell and method: mean test accuracy in percent, its interval, kind and true rate of the noise."""
        rates = self.noise[0].groupby(["dataset", "noise"])["true_rate"].mean()
        rows = []
        for cell, methods in self.by_method.items():
            for method, runs in methods.items():
                found = t_interval(np.array([run.accuracy("last") for run in runs]))
                about = {"kind": runs[0].recipe.labels.noise.kind, "rate": 100.0 * float(rates[cell[:2]])}
                names = dict(zip(CELL, cell, strict=True)) | {"method": method}
                rows.append(names | about | {"mean": found.mean, "low": found.low, "high": found.high})
        return pd.DataFrame(rows)

    @cached_property
    def histories(self) -> pd.DataFrame:
        """All histories below each other with the names of their runs; `diverged` marks the last row of such a run."""
        files = [self.paths.history(run.name) for run in self.runs]
        # Opened one by one, without a pool of threads for each: a fifth of the time.
        tables = [read_columns(file) for file in files]
        histories: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        epochs = [table.num_rows for table in tables]
        parts = (*CELL, "method", "seed")
        names = {part: np.repeat([getattr(run.name, part) for run in self.runs], epochs) for part in parts}
        ends = np.zeros(len(histories), dtype=bool)
        stopped = np.array([not run.finished for run in self.runs]) & (np.array(epochs) > 0)
        ends[np.cumsum(epochs)[stopped] - 1] = True
        return histories.assign(**names, diverged=ends)

    @cached_property
    def predicted(self) -> dict[Cell, dict[str, Predicted]]:
        """What up to `REPLICATES` finished replicates of each method predict, by cell."""
        found: dict[Cell, dict[str, Predicted]] = {}
        for cell, methods in self.by_method.items():
            for method, runs in methods.items():
                finished = [run.name for run in runs if run.finished][:REPLICATES]
                files = [self.paths.predictions(name) for name in finished]
                if files:
                    tables = [read_columns(file) for file in files]
                    found.setdefault(cell, {})[method] = tally(tables)
        return found

    def data(self, dataset: str) -> DataRecipe:
        """The recipe of a data set."""
        return next(run.recipe.labels.data for run in self.runs if run.name.dataset == dataset)

    def images(self, dataset: str, split: str) -> Images | None:
        """The "train" or "test" images; None where a restore left them out."""
        if (dataset, split) not in self._opened:
            folder = self.paths.dataset(dataset)
            there = (folder / {"train": TRAIN, "test": TEST}[split]).exists()
            self._opened[dataset, split] = open_images(self.data(dataset), folder, split) if there else None
        return self._opened[dataset, split]

    @cached_property
    def _opened(self) -> dict[tuple[str, str], Images | None]:
        """Images are compared with their sums as they are opened, which takes a second for a large set."""
        return {}
