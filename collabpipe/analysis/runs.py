"""The evaluated runs of a study, as tables, claims and figures read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_record
from collabpipe.plan.paths import METRICS, Paths
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
    test_set: str = ""
    """The further test set that it is evaluated on; empty: its data set's own test images."""
    further: Mapping[str, EvaluatedRun] = field(default_factory=dict)
    """The run as it is evaluated on further test sets, by their names."""

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


def further_runs(runs: Sequence[EvaluatedRun]) -> list[EvaluatedRun]:
    """The runs as they are evaluated on further test sets, in the order of the study's recipe."""
    return [one for run in runs for one in run.further.values()]


def read_runs(study: StudyRecipe, paths: Paths, partial: bool = False) -> list[EvaluatedRun]:
    """The study's runs with their records; with `partial` those that are finished.

    Raises:
        CollabpipeError: a run is missing, of another recipe, or its metrics are of another training.
    """
    diverged = study.claims.diverged if study.claims else CHANCE
    further: dict[RunName, dict[str, str]] = {}
    for name, test_set, digest in study.tests:
        further.setdefault(name, {})[test_set] = digest
    runs = []
    for name, digest in study.runs:
        try:
            run = _read_run(name, digest, paths, diverged)
        except CollabpipeError:
            if not partial:
                raise
            continue
        found = {}
        for test_set, of_test in further.get(name, {}).items():
            try:
                found[test_set] = _read_further(run, test_set, of_test, paths, diverged)
            except CollabpipeError:
                if not partial:
                    raise
        runs.append(replace(run, further=found))
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
    counts_as = _counts_as(metrics, recipe, paths, diverged)
    return EvaluatedRun(recipe.decided(record), record, metrics, counts_as)


def _read_further(
    run: EvaluatedRun, test_set: str, digest: str, paths: Paths, diverged: float | Literal["chance"]
) -> EvaluatedRun:
    path = paths.test(run.name, test_set) / METRICS
    again = f"Evaluate the run there: {paths.command('test', digest)}"
    metrics: MetricsRecord = read_record(path, again)
    if metrics.get("recipe") != digest or metrics.get("inputs", {}).get("training") != run.record["digest"]:
        raise CollabpipeError(f"{path}: belongs to another training or test set. {again}")
    counts_as = _counts_as(metrics, run.recipe, paths, diverged)
    return replace(run, metrics=metrics, if_diverged=counts_as, test_set=test_set)


def _counts_as(metrics: MetricsRecord, recipe: TrainRecipe, paths: Paths, diverged: float | Literal["chance"]) -> float:
    """The accuracy, in percent, that the run counts as if it has diverged."""
    if diverged != CHANCE:
        return diverged
    about: LabelsRecord = read_record(paths.label_files(recipe.labels)[1])
    return float("nan") if metrics["status"] == "finished" else 100.0 / len(about["classes"])
