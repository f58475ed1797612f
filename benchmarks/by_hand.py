"""A study in the order of its work without Snakemake, as far as the time allows; the store makes it resumable."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from collabpipe.cli import main
from collabpipe.common.errors import CollabpipeError
from collabpipe.jobs.blocks import for_each
from collabpipe.jobs.choose import decide
from collabpipe.plan.paths import METRICS, RECORD, Paths
from collabpipe.plan.plan import ChoiceKey, Plan
from collabpipe.plan.recipes import DataRecipe, Recipe, TrainRecipe
from collabpipe.results.state import look
from collabpipe.settings.study import CANDIDATE
from collabpipe.settings.training import ExecutionSettings

ROUNDS = 4
"""Trainings that a process is given at a time, per thread: its threads need not wait for the slowest of each round."""

KEEP_SECONDS = 300.0
"""Between two calls that keep what is there already."""


@dataclass
class Worked:
    """What was done of a study: trainings and the seconds that they took, and what failed."""

    trained: int = 0
    seconds: float = 0.0
    left: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def an_hour(self) -> float:
        """Trainings per hour, evaluation included."""
        return 3600 * self.trained / self.seconds if self.seconds else 0.0


def train_and_evaluate(
    recipes: list[Path], paths: Paths, execution: ExecutionSettings, threads: int, end: float
) -> str:
    """In a process of its own: train the recipes, so many at the same time, and evaluate runs; returns what failed.

    At `end` (time.monotonic, which all processes of a host share) trainings save their states and stop.
    """
    from collabpipe.host.signals import Interrupted, Interruption
    from collabpipe.jobs.evaluate import evaluate
    from collabpipe.jobs.train import train

    interruption = Interruption()
    timer = threading.Timer(
        min(end - time.monotonic(), threading.TIMEOUT_MAX), setattr, (interruption, "caught", signal.SIGTERM)
    )
    timer.daemon = True
    timer.start()

    def work(recipe: TrainRecipe) -> None:
        train(recipe, paths, execution, interruption)
        if not CANDIDATE.search(recipe.run.method):
            evaluate(recipe, paths, "none", execution.jobs_per_gpu)

    try:
        for_each(recipes, TrainRecipe, work, threads)
    except CollabpipeError as error:
        return str(error)
    except Interrupted:
        return ""
    finally:
        timer.cancel()
    return ""


class StudyByHand:
    """A study that the package's own commands make.

    Args:
        plan: the study.
        end: when to begin nothing more (time.monotonic).
        folders: where the files of a data set lie, by its source.
        processes: processes that train at the same time.
        threads: trainings that each of them runs at the same time.
        keep: called now and then, to keep what is there already.
    """

    def __init__(
        self,
        plan: Plan,
        end: float,
        folders: Mapping[str, Path],
        processes: int = 1,
        threads: int = 1,
        keep: Callable[[], object] = lambda: None,
    ):
        self.plan, self.end, self.folders = plan, end, folders
        self.processes, self.threads, self.keep = processes, threads, keep
        self.execution = plan.settings.execution.model_copy(update={"jobs_per_gpu": processes, "save_seconds": 1e9})
        self.worked = Worked()
        self.waiting: dict[str, TrainRecipe] = {}
        self.done: set[str] = set()
        self.chosen: set[ChoiceKey] = set()
        self.running: dict[Future[str], list[TrainRecipe]] = {}

    def work(self) -> Worked:
        """Data, labels, candidates, choices, runs with their evaluations, the overhead table."""
        for data in self.plan.data.values():
            own = self.folders.get(data.source) or self.plan.settings.image_sets[data.dataset].data_dir
            self._command("fetch", data, *(["--data-dir", own] if own else []))
            self._command("prepare", data)
        missing = self.plan.labels.keys() - look(self.plan).labels
        for key, labels in self.plan.labels.items():
            if key in missing:
                self._command("labels", labels)
        started, before = time.monotonic(), look(self.plan)
        self.chosen = set(before.chosen)
        self.done = set(before.trained & self.plan.candidates.keys()) | set(before.evaluated)
        # Whole replicates first, so that what is finished when the time is up can be compared.
        runs = sorted(self.plan.runs.values(), key=lambda recipe: recipe.run.seed)
        trainings = self.plan.candidates | {str(recipe.run): recipe for recipe in runs}
        self.waiting = {name: recipe for name, recipe in trainings.items() if name not in self.done}
        kept = started
        with ProcessPoolExecutor(self.processes, multiprocessing.get_context("spawn")) as self.pool:
            self._choose()
            while self._start() or self.running:
                self._collect()
                self._choose()
                if time.monotonic() - kept >= KEEP_SECONDS:
                    self.keep()
                    kept = time.monotonic()
        after = look(self.plan)
        self.worked.trained = len(after.trained - before.trained)
        self.worked.seconds = time.monotonic() - started
        self.worked.left = len(self.plan.trainings) - len(after.trained)
        if len(after.evaluated) == len(self.plan.runs) and not after.overhead and self._time_is_left():
            options = ["--seconds", str(self.execution.overhead_seconds)]
            if not self.execution.cuda_graphs:
                options.append("--no-cuda-graphs")
            # In a process of its own: this one would keep its lease, for which the next study's processes would wait.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
                self._command("overhead", self.plan.overhead, *options, by=apart)
        return self.worked

    def _command(self, name: str, recipe: Recipe, *options: str | Path, by: Executor | None = None) -> bool:
        path = recipe.write(self.plan.paths.recipes)
        shared = isinstance(recipe, DataRecipe)  # data sets belong to no study
        paths = Paths(self.plan.results) if shared else self.plan.paths
        command = [name, str(path), *paths.options, *map(str, options)]
        done = by.submit(main, command).result() if by else main(command)
        if done != 0:
            self.worked.failed.append(f"{name} {getattr(recipe, 'run', path.stem[:12])}")
        return done == 0

    def _time_is_left(self) -> bool:
        return time.monotonic() < self.end

    def _start(self) -> bool:
        """Give work to processes that have none; whether anything was given."""
        given = False
        groups = self._groups()
        while self._time_is_left() and len(self.running) < self.processes and (group := next(groups, None)):
            files = [recipe.write(self.plan.paths.recipes) for recipe in group]
            for recipe in group:
                del self.waiting[str(recipe.run)]
            asked = (files, self.plan.paths, self.execution, self.threads, self.end)
            try:
                self.running[self.pool.submit(train_and_evaluate, *asked)] = group
            except BrokenExecutor:  # a process died, which is told; the next call goes on
                return given
            given = True
        return given

    def _groups(self) -> Iterator[list[TrainRecipe]]:
        """What can be trained now, in groups; of recipes that are one training only one at a time."""
        busy = {self._asked(recipe) for group in self.running.values() for recipe in group}
        group: list[TrainRecipe] = []
        for recipe in list(self.waiting.values()):
            if not self._is_decided(recipe) or (asked := self._asked(recipe)) in busy:
                continue
            busy.add(asked)
            group.append(recipe)
            if len(group) == ROUNDS * self.threads:
                yield group
                group = []
        if group:
            yield group

    def _asked(self, recipe: TrainRecipe) -> str:
        return decide(recipe, recipe.run.dataset, recipe.run.network, self.plan.paths)[0].asked_digest

    def _is_decided(self, recipe: TrainRecipe) -> bool:
        waits = recipe.undecided.choices.items() if recipe.undecided else ()
        run = recipe.run
        return all((run.dataset, of.noise, run.network, method) in self.chosen for method, of in waits)

    def _collect(self) -> None:
        for future in wait(self.running, return_when=FIRST_COMPLETED).done:
            group = self.running.pop(future)
            error = future.exception()
            told = f"{type(error).__name__}: {error}" if error else future.result()
            self.worked.failed += told.splitlines()
            self.done |= {str(recipe.run) for recipe in group if self._is_there(recipe)}

    def _is_there(self, recipe: TrainRecipe) -> bool:
        candidate = CANDIDATE.search(recipe.run.method)
        paths = self.plan.paths
        folder = paths.run(recipe.run) if candidate else paths.evaluation(recipe.run)
        return (folder / (RECORD if candidate else METRICS)).exists()

    def _choose(self) -> None:
        """Make the choices whose candidates are all trained."""
        for key, selection in self.plan.selections.items():
            runs = {str(run) for candidate in selection.candidates for run, _ in candidate.runs}
            if key not in self.chosen and runs <= self.done and self._command("choose", selection, "--keep", "none"):
                self.chosen.add(key)
