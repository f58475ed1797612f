"""Sets what exists against what is asked for, so that Snakemake's modification times tell the truth.

Snakemake compares times, and times say nothing after a clone, a restore or a reverted edit. Every artefact records
the digests of its recipe and of what it was made from. Where they fit, its recipe file gets an old time and nothing
is done; where they do not, the recipe file becomes newer than the artefact and the artefact is made again.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collabpipe.errors import CollabpipeError
from collabpipe.files import read_json
from collabpipe.paths import CHECKPOINT_FILES, EVALUATION_FILES, FIGURE_FILES, TABLE_FILES
from collabpipe.plan import Plan
from collabpipe.recipe import evaluation_key

OLD = 946684800.0  # 1 January 2000: before any artefact


@dataclass(frozen=True)
class State:
    """What exists of a study."""

    trained: frozenset[str]
    evaluated: frozenset[str]
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


def look(plan: Plan) -> State:
    """Which runs of the plan are trained and evaluated as asked, and whether the tables are theirs; changes nothing."""
    trained, evaluated = set(), set()
    keys = []
    tests = {
        name: _record(plan.paths.data_record(data)).get("files", {}).get("test.arrow", {}).get("sha256", "")
        for name, data in plan.data.items()
    }
    for name, recipe in plan.runs.items():
        folder = plan.paths.run(recipe.run)
        record = _record(folder / "record.json")
        if record.get("recipe") != recipe.digest or not _complete(folder, CHECKPOINT_FILES):
            continue
        trained.add(name)
        metrics = _record(folder / "metrics.json")
        key = evaluation_key(record.get("digest", ""), tests[recipe.run.dataset])
        if metrics.get("digest") == key and _complete(folder, EVALUATION_FILES):
            evaluated.add(name)
            keys.append(metrics.get("digest"))
    tables = _record(plan.paths.tables / "record.json")
    current = (
        len(evaluated) == len(plan.runs)
        and tables.get("study") == plan.study.digest
        and tables.get("evaluations") == keys
        and _complete(plan.paths.tables, TABLE_FILES)
        and _complete(plan.paths.figures, FIGURE_FILES)
    )
    return State(frozenset(trained), frozenset(evaluated), current)


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
    for name, recipe in plan.runs.items():
        folder = paths.run(recipe.run)
        _settle(recipe.write(paths.recipes), folder / "record.json", name in state.trained)
        if name in state.trained and name not in state.evaluated:
            # An evaluation of another training: the training's record, an input of evaluation, becomes newer.
            _settle(folder / "record.json", folder / "metrics.json", current=False)
    _settle(plan.study.write(paths.recipes), paths.tables / "record.json", state.tables)
    return state
