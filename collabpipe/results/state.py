"""Looks at what exists of what is asked for: by the digests that artefacts record, never by times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import is_sealed, json_digest, record_of
from collabpipe.data.own import Sums, known_sums, own_files, unchanged
from collabpipe.plan.paths import (
    CHECKPOINT_FILES,
    EVALUATION_FILES,
    FIGURE_FILES,
    LABEL_INPUTS,
    OVERHEAD_FILES,
    TABLE_FILES,
)
from collabpipe.plan.plan import ChoiceKey, LabelsKey, Plan
from collabpipe.plan.recipes import TrainRecipe, Undecided, evaluation_key


@dataclass(frozen=True)
class State:
    """What exists of a study, as it is asked for."""

    data: frozenset[str]
    labels: frozenset[LabelsKey]
    trained: frozenset[str]
    chosen: frozenset[ChoiceKey]
    evaluated: frozenset[str]
    overhead: bool
    tables: bool
    figures: bool
    records: dict[str, dict[str, Any]]
    """The record of each training that is of the run's recipe, even where its inputs are others by now."""
    metrics: dict[str, dict[str, Any]]
    """The same of each evaluation."""
    own: dict[str, Sums]
    """The sums of the user's own files that a prepared data set was made from and that lie in data_dir unchanged."""

    def complete(self, plan: Plan) -> bool:
        """Whether nothing is left to be done."""
        shown = self.tables and self.figures
        return shown and len(self.data) == len(plan.data) and len(self.labels) == len(plan.labels)


def _sealed_record(path: Path) -> dict[str, Any]:
    """A record as it was written; nothing where it was edited: then it vouches for nothing."""
    record = record_of(path)
    return record if is_sealed(record) else {}


def _complete(folder: Path, names: tuple[str, ...]) -> bool:
    return all((folder / name).exists() for name in names)


class _Look:
    """Goes through a plan in the order of the work, so that each result is held against what it was made from."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.sums: dict[str, dict[str, str | None]] = {}
        """The sums of the files of each data set that is prepared as asked."""
        self.own: dict[str, Sums] = {}
        for dataset, data in plan.data.items():
            record = _sealed_record(plan.paths.data_record(data))
            if record.get("recipe") != data.digest:
                continue
            known = known_sums(plan.paths.raw(dataset))
            own = unchanged(data, plan.data_dir(dataset), record.get("made_from", {}), known)
            if own is not None:
                self.sums[dataset] = {file: about.get("sha256") for file, about in record.get("files", {}).items()}
                self.own[dataset] = own
        self.labels: dict[LabelsKey, str | None] = {}
        """The sum of each label file that is as asked."""
        for replicate, labels in plan.labels.items():
            record = _sealed_record(plan.paths.labels(labels).with_suffix(".json"))
            inputs = {file: self.sums.get(labels.data.dataset, {}).get(file) for file in LABEL_INPUTS}
            if record.get("recipe") == labels.digest and record.get("inputs") == inputs:
                self.labels[replicate] = record.get("sha256")
        self.trained: dict[str, str] = {}
        """The digest of each training that is there as asked, by the run's name."""
        self.records: dict[str, dict[str, Any]] = {}
        self.choices: dict[ChoiceKey, str] = {}
        for key, selection in plan.selections.items():
            runs = [str(run) for candidate in selection.candidates for run, _ in candidate.runs]
            self._trainings({name: plan.candidates[name] for name in runs})
            choice = _sealed_record(plan.paths.choice(*key))
            made_from = [self.trained.get(name) for name in runs]
            fits = choice.get("recipe") == selection.digest and choice.get("trainings") == made_from
            candidates = [json_digest(candidate.definition) for candidate in selection.candidates]
            if fits and json_digest(choice.get("definition")) == choice.get("digest") in candidates:  # else: edited
                self.choices[key] = choice["digest"]
        self._trainings(plan.runs)

    def _trainings(self, recipes: Mapping[str, TrainRecipe]) -> None:
        for name, recipe in recipes.items():
            run = recipe.run
            folder = self.plan.paths.run(run)
            record = _sealed_record(folder / "record.json")
            wanted = self.choices_of(recipe.undecided, run.dataset, run.network)
            inputs = {
                "train.arrow": self.sums.get(run.dataset, {}).get("train.arrow"),
                "labels": self.labels.get((run.dataset, run.noise, run.seed)),
            }
            if record.get("recipe") != recipe.digest or not _complete(folder, CHECKPOINT_FILES):
                continue
            self.records[name] = record
            if record.get("choices", {}) == wanted and record.get("inputs") == inputs:
                self.trained[name] = record.get("digest", "")

    def choices_of(self, undecided: Undecided | None, dataset: str, network: str) -> dict[str, str | None]:
        """The digest of each choice that is waited for, by method; None for one that is not made."""
        choices = undecided.choices.items() if undecided else ()
        return {method: self.choices.get((dataset, of.noise, network, method)) for method, of in choices}

    def overhead_is_current(self) -> bool:
        """Whether the overhead table is of the methods as they are chosen now."""
        asked, folder = self.plan.overhead, self.plan.paths.overhead
        about = _sealed_record(folder / "overhead.json").get("about", {})
        choices = [self.choices_of(m.undecided, asked.data.dataset, m.network_name) for m in asked.methods]
        fits = about.get("recipe") == asked.digest and about.get("choices") == choices
        return fits and _complete(folder, OVERHEAD_FILES)


def _made_with(plan: Plan, overhead: str | None) -> bool:
    """Whether the tables were made with the overhead table that is here, as far as their provenance tells."""
    return bool(record_of(plan.paths.provenance(plan.paths.tables)).get("overhead", overhead) == overhead)


def look(plan: Plan) -> State:
    """What of the plan is there as asked; changes nothing."""
    study = plan.study.digest
    found = _Look(plan)
    evaluated: dict[str, str] = {}
    all_metrics: dict[str, dict[str, Any]] = {}
    for name, recipe in plan.runs.items():
        folder = plan.paths.evaluation(recipe.run)
        metrics = _sealed_record(folder / "metrics.json")
        if metrics.get("recipe") != recipe.digest or not _complete(folder, EVALUATION_FILES):
            continue
        all_metrics[name] = metrics
        test = found.sums.get(recipe.run.dataset, {}).get("test.arrow") or ""
        if name in found.trained and metrics.get("digest") == evaluation_key(found.trained[name], test):
            evaluated[name] = metrics["digest"]
    measured = found.overhead_is_current()
    whole = len(evaluated) == len(plan.runs) and len(found.choices) == len(plan.selections) and measured

    def show_the_study(folder: Path, names: tuple[str, ...]) -> bool:
        record = _sealed_record(folder / "record.json")
        shown = record.get("study") == study and record.get("evaluations") == list(evaluated.values())
        return whole and shown and _complete(folder, names)

    made_with = _made_with(plan, _sealed_record(plan.paths.overhead / "overhead.json").get("seal"))
    return State(
        data=frozenset(found.sums),
        labels=frozenset(found.labels),
        trained=frozenset(found.trained),
        chosen=frozenset(found.choices),
        evaluated=frozenset(evaluated),
        overhead=measured,
        tables=made_with and show_the_study(plan.paths.tables, TABLE_FILES),
        figures=show_the_study(plan.paths.figures, FIGURE_FILES),
        records=found.records,
        metrics=all_metrics,
        own=found.own,
    )


def check_own_files(plan: Plan, state: State) -> None:
    """Look into the data_dir of every data set that is still to be prepared, before any job does.

    Raises:
        CollabpipeError: files are missing, or an image folder is not laid out as one; with file, line and key.
    """
    faults = []
    for name, data in plan.data.items():
        folder = plan.data_dir(name)
        if name not in state.data and folder is not None:
            try:
                own_files(data, folder)
            except CollabpipeError as error:
                faults.append(f"{plan.place('datasets', name, 'data_dir')}: {error}")
    if faults:
        raise CollabpipeError("\n".join(faults))
