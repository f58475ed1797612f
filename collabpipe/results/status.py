"""How far a study is: what each of its trainings is doing, and the time that is left. Only files are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from statistics import fmean
from typing import Any, Literal, get_args

from collabpipe.common.files import record_of
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.results.run_artefacts import Checkpoint, Evaluation
from collabpipe.results.state import State, look
from collabpipe.results.under_way import UnderWay
from collabpipe.results.unfinished import Begun, Failed, begun, failed

Stage = Literal["planned", "waiting", "running", "stopped", "failed", "trained", "done", "diverged"]
"""planned: labels or a choice are still to be made; waiting: it can be trained; stopped: its process has ended, and the
training continues when it is asked for again; trained: it is still to be evaluated."""
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Standing:
    """What a training is doing."""

    recipe: TrainRecipe
    stage: Stage
    begun: Begun | None = None
    failed: Failed | None = None
    trained: bool = False
    """Whether the training itself has ended well, or has diverged."""
    divergence: str | None = None
    """Where it diverged."""
    seconds: float | None = None
    """Of a training that has ended."""

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.recipe.run)

    @property
    def note(self) -> UnderWay | None:
        """How far it is, or was when it was stopped."""
        return self.begun.note if self.begun else None

    @property
    def share(self) -> float:
        """How much of the training is done, from 0 to 1."""
        if self.trained or self.note is None:
            return float(self.trained)
        return self.note.epoch / self.note.epochs

    @property
    def whole(self) -> float | None:
        """Seconds of the whole training, as far as is known."""
        if self.stage == "diverged":
            return None
        return self.note.seconds / self.note.epoch * self.note.epochs if self.note and self.note.epoch else self.seconds

    def __str__(self) -> str:
        return f"{self.name}: {self._told()}"

    def _told(self) -> str:
        if self.begun and self.stage == "running":
            return ", ".join([self.stage, *(self.note.told if self.note else ()), str(self.begun.writer)])
        if self.begun and self.stage == "stopped":
            return f"stopped{f' at epoch {self.note.epoch}' if self.note else ''}, {self.begun.saved}"
        about = self.failed.line if self.failed else self.divergence
        return f"{self.stage}: {about}" if about else self.stage

    def as_record(self) -> dict[str, Any]:
        """The same for scripts."""
        return {
            "run": self.name,
            "state": self.stage,
            "recipe": self.recipe.digest,
            "progress": asdict(self.note) if self.note else None,
            "process": self.begun.writer if self.begun else None,
            "divergence": self.divergence,
            "log": str(self.failed.log) if self.failed else None,
            "last_line": self.failed.line if self.failed else None,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Status:
    """How far a study is."""

    plan: Plan
    state: State
    trainings: Sequence[Standing]
    """Candidates and runs, in the order of the work."""
    failed: Sequence[Failed]
    """Jobs of all kinds."""

    def of(self, *stages: Stage) -> list[Standing]:
        """The trainings that are at one of these stages."""
        return [one for one in self.trainings if one.stage in stages]

    @property
    def counts(self) -> dict[Stage, int]:
        """How many trainings are at each stage."""
        found = Counter(one.stage for one in self.trainings)
        return {stage: found[stage] for stage in STAGES}

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be done."""
        return self.state.complete(self.plan)

    @property
    def shown(self) -> str:
        """How tables, figures and report stand, for a person."""
        if not self.state.tables:
            return "tables are to be made"
        if not self.state.figures:
            return "tables are current, figures not"
        return "tables are current" if self.state.report else "tables and figures are current, the report is not"

    @property
    def share(self) -> float:
        """How much of all trainings is done, from 0 to 1, each counted as one."""
        return fmean(one.share for one in self.trainings)

    @cached_property
    def seconds_left(self) -> float | None:
        """Of training that is left, as one after the other; None before anything tells how long a training takes.

        A training is taken to be as long as those of its method that have ended or run, else as those of its network
        and data set, else as any.
        """
        kinds: dict[tuple[str, ...], list[float]] = {}
        for one in self.trainings:
            if seconds := one.whole:
                for kind in _kinds(one.recipe):
                    kinds.setdefault(kind, []).append(seconds)
        means = {kind: fmean(found) for kind, found in kinds.items()}
        left = 0.0
        for one in self.trainings:
            if one.share < 1.0:
                mean = next((means[kind] for kind in _kinds(one.recipe) if kind in means), None)
                if mean is None:
                    return None
                left += (1.0 - one.share) * mean
        return left

    def as_record(self) -> dict[str, Any]:
        """The same for scripts."""
        jobs = [{"job": one.job, "log": str(one.log), "last_line": one.line} for one in self.failed]
        return {
            "study": self.plan.settings.study,
            "complete": self.complete,
            "share": self.share,
            "seconds_left": self.seconds_left,
            "counts": self.counts,
            "tables": self.state.tables,
            "figures": self.state.figures,
            "report": self.state.report,
            "failed_jobs": jobs,
            "trainings": [one.as_record() for one in self.trainings],
        }


def _kinds(recipe: TrainRecipe) -> list[tuple[str, ...]]:
    run = recipe.run
    return [(run.dataset, run.network, run.method), (run.dataset, run.network), ()]


def _where(divergence: Mapping[str, Any]) -> str:
    return f"in epoch {divergence['epoch']}, step {divergence['step']}: {', '.join(divergence['terms'])} not finite"


def status_of(plan: Plan, state: State | None = None) -> Status:
    """What the files of a study say of it now.

    Args:
        plan: of the study.
        state: its artefacts, if they were looked at already.
    """
    state = state or look(plan)
    unfinished, failures = begun(plan, state), {one.job: one for one in failed(plan, state)}
    evaluate = {one.key: failures.get(one.job) for one in state.artefacts if isinstance(one, Evaluation)}
    trainings = [
        _standing(plan, state, one, unfinished.get(one.key), failures.get(one.job), evaluate.get(one.key))
        for one in state.artefacts
        if isinstance(one, Checkpoint)
    ]
    return Status(plan, state, trainings, list(failures.values()))


def _standing(
    plan: Plan,
    state: State,
    training: Checkpoint,
    unfinished: Begun | None,
    failed: Failed | None,
    evaluation: Failed | None,
) -> Standing:
    recipe = training.recipe
    if state.has(training):
        seconds = record_of(plan.paths.provenance(training.folder)).get("cost", {}).get("seconds")
        ended = partial(Standing, recipe, trained=True, seconds=seconds)
        if where := state.artefacts[training].get("divergence"):
            return ended("diverged", divergence=_where(where))
        if training.kind == "candidate" or training.key in state.evaluated:
            return ended("done")
        if evaluation and evaluation.concerns(recipe):
            return ended("failed", failed=evaluation)
        return ended("trained")
    if unfinished and unfinished.writer:
        return Standing(recipe, "running", unfinished)
    if failed and failed.concerns(recipe):
        return Standing(recipe, "failed", unfinished, failed)
    if unfinished:
        return Standing(recipe, "stopped", unfinished)
    ready = all(path in state.known for _, path in training.inputs)
    return Standing(recipe, "waiting" if ready else "planned")
