"""The runs of the page: what each was asked, how it stands, its curve, its weights, and how to make it again."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collabpipe.analysis.figures.run_curve import QUANTITIES, run_curve
from collabpipe.common.counts import counted
from collabpipe.common.files import read_columns, record_of
from collabpipe.plan.paths import HISTORY, WEIGHTS
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.plan.record_types import TrainingRecord
from collabpipe.results.run_artefacts import Checkpoint, Evaluation
from collabpipe.results.state import State
from collabpipe.results.unfinished import Failed, begun, failed

WAITING, WORKING, STOPPED, FAILED, TRAINED = "waiting", "at work", "stopped", "failed", "trained"
FINISHED, DIVERGED, COLLAPSED = "finished", "diverged", "collapsed"
STATUSES = (FINISHED, DIVERGED, COLLAPSED, TRAINED, WORKING, STOPPED, FAILED, WAITING)


@dataclass
class Runs:
    """All runs of a study as the page's script reads them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    """The parts of recipes and provenances as JSON: runs name them by their places here, as most share them.

    As text, because a script would round a seed of 63 bits.
    """
    failures: list[Failed] = field(default_factory=list)

    def with_status(self, *statuses: str) -> list[dict[str, Any]]:
        """The runs that stand so."""
        return [row for row in self.rows if row["status"] in statuses]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs stand how."""
        counts = Counter(row["status"] for row in self.rows)
        return {status: counts[status] for status in STATUSES if counts[status]}


def read_page_runs(plan: Plan, state: State) -> Runs:
    """The runs of the plan, finished or not."""
    runs = Runs(failures=list(failed(plan, state)))
    reader = _Reader(plan, state, runs)
    runs.rows = [reader.row(name, recipe) for name, recipe in plan.runs.items()]
    runs.parts = list(reader.places)
    return runs


class _Reader:
    def __init__(self, plan: Plan, state: State, runs: Runs):
        self.paths, self.state = plan.paths, state
        found = state.artefacts.items()
        self.trainings: dict[str, TrainingRecord] = {a.key: r for a, r in found if isinstance(a, Checkpoint) and r}
        self.metrics = state.metrics
        self.begun = begun(plan, state)
        by_job = {one.job: one for one in runs.failures}
        jobs = [a for a in state.artefacts if isinstance(a, Checkpoint | Evaluation) and a.job in by_job]
        self.failed = {a.key: by_job[a.job] for a in jobs if not state.has(a)}
        self.places: dict[str, int] = {}

    def _shared(self, about: Mapping[str, Any]) -> dict[str, int]:
        """Each value's place among the parts."""
        texts = {key: json.dumps(value, indent=2) for key, value in about.items()}
        return {key: self.places.setdefault(text, len(self.places)) for key, text in texts.items()}

    def row(self, name: str, recipe: TrainRecipe) -> dict[str, Any]:
        """What the page says of a run."""
        folder, record = self.paths.run(recipe.run), self.trainings.get(name)
        row = {
            "name": name,
            **recipe.run.model_dump(),
            **self._standing(name),
            "digest": recipe.digest,
            "commands": [self.paths.command(verb, recipe) for verb in ("train", "evaluate")],
            "folder": str(folder),
        }
        asked = recipe.decided(record) if record else recipe
        row["recipe"] = self._shared(asked.model_dump(mode="json", exclude={"run"}))
        if name in self.state.trained:
            about = record_of(self.paths.provenance(folder))
            cost = about.pop("cost", {})
            row["seconds"] = cost.get("seconds")
            row["provenance"] = self._shared({key: value for key, value in about.items() if key != "training"})
            there = [folder / file for file in WEIGHTS.values() if (folder / file).is_file()]
            kept = record.get("kept", "all") if record else "all"
            row["weights"] = [str(path) for path in there] if kept != "none" else []
            row["kept"] = kept
            row |= _curve(folder, name)
        return row

    def _standing(self, name: str) -> dict[str, Any]:
        if name in self.state.evaluated:
            metrics = self.metrics[name]
            last, best = metrics.get("last") or {}, metrics.get("best") or {}
            status = DIVERGED if metrics["status"] != "finished" else COLLAPSED if metrics["collapsed"] else FINISHED
            found = {"accuracy": _percent(last.get("accuracy")), "best": _percent(best.get("accuracy"))}
            return {"status": status, "best_epoch": best.get("epoch"), **found}
        if failure := self.failed.get(name):
            return {"status": FAILED, "says": failure.line, "log": str(failure.log)}
        if one := self.begun.get(name):
            return {"status": WORKING, "says": one.writer} if one.writer else {"status": STOPPED, "says": one.saved}
        return {"status": TRAINED if name in self.state.trained else WAITING}


def _percent(share: float | None) -> float | None:
    return None if share is None or not math.isfinite(share) else round(100.0 * share, 4)


def _curve(folder: Path, name: str) -> dict[str, Any]:
    """The run's curve as SVG, and what it shows in words."""
    file = folder / HISTORY
    if not file.is_file():
        return {}
    table = read_columns(file)
    wanted = [column for column in ("epoch", *(column for column, *_ in QUANTITIES)) if column in table.column_names]
    history: dict[str, Sequence[float | None]] = {column: table.column(column).to_pylist() for column in wanted}
    said = [counted(table.num_rows, "epoch", "epochs")]
    for column, _, _, label in QUANTITIES:
        values = [value for value in history.get(column, ()) if value is not None and math.isfinite(value)]
        if values:
            said.append(f"{label}: {100 * values[0]:.1f}% at first, {100 * max(values):.1f}% at most, ")
            said[-1] += f"{100 * values[-1]:.1f}% at last"
    return {"epochs": table.num_rows, "curve": run_curve(history, name), "curve_says": "; ".join(said)}


def groups_of_provenance(runs: Runs) -> list[tuple[dict[str, str], int]]:
    """Where the runs were trained: commit, host, device and versions, with the number of runs of each."""
    found: Counter[tuple[tuple[str, str], ...]] = Counter()
    for row in runs.rows:
        about = {key: json.loads(runs.parts[place]) for key, place in row.get("provenance", {}).items()}
        if about:
            packages = about.get("packages") or {}
            shown = {
                "commit": about.get("commit") or f"none: {about.get('no_commit', 'not recorded')}",
                "host": about.get("host", ""),
                "device": about.get("device", ""),
                "Python": about.get("python", ""),
                **{name: version or "not installed" for name, version in packages.items()},
            }
            found[tuple((key, str(value)) for key, value in shown.items())] += 1
    return [(dict(about), count) for about, count in found.most_common()]
