"""What was begun and is not finished: trainings that run or were stopped, and jobs that failed, with their logs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from collabpipe.common.files import record_of
from collabpipe.host.writer import at_work
from collabpipe.plan.paths import ASKED_FILE, RESULT_FILE, STATE_FILE
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.plan.record_types import Asked
from collabpipe.results.run_artefacts import Checkpoint, Predictions, PreparedData
from collabpipe.results.state import State
from collabpipe.results.under_way import UnderWay

FAILED = re.compile(r"\berror\b|^Traceback |not found$|^Killed", re.IGNORECASE | re.MULTILINE)
"""What the log of a failed job says somewhere, and that of no other."""
RECIPE = re.compile(r"([0-9a-f]{64})\.json")


@dataclass(frozen=True)
class Begun:
    """A training that was begun and is not finished."""

    folder: Path
    recipe: TrainRecipe
    writer: str | None
    """The process that trains, for a person; None if the training was stopped."""
    note: UnderWay | None

    @property
    def saved(self) -> str:
        """What a training that was stopped continues from, for a person."""
        try:
            with safe_open(self.folder / STATE_FILE, framework="np") as file:
                state = json.loads(file.metadata()["state"])
        except FileNotFoundError:
            return "nothing is saved yet"
        except (SafetensorError, KeyError, TypeError, ValueError):
            return f"its saved state cannot be read: {self.folder / STATE_FILE}"
        step = f", step {state['step']}" if state["step"] else ""
        return f"saved after epoch {state['epoch']} of {self.recipe.training.epochs}{step}"


def begun(plan: Plan, state: State) -> dict[str, Begun]:
    """The trainings that were begun and are not finished, by their names."""
    trainings = [folder for folder in plan.paths.stored() if (folder / ASKED_FILE).exists()]
    half = [folder for folder in trainings if not (folder / RESULT_FILE).exists()]
    missing = {name: recipe for name, recipe in plan.trainings.items() if half and name not in state.trained}
    by_asked: dict[str, list[str]] = {}  # trainings of one composition share a folder
    for name, recipe in missing.items():
        if recipe.undecided is None:
            by_asked.setdefault(recipe.asked_digest, []).append(name)
    # Of an undecided training nobody can tell which choice it waits for: its name has to do.
    undecided = {name for name, recipe in missing.items() if recipe.undecided is not None}
    found: dict[str, Begun] = {}
    for folder in half:
        about: Asked = record_of(folder / ASKED_FILE)
        names = by_asked.get(about.get("asked", "")) or {about.get("run", "")} & undecided
        if names:
            writer, note = at_work(folder), UnderWay.read(folder)
            found |= {name: Begun(folder, missing[name], writer, note) for name in names}
    return found


@dataclass(frozen=True)
class Failed:
    """A job that failed when it was tried last."""

    job: str
    log: Path
    line: str
    """The last one of its log."""
    recipes: frozenset[str]
    """The digests of those of its recipes that its log names; none are named where it failed as a whole."""

    def __str__(self) -> str:
        return f"{self.job}: {self.line}\n    {self.log}"

    def concerns(self, recipe: TrainRecipe) -> bool:
        """Whether a run of the job failed with it."""
        return not self.recipes or recipe.digest in self.recipes


def failed(plan: Plan, state: State) -> Iterator[Failed]:
    """The jobs that are still to be done and whose last attempt failed."""
    for job, recipes in _to_do(state).items():
        log = plan.paths.log(job)
        try:
            text = log.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            continue
        named = set(RECIPE.findall(text))
        # A training's log that names other recipes alone is that of an earlier configuration.
        if FAILED.search(text) and (not recipes or not named or named & recipes):
            yield Failed(job, log, text.splitlines()[-1], frozenset(named & recipes))


def _to_do(state: State) -> dict[str, set[str]]:
    """The jobs that are to be done, by the names of their logs; with the digests of trainings' recipes."""
    jobs: dict[str, set[str]] = {}
    for artefact in state.artefacts:
        if not state.has(artefact):
            if isinstance(artefact, PreparedData):
                jobs[f"fetch_dataset/{artefact.key}"] = set()
            by_recipe = {artefact.recipe.digest} if isinstance(artefact, Checkpoint | Predictions) else set()
            jobs.setdefault(artefact.job, set()).update(by_recipe)
    return jobs
