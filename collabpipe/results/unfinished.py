"""What was begun and is not finished: trainings that are at work or stopped, and jobs that failed, with their logs."""

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
from collabpipe.results.artefacts import Checkpoint, Evaluation, PreparedData
from collabpipe.results.state import State

FAILED = re.compile(r"\berror\b|^Traceback |not found$|^Killed", re.IGNORECASE | re.MULTILINE)
"""What the log of a failed job says somewhere, and that of no other."""
RECIPE = re.compile(r"([0-9a-f]{64})\.json")


def begun(plan: Plan, state: State) -> Iterator[str]:
    """A line for each training that is at work or was stopped, with what it saved."""
    trainings = [folder for folder in plan.paths.stored() if (folder / ASKED_FILE).exists()]
    half = [folder for folder in trainings if not (folder / RESULT_FILE).exists()]
    missing = {name: recipe for name, recipe in plan.trainings.items() if half and name not in state.trained}
    by_asked = {recipe.asked_digest: name for name, recipe in missing.items() if recipe.undecided is None}
    undecided = missing.keys() - by_asked.values()
    for folder in half:
        about: Asked = record_of(folder / ASKED_FILE)
        # Of an undecided training nobody can tell which choice it waits for: its name has to do.
        name = by_asked.get(about.get("asked", "")) or next(iter({about.get("run", "")} & undecided), None)
        if name:
            who = at_work(folder)
            yield f"{name}: {f'at work ({who})' if who else 'stopped'}, {_saved(folder, missing[name])}"


def _saved(folder: Path, recipe: TrainRecipe) -> str:
    try:
        with safe_open(folder / STATE_FILE, framework="np") as file:
            state = json.loads(file.metadata()["state"])
    except FileNotFoundError:
        return "nothing is saved yet"
    except (SafetensorError, KeyError, TypeError, ValueError):
        return f"its saved state cannot be read: {folder / STATE_FILE}"
    step = f", step {state['step']}" if state["step"] else ""
    return f"saved after epoch {state['epoch']} of {recipe.training.epochs}{step}"


@dataclass(frozen=True)
class Failed:
    """A job that failed when it was tried last."""

    job: str
    log: Path
    line: str
    """The last one of its log."""


def failed(plan: Plan, state: State) -> Iterator[Failed]:
    """The jobs that are still to be done and whose last attempt failed."""
    for job, recipes in _to_do(state).items():
        log = plan.paths.log(job)
        if not log.exists():
            continue
        text = log.read_text(encoding="utf-8", errors="replace").strip()
        named = set(RECIPE.findall(text))
        # A training's log that names other recipes alone is that of an earlier configuration.
        if FAILED.search(text) and (not recipes or not named or named & recipes):
            yield Failed(job, log, text.splitlines()[-1])


def _to_do(state: State) -> dict[str, set[str]]:
    """The jobs that are to be done, by the names of their logs; with the digests of trainings' recipes."""
    jobs: dict[str, set[str]] = {}
    for artefact in state.artefacts:
        if not state.has(artefact):
            if isinstance(artefact, PreparedData):
                jobs[f"fetch_dataset/{artefact.key}"] = set()
            by_recipe = {artefact.recipe.digest} if isinstance(artefact, Checkpoint | Evaluation) else set()
            jobs.setdefault(artefact.job, set()).update(by_recipe)
    return jobs
