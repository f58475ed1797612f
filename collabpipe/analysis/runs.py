"""The evaluated runs of a study, as tables, claims and figures read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_record
from collabpipe.plan.paths import Paths
from collabpipe.plan.recipes import RunName, TrainRecipe, read_recipe
from collabpipe.plan.record_types import LabelsRecord, MetricsRecord, Scores, TrainingRecord
from collabpipe.plan.study_recipes import StudyRecipe
from collabpipe.results.records import training_record
from collabpipe.settings.claims import CHANCE


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with what its folder records."""

    recipe: TrainRecipe
    record: TrainingRecord
    metrics: MetricsRecord
    if_diverged: float
    """The test accuracy, in percent, that a diverged run counts as."""

    @property
    def name(self) -> RunName:
        """The run's entities."""
        return self.recipe.run

    @property
    def finished(self) -> bool:
        """False for a diverged run, which has no accuracy of its own."""
        return bool(self.metrics["status"] == "finished")

    @property
    def last(self) -> Scores:
        """The metrics of the last epoch; empty for a diverged run."""
        return self.metrics["last"] or {}

    def accuracy(self, epoch: str) -> float:
        """Test accuracy in percent at the 'last' or 'best' epoch; nan where no epoch was chosen."""
        if not self.finished:
            return self.if_diverged
        scores = self.metrics["last" if epoch == "last" else "best"]
        return 100.0 * scores["accuracy"] if scores else float("nan")


def read_runs(study: StudyRecipe, paths: Paths, partial: bool = False) -> list[EvaluatedRun]:
    """The study's runs with their records; with `partial` those that are finished.

    Raises:
        CollabpipeError: a run is missing, of another recipe, or its metrics are of another training.
    """
    runs = []
    for name, digest in study.runs:
        try:
            runs.append(_read_run(name, digest, paths, study.claims.diverged if study.claims else CHANCE))
        except CollabpipeError:
            if not partial:
                raise
    if not runs:
        raise CollabpipeError(
            f"{paths.folder}: no run of study {study.study} is evaluated yet. Run Snakemake on it first."
        )
    return runs


def _read_run(name: RunName, digest: str, paths: Paths, diverged: float | Literal["chance"]) -> EvaluatedRun:
    folder = paths.run(name)
    recipe = read_recipe(paths.recipe(digest), TrainRecipe)
    record = training_record(recipe, folder)
    path = paths.metrics(name)
    metrics: MetricsRecord = read_record(path, f"Evaluate the run: {paths.command('evaluate', recipe)}")
    if metrics.get("inputs", {}).get("training") != record["digest"]:
        raise CollabpipeError(
            f"{path}: belongs to another training than {paths.run_record(name)}. "
            f"Evaluate the run again: {paths.command('evaluate', recipe)}"
        )
    counts_as = diverged
    if counts_as == CHANCE:
        _, labels = paths.label_files(recipe.labels)
        finished = metrics["status"] == "finished"
        about: LabelsRecord = read_record(labels)
        counts_as = float("nan") if finished else 100.0 / len(about["classes"])
    return EvaluatedRun(recipe.decided(record), record, metrics, counts_as)
