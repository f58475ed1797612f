"""The paths of everything below the results folder: no other module knows them.

Wildcards in the Snakefile's patterns are entities: dataset, noise, network, method, seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from collabpipe.plan.figures import FIGURES
from collabpipe.plan.recipes import DataRecipe, LabelsRecipe, RunName

RECORD = "record.json"
TRAIN, TEST = "train.arrow", "test.arrow"
LABEL_INPUTS = (TRAIN, "annotations.parquet")
DATA_FILES = (TRAIN, TEST, LABEL_INPUTS[1], RECORD)
FETCHED = "fetched.json"
METRICS = "metrics.json"
OVERHEAD_RECORD = "overhead.json"
STATE_FILE = "state.safetensors"
"""Of a training that is under way, in its writer's folder."""
CHECKPOINT_FILES = ("last.safetensors", "best.safetensors", "history.parquet", RECORD)
EVALUATION_FILES = ("predictions.parquet", METRICS)
OVERHEAD_FILES = ("overhead.csv", "overhead.md", OVERHEAD_RECORD)
TABLE_FILES = (
    "main.csv",
    "main.md",
    "main.tex",
    "runs.parquet",
    "claims.csv",
    "claims.md",
    "claims.json",
    "noise.csv",
    "variance.csv",
    "variance.md",
    "summary.json",
    RECORD,
)
STAGES = ("datasets", "labels", "checkpoints", "evaluations", "tables")
"""The stages of dvc.yaml, which are targets of the Snakefile."""
FIGURE_FILES = (*(name for figure in FIGURES for name in figure.files), RECORD)


def files_in(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files `names` in `folder`."""
    return [folder / name for name in names]


@dataclass(frozen=True)
class Paths:
    """The layout of a results folder."""

    root: Path = Path("results")

    @property
    def recipes(self) -> Path:
        """Immutable recipes, named by their digests."""
        return self.root / "recipes"

    @property
    def studies(self) -> Path:
        """The studies that were planned here, one file per study."""
        return self.root / "studies"

    @property
    def store(self) -> Path:
        """Finished and half-finished trainings by key."""
        return self.root / "store"

    @property
    def selection(self) -> Path:
        """The choices of searched methods."""
        return self.root / "selection"

    @property
    def logs(self) -> Path:
        """What each job printed."""
        return self.root / "logs"

    @property
    def benchmarks(self) -> Path:
        """Time and memory of each job, by Snakemake."""
        return self.root / "benchmarks"

    @property
    def tables(self) -> Path:
        """The study's tables."""
        return self.root / "tables"

    @property
    def overhead(self) -> Path:
        """The study's overhead table: times and peaks that another run measures otherwise."""
        return self.root / "overhead"

    @property
    def figures(self) -> Path:
        """The study's figures."""
        return self.root / "figures"

    def raw(self, dataset: str) -> Path:
        """Verified source files of a data set, and the record of their sums."""
        return self.root / "raw" / dataset

    def dataset(self, dataset: str) -> Path:
        """The prepared data set: train.arrow, test.arrow, annotations.parquet, record.json."""
        return self.root / "datasets" / dataset

    def labels(self, recipe: LabelsRecipe) -> Path:
        """The label file of a replicate."""
        return self.label_file(recipe.data.dataset, recipe.noise_name, recipe.replicate)

    def label_file(self, dataset: str, noise: str, seed: int | str) -> Path:
        """The label file of a replicate, by its entities (or wildcards)."""
        return self.root / "labels" / dataset / noise / f"seed{seed}.parquet"

    def choice(self, dataset: str, noise: str, network: str, method: str) -> Path:
        """The choice of a searched method's hyper-parameters, by its entities (or wildcards)."""
        return self.selection / dataset / noise / network / f"{method}.json"

    def run(self, run: RunName) -> Path:
        """The folder of a run."""
        return self.run_folder(run.dataset, run.noise, run.network, run.method, run.seed)

    def run_folder(self, dataset: str, noise: str, network: str, method: str, seed: int | str) -> Path:
        """The folder of a run, by its entities (or wildcards)."""
        return self.root.joinpath("runs", dataset, noise, network, method, f"seed{seed}")

    def evaluation(self, run: RunName) -> Path:
        """The folder of a run's evaluation."""
        return self.evaluation_folder(run.dataset, run.noise, run.network, run.method, run.seed)

    def evaluation_folder(self, dataset: str, noise: str, network: str, method: str, seed: int | str) -> Path:
        """The folder of a run's evaluation, by its entities (or wildcards)."""
        return self.root.joinpath("evaluations", dataset, noise, network, method, f"seed{seed}")

    def provenance(self, artefact: Path) -> Path:
        """Where, when and by which versions a data set, label file, run, evaluation or the tables were made.

        Beside the artefacts, not in them: equal work gives equal artefacts.
        """
        part = artefact.relative_to(self.root)
        name = part.stem if part.suffix == ".parquet" else part.name
        return self.root / "provenance" / part.parent / f"{name}.json"

    def shown(self, path: Path) -> str:
        """A path as tables name it: the same wherever the results lie."""
        return str(Path("results") / path.relative_to(self.root))

    def data_record(self, recipe: DataRecipe) -> Path:
        """The record of a prepared data set."""
        return self.dataset(recipe.dataset) / DATA_FILES[-1]

    def label_files(self, recipe: LabelsRecipe) -> list[Path]:
        """The label file of a replicate, and its record."""
        labels = self.labels(recipe)
        return [labels, labels.with_suffix(".json")]

    def run_record(self, run: RunName) -> Path:
        """The record of a run's training."""
        return self.run(run) / RECORD

    def metrics(self, run: RunName) -> Path:
        """The record of a run's evaluation."""
        return self.evaluation(run) / METRICS

    def fetched(self, dataset: str) -> Path:
        """The record of a data set's source files."""
        return self.raw(dataset) / FETCHED
