"""The paths of everything below the results folder: no other module knows them.

Each study has a folder of its own. Studies share what is named by content (recipes, store) and the data sets.
Wildcards in the Snakefile's patterns are entities: dataset, noise, network, method, seed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from collabpipe.common.files import json_digest
from collabpipe.plan.figures import FIGURES
from collabpipe.plan.recipes import DataRecipe, LabelsRecipe, Recipe, RunName

RECORD = "record.json"

FETCHED = "fetched.json"
TRAIN, TEST, ANNOTATIONS = "train.arrow", "test.arrow", "annotations.parquet"
LABEL_INPUTS = (TRAIN, ANNOTATIONS)
DATA_FILES = (TRAIN, TEST, ANNOTATIONS, RECORD)

STATE_FILE = "state.safetensors"
"""Of a training that is under way, in its writer's folder."""
PROGRESS_FILE = "progress.json"
"""The same: how far it is."""
RESULT_FILE, ASKED_FILE = "result.json", "asked.json"
"""Of a result in the store: what it is, written last; of a training, the recipe that it was first made for."""

HISTORY = "history.parquet"
WEIGHTS = {"last": "last.safetensors", "best": "best.safetensors"}
TRAINING_FILES = (*WEIGHTS.values(), HISTORY)
CHECKPOINT_FILES = (*TRAINING_FILES, RECORD)

PREDICTIONS, METRICS = "predictions.parquet", "metrics.json"
EVALUATION_FILES = (PREDICTIONS, METRICS)

OVERHEAD_CSV, OVERHEAD_MD, OVERHEAD_RECORD = "overhead.csv", "overhead.md", "overhead.json"
OVERHEAD_FILES = (OVERHEAD_CSV, OVERHEAD_MD, OVERHEAD_RECORD)

MAIN_CSV, MAIN_MD, MAIN_TEX = "main.csv", "main.md", "main.tex"
RUNS_TABLE = "runs.parquet"
CLAIMS_CSV, CLAIMS_MD, CLAIMS_JSON = "claims.csv", "claims.md", "claims.json"
NOISE_CSV = "noise.csv"
ROBUSTNESS_CSV, ROBUSTNESS_MD = "robustness.csv", "robustness.md"
VARIANCE_CSV, VARIANCE_MD = "variance.csv", "variance.md"
SUMMARY_JSON = "summary.json"
TABLE_FILES = (
    *(MAIN_CSV, MAIN_MD, MAIN_TEX, RUNS_TABLE, CLAIMS_CSV, CLAIMS_MD, CLAIMS_JSON, NOISE_CSV),
    *(ROBUSTNESS_CSV, ROBUSTNESS_MD, VARIANCE_CSV, VARIANCE_MD, SUMMARY_JSON, RECORD),
)

FIGURE_FILES = (*(name for figure in FIGURES for name in figure.files), RECORD)
REPORT_PAGE, REPORT_RECORD = "report.html", "report.json"
REPORT_FILES = (REPORT_PAGE, REPORT_RECORD)

STAGES = ("datasets", "labels", "checkpoints", "evaluations", "tables", "report")
"""The stages of dvc.yaml, which are targets of the Snakefile."""
SHARED_JOBS = ("fetch_dataset", "prepare_dataset")
"""What makes the data sets: these jobs belong to no study."""
STUDY_JOBS = (
    "noisy_labels",
    "train",
    "choose",
    "evaluate",
    "test",
    "measure_overhead",
    "assemble_tables",
    "draw_figures",
    "write_report",
)
STUDY_FOLDERS = ("labels", "runs", "selection", "evaluations", "overhead", "tables", "figures")
PROVENANCE, LOGS, BENCHMARKS = "provenance", "logs", "benchmarks"
SHARED_FOLDERS = ("datasets", "raw", "recipes", "store", "studies", PROVENANCE, LOGS, BENCHMARKS)
PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
SUFFIXED = re.compile(r".*-[0-9a-f]{8}")
RECORDS = {
    "runs": ("runs/*/*/*/*/*", RECORD),
    "evaluations": ("evaluations/*/*/*/*/*", METRICS),
    "further evaluations": ("evaluations/*/*/*/*/*/on/*", METRICS),
    "labels": ("labels/*/*/*.json", ""),
    "selection": ("selection/*/*/*/*.json", ""),
}
"""What a study has many of: where each is found in its folder, and its record in that place."""


def files_in(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files `names` in `folder`."""
    return [folder / name for name in names]


def study_folder(name: str) -> str:
    """The name of a study's folder: a plain name itself, any other one made plain, with a digest of the name behind it.

    No two names share a folder, not even on a file system that does not tell upper from lower case.
    """
    taken = (*SHARED_FOLDERS, *STUDY_FOLDERS)  # without studies' folders, the latter lay where these lie
    if PLAIN.fullmatch(name) and not SUFFIXED.fullmatch(name) and name not in taken:
        return name
    readable = re.sub(r"[^a-z0-9_]+", "-", name.lower())[:40].strip("-") or "study"
    return f"{readable}-{json_digest(name)[:8]}"


@dataclass(frozen=True)
class Paths:
    """The layout of a results folder, for one of its studies."""

    root: Path = Path("results")
    study: str | None = None
    """The name of the study's folder (`study_folder`); not needed for what all studies share."""

    @property
    def folder(self) -> Path:
        """The folder of the study."""
        if self.study is None:
            raise ValueError("these paths are of no study")
        return self.root / self.study

    def of_studies(self) -> list[Paths]:
        """The paths of each study that has a folder here."""
        folders = sorted({folder.parent for name in STUDY_FOLDERS for folder in self.root.glob(f"*/{name}")})
        taken = (*SHARED_FOLDERS, *STUDY_FOLDERS)
        return [Paths(self.root, folder.name) for folder in folders if folder.name not in taken]

    def records(self, kind: str) -> list[Path]:
        """The record of everything of a kind in the study's folder; what was not finished may lack it."""
        pattern, name = RECORDS[kind]
        return [found / name for found in sorted(self.folder.glob(pattern))]

    def around(self, kind: str, record: Path) -> list[Path]:
        """All that belongs to the artefact of a kind with a record in the study's folder."""
        if kind == "selection":
            return [record]
        if kind == "labels":
            labels = record.with_suffix(".parquet")
            return [record, labels, self.provenance(labels)]
        return [record.parent, self.provenance(record.parent)]

    def stored(self) -> list[Path]:
        """The folders of results in the store."""
        return sorted(self.store.glob("*/*"))

    @property
    def options(self) -> list[str]:
        """The options of a command that works in these folders."""
        named = [] if self.study is None else ["--study", self.study]
        return ["--results", str(self.root), *named]

    def command(self, verb: str, recipe: Recipe | str) -> str:
        """The command that makes what a recipe (or that with a digest) asks for, as it is typed."""
        digest = recipe if isinstance(recipe, str) else recipe.digest
        return self._typed(verb, str(self.recipe(digest)))

    @property
    def status(self) -> str:
        """The command that shows how far the study is, as it is typed."""
        return self._typed("status")

    def _typed(self, verb: str, *arguments: str) -> str:
        options = self.options[2:] if self.root == Paths.root else self.options
        return shlex.join(["collabpipe", verb, *options, *arguments])

    @property
    def recipes(self) -> Path:
        """Immutable recipes, named by their digests."""
        return self.root / "recipes"

    def recipe(self, digest: str) -> Path:
        """The file of a recipe."""
        return self.recipes / f"{digest}.json"

    @property
    def studies(self) -> Path:
        """The records of the studies that were planned here."""
        return self.root / "studies"

    @property
    def study_record(self) -> Path:
        """The record of the study."""
        return self.studies / f"{self.study}.json"

    @property
    def store(self) -> Path:
        """Finished and half-finished trainings by key."""
        return self.root / "store"

    @property
    def selection(self) -> Path:
        """The choices of searched methods."""
        return self.folder / "selection"

    def log(self, job: str) -> Path:
        """What a job printed."""
        return self._of_job(job) / LOGS / f"{job}.log"

    def benchmark(self, job: str) -> Path:
        """Time and memory of a job, by Snakemake."""
        return self._of_job(job) / BENCHMARKS / f"{job}.tsv"

    def _of_job(self, job: str) -> Path:
        return self.root if job.partition("/")[0] in SHARED_JOBS else self.folder

    @property
    def tables(self) -> Path:
        """The study's tables."""
        return self.folder / "tables"

    @property
    def overhead(self) -> Path:
        """The study's overhead table: times and peaks that another run measures otherwise."""
        return self.folder / "overhead"

    @property
    def figures(self) -> Path:
        """The study's figures."""
        return self.folder / "figures"

    @staticmethod
    def partial(folder: Path) -> Path:
        """The folder, below the tables or the figures, for those that show the finished runs alone."""
        return folder / "partial"

    @property
    def report(self) -> Path:
        """The study's page."""
        return self.folder / REPORT_PAGE

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
        return self.folder / "labels" / dataset / noise / f"seed{seed}.parquet"

    def choice(self, dataset: str, noise: str, network: str, method: str) -> Path:
        """The choice of a searched method's hyper-parameters, by its entities (or wildcards)."""
        return self.selection / dataset / noise / network / f"{method}.json"

    def run(self, run: RunName | str) -> Path:
        """The folder of a run, by its name or by a pattern of names."""
        return self.folder / "runs" / str(run)

    def evaluation(self, run: RunName | str) -> Path:
        """The folder of a run's evaluation."""
        return self.folder / "evaluations" / str(run)

    def test(self, run: RunName | str, test_set: str) -> Path:
        """The folder of a run's evaluation on a further test set: in that of its evaluation."""
        return self.evaluation(run) / "on" / test_set

    def provenance(self, artefact: Path) -> Path:
        """Where, when and by which versions a data set, label file, run, evaluation or the tables were made.

        Beside the artefacts, not in them: equal work gives equal artefacts.
        """
        base = self.root if artefact.is_relative_to(self.root / "datasets") else self.folder
        part = artefact.relative_to(base)
        name = part.stem if part.suffix == ".parquet" else part.name
        return base / PROVENANCE / part.parent / f"{name}.json"

    def shown(self, path: Path) -> str:
        """A path as tables name it: the same wherever the results lie."""
        return str(Path("results") / path.relative_to(self.root))

    def data_record(self, recipe: DataRecipe) -> Path:
        """The record of a prepared data set."""
        return self.dataset(recipe.dataset) / RECORD

    def label_files(self, recipe: LabelsRecipe) -> list[Path]:
        """The label file of a replicate, and its record."""
        labels = self.labels(recipe)
        return [labels, labels.with_suffix(".json")]

    def run_record(self, run: RunName) -> Path:
        """The record of a run's training."""
        return self.run(run) / RECORD

    def history(self, run: RunName) -> Path:
        """What a run's training measured in each epoch."""
        return self.run(run) / HISTORY

    def predictions(self, run: RunName) -> Path:
        """What a run predicts on the test set."""
        return self.evaluation(run) / PREDICTIONS

    def metrics(self, run: RunName) -> Path:
        """The record of a run's evaluation."""
        return self.evaluation(run) / METRICS

    def fetched(self, dataset: str) -> Path:
        """The record of a data set's source files."""
        return self.raw(dataset) / FETCHED
