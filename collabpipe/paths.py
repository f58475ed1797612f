"""Where everything lies below the results folder: the one place that knows.

Wildcards in the Snakefile's patterns are entities: dataset, noise, network, method, seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from collabpipe.recipe import DataRecipe, LabelsRecipe, RunName

CHECKPOINT_FILES = ("last.safetensors", "best.safetensors", "history.parquet", "record.json")
EVALUATION_FILES = ("predictions.parquet", "metrics.json")
OVERHEAD_FILES = ("overhead.csv", "overhead.md", "overhead.json")
TABLE_FILES = (
    "main.csv",
    "main.md",
    "main.tex",
    "runs.parquet",
    "claims.csv",
    "claims.md",
    "claims.json",
    "noise.csv",
    "record.json",
)
FIGURE_FILES = ("differences.png", "curves.png", "transitions.png")


@dataclass(frozen=True)
class Paths:
    """The layout of a results folder."""

    root: Path = Path("results")

    @property
    def recipes(self) -> Path:
        """Immutable recipes, named by their digests."""
        return self.root / "recipes"

    @property
    def store(self) -> Path:
        """Finished and half-finished trainings by key."""
        return self.root / "store"

    @property
    def tables(self) -> Path:
        """The study's tables."""
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        """The study's figures."""
        return self.root / "figures"

    def raw(self, dataset: str) -> Path:
        """Verified source files of a data set, and the record of their sums."""
        return self.root / "datasets" / dataset / "raw"

    def dataset(self, dataset: str) -> Path:
        """The prepared data set: train.arrow, test.arrow, record.json."""
        return self.root / "datasets" / dataset

    def labels(self, recipe: LabelsRecipe) -> Path:
        """The label file of a replicate."""
        return self.label_file(recipe.data.dataset, recipe.noise_name, recipe.replicate)

    def label_file(self, dataset: str, noise: str, seed: int | str) -> Path:
        """The label file of a replicate, by its entities (or wildcards)."""
        return self.root / "labels" / dataset / noise / f"seed{seed}.parquet"

    def choice(self, dataset: str, noise: str, network: str, method: str) -> Path:
        """The choice of a searched method's hyper-parameters, by its entities (or wildcards)."""
        return self.root / "selection" / dataset / noise / network / f"{method}.json"

    def run(self, run: RunName) -> Path:
        """The folder of a run."""
        return self.run_folder(run.dataset, run.noise, run.network, run.method, run.seed)

    def run_folder(self, dataset: str, noise: str, network: str, method: str, seed: int | str) -> Path:
        """The folder of a run, by its entities (or wildcards)."""
        return self.root / "runs" / dataset / noise / network / method / f"seed{seed}"

    def data_record(self, recipe: DataRecipe) -> Path:
        """The record of a prepared data set."""
        return self.dataset(recipe.dataset) / "record.json"
