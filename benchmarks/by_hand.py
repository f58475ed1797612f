"""A study in the order of its work without Snakemake, as far as the time allows; the store makes it resumable."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collabpipe.cli import main
from collabpipe.errors import CollabpipeError
from collabpipe.plan import ChoiceKey, Plan
from collabpipe.recipe import Recipe, TrainRecipe
from collabpipe.reconcile import look

if TYPE_CHECKING:
    from collabpipe.training.engine import Training

RunAll = Callable[[list["Training"]], object]
"""Brings several trainings to their ends."""


@dataclass
class Worked:
    """What was done of a study: trainings and the seconds that they took, and what failed."""

    trained: int = 0
    seconds: float = 0.0
    left: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def an_hour(self) -> float:
        """Trainings an hour, evaluation included."""
        return 3600 * self.trained / self.seconds if self.seconds else 0.0


class StudyByHand:
    """A study that the package's own commands make, one after another in this process.

    Args:
        plan: the study.
        end: when to begin nothing more (time.monotonic).
        folders: where the files of a data set lie, by its source.
        at_once: trainings that are run together.
        run_all: runs them.
    """

    def __init__(self, plan: Plan, end: float, folders: Mapping[str, Path], at_once: int, run_all: RunAll | None):
        self.plan, self.end, self.folders = plan, end, folders
        self.at_once, self.run_all = at_once if run_all else 1, run_all
        self.worked = Worked()

    def _command(self, name: str, recipe: Recipe, *options: str | Path) -> bool:
        path = recipe.write(self.plan.paths.recipes)
        done = main([name, str(path), "--results", str(self.plan.paths.root), *map(str, options)])
        if done != 0:
            self.worked.failed.append(f"{name} {getattr(recipe, 'run', path.stem[:12])}")
        return done == 0

    def _time_is_left(self) -> bool:
        return time.monotonic() < self.end

    def work(self) -> Worked:
        """Data, labels, candidates, choices, runs with their evaluations, the overhead table."""
        for data in self.plan.data.values():
            own = self.folders.get(data.source) or self.plan.settings.datasets[data.dataset].data_dir
            self._command("fetch", data, *(["--data-dir", own] if own else []))
            self._command("prepare", data)
        for labels in self.plan.labels.values():
            self._command("labels", labels)
        started, before = time.monotonic(), look(self.plan)
        self._search()
        self._train(self.plan.runs.values())
        after = look(self.plan)
        self.worked.trained = len(after.trained - before.trained)
        self.worked.seconds = time.monotonic() - started
        self.worked.left = len(self.plan.trainings) - len(after.trained)
        if len(after.evaluated) == len(self.plan.runs) and not after.overhead and self._time_is_left():
            seconds = str(self.plan.settings.execution.overhead_seconds)
            self._command("overhead", self.plan.overhead, "--seconds", seconds)
        return self.worked

    def _search(self) -> None:
        """Train candidates and choose; some wait for the choices of others."""
        while self._time_is_left():
            before = look(self.plan).chosen
            self._train(self.plan.candidates.values())
            trained = look(self.plan).trained
            for choice, selection in self.plan.selections.items():
                runs = {str(run) for candidate in selection.candidates for run, _ in candidate.runs}
                if choice not in before and runs <= trained:
                    self._command("choose", selection, "--keep", "none")
            if look(self.plan).chosen == before:
                return

    def _train(self, recipes: Iterable[TrainRecipe]) -> None:
        """Train and evaluate what is not there yet, as far as it can be and time is left."""
        state = look(self.plan)
        done = state.trained - (set(self.plan.runs) - state.evaluated)
        ready = [r for r in recipes if str(r.run) not in done and self._is_decided(r, state.chosen)]
        for together in _alike(ready, self.at_once):
            if not self._time_is_left():
                return
            if len(together) == 1 or not self._train_at_once(together):
                for recipe in together:
                    self._command("train", recipe)
            for recipe in together:
                if str(recipe.run) in self.plan.runs:
                    self._command("evaluate", recipe, "--keep", "none")

    @staticmethod
    def _is_decided(recipe: TrainRecipe, chosen: frozenset[ChoiceKey]) -> bool:
        waits = recipe.undecided.choices.items() if recipe.undecided else ()
        run = recipe.run
        return all((run.dataset, of.noise, run.network, method) in chosen for method, of in waits)

    def _train_at_once(self, recipes: tuple[TrainRecipe, ...]) -> bool:
        from collabpipe.training.job import train_at_once

        for recipe in recipes:
            recipe.write(self.plan.paths.recipes)
        try:
            if self.run_all is not None:
                train_at_once(recipes, self.plan.paths, self.plan.settings.execution, self.run_all)
        except (CollabpipeError, RuntimeError) as error:
            print(f"not at once, but one after another: {error}", file=sys.stderr, flush=True)
            return False
        return True


def _alike(recipes: Iterable[TrainRecipe], number: int) -> Iterator[tuple[TrainRecipe, ...]]:
    """Groups of so many recipes of one network and data set, whose trainings take about as long."""
    by_cost: dict[Any, list[TrainRecipe]] = {}
    for recipe in recipes:
        by_cost.setdefault((recipe.run.dataset, recipe.run.network), []).append(recipe)
    for group in by_cost.values():
        yield from (tuple(group[start : start + number]) for start in range(0, len(group), number))
