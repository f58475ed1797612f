"""Sets what exists against what is asked for, so that Snakemake's modification times tell the truth.

Snakemake compares times, and times say nothing after a clone, a restore or a reverted edit. Every artefact records
the digests of its recipe and of what it was made from. Where they fit, its recipe file gets an old time and nothing
is done; where they do not, the recipe file becomes newer than the artefact and the artefact is made again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collabpipe.errors import CollabpipeError
from collabpipe.files import json_digest, read_json
from collabpipe.paths import CHECKPOINT_FILES, EVALUATION_FILES, FIGURE_FILES, OVERHEAD_FILES, TABLE_FILES
from collabpipe.plan import Plan
from collabpipe.recipe import TrainRecipe, Undecided, evaluation_key

OLD = 946684800.0  # 1 January 2000: before any artefact


@dataclass(frozen=True)
class State:
    """What exists of a study."""

    trained: frozenset[str]
    chosen: frozenset[tuple[str, str, str, str]]
    evaluated: frozenset[str]
    overhead: bool
    tables: bool


def _record(path: Path) -> dict[str, Any]:
    """A record, or nothing where it is missing or broken: then it is made again."""
    if not path.exists():
        return {}
    try:
        record = read_json(path)
    except CollabpipeError:
        return {}
    return record if isinstance(record, dict) else {}


def _complete(folder: Path, names: tuple[str, ...]) -> bool:
    return all((folder / name).exists() for name in names)


class _Look:
    """Goes through a plan in the order of the work, so that each result is held against what it was made from."""

    def __init__(self, plan: Plan):
        self.plan = plan
        records = {name: _record(plan.paths.data_record(recipe)) for name, recipe in plan.data.items()}
        self.train_sums, self.test_sums = (
            {name: record.get("files", {}).get(f"{split}.arrow", {}).get("sha256") for name, record in records.items()}
            for split in ("train", "test")
        )
        self.label_sums: dict[Path, str | None] = {}
        self.trained: dict[str, str] = {}
        """The digest of each training that is there as asked, by the run's name."""
        self.choices: dict[tuple[str, str, str, str], str] = {}
        for key, selection in plan.selections.items():
            runs = [str(run) for candidate in selection.candidates for run, _ in candidate.runs]
            self._trainings({name: plan.candidates[name] for name in runs})
            choice = _record(plan.paths.choice(*key))
            made_from = [self.trained.get(name) for name in runs]
            fits = choice.get("recipe") == selection.digest and choice.get("trainings") == made_from
            candidates = [json_digest(candidate.definition) for candidate in selection.candidates]
            if fits and json_digest(choice.get("definition")) == choice.get("digest") in candidates:  # else: edited
                self.choices[key] = choice["digest"]
        self._trainings(plan.runs)

    def _trainings(self, recipes: Mapping[str, TrainRecipe]) -> None:
        for name, recipe in recipes.items():
            folder = self.plan.paths.run(recipe.run)
            record = _record(folder / "record.json")
            wanted = self.choices_of(recipe.undecided, recipe.run.dataset, recipe.run.network)
            labels = self.plan.paths.labels(recipe.labels)
            if labels not in self.label_sums:
                self.label_sums[labels] = _record(labels.with_suffix(".json")).get("sha256")
            inputs = {"train.arrow": self.train_sums[recipe.run.dataset], "labels": self.label_sums[labels]}
            asked = record.get("recipe") == recipe.digest and record.get("choices", {}) == wanted
            asked = asked and record.get("inputs") == inputs
            if asked and _complete(folder, CHECKPOINT_FILES):
                self.trained[name] = record.get("digest", "")

    def choices_of(self, undecided: Undecided | None, dataset: str, network: str) -> dict[str, str | None]:
        """The digest of each choice that is waited for, by method; None for one that is not made."""
        choices = undecided.choices.items() if undecided else ()
        return {method: self.choices.get((dataset, of.noise, network, method)) for method, of in choices}

    def overhead_is_current(self) -> bool:
        """Whether the overhead table is of the methods as they are chosen now."""
        asked, tables = self.plan.overhead, self.plan.paths.tables
        about = _record(tables / "overhead.json").get("about", {})
        choices = [self.choices_of(m.undecided, asked.data.dataset, m.network_name) for m in asked.methods]
        fits = about.get("recipe") == asked.digest and about.get("choices") == choices
        return fits and _complete(tables, OVERHEAD_FILES)


def look(plan: Plan) -> State:
    """What of the plan is there as asked; changes nothing."""
    study = plan.study.digest
    found = _Look(plan)
    evaluated = []
    keys = []
    for name, recipe in plan.runs.items():
        if name not in found.trained:
            continue
        folder = plan.paths.run(recipe.run)
        metrics = _record(folder / "metrics.json")
        key = evaluation_key(found.trained[name], found.test_sums[recipe.run.dataset] or "")
        if metrics.get("digest") == key and _complete(folder, EVALUATION_FILES):
            evaluated.append(name)
            keys.append(metrics.get("digest"))
    measured = found.overhead_is_current()
    tables = _record(plan.paths.tables / "record.json")
    current = (
        len(evaluated) == len(plan.runs)
        and len(found.choices) == len(plan.selections)
        and measured
        and tables.get("study") == study
        and tables.get("evaluations") == keys
        and _complete(plan.paths.tables, TABLE_FILES)
        and _complete(plan.paths.figures, FIGURE_FILES)
    )
    return State(frozenset(found.trained), frozenset(found.choices), frozenset(evaluated), measured, current)


def _settle(file: Path, artefact: Path, current: bool) -> None:
    """Make `file` older than `artefact` if that is current, newer if it exists and is not."""
    if current:
        if file.stat().st_mtime != OLD:
            os.utime(file, (OLD, OLD))
    elif artefact.exists() and file.stat().st_mtime <= artefact.stat().st_mtime:
        now = max(time.time(), artefact.stat().st_mtime + 1e-3)
        os.utime(file, (now, now))


def settle(plan: Plan) -> State:
    """Write the recipes of the plan and settle the times of the results; called while the Snakefile is read."""
    paths = plan.paths
    state = look(plan)
    for data in plan.data.values():
        record = paths.data_record(data)
        _settle(data.write(paths.recipes), record, _record(record).get("recipe") == data.digest)
    for labels in plan.labels.values():
        record = paths.labels(labels).with_suffix(".json")
        _settle(labels.write(paths.recipes), record, _record(record).get("recipe") == labels.digest)
    for key, selection in plan.selections.items():
        _settle(selection.write(paths.recipes), paths.choice(*key), key in state.chosen)
    for name, recipe in plan.trainings.items():
        folder = paths.run(recipe.run)
        _settle(recipe.write(paths.recipes), folder / "record.json", name in state.trained)
        if name in state.trained and name not in state.evaluated:
            # An evaluation of another training: the training's record, an input of evaluation, becomes newer.
            _settle(folder / "record.json", folder / "metrics.json", current=False)
    _settle(plan.overhead.write(paths.recipes), paths.tables / "overhead.json", state.overhead)
    _settle(plan.study.write(paths.recipes), paths.tables / "record.json", state.tables)
    return state
