"""Sets what exists against what is asked for, so that Snakemake's modification times tell the truth.

Snakemake compares times, and times say nothing after a clone, a restore or a reverted edit. Every artefact records
the digests of its recipe and of what it was made from. Where they fit, its recipe file gets an old time, it is no older
than what it was made from, and nothing is done; where they do not, the recipe file becomes newer than the artefact and
the artefact is made again.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import set_time
from collabpipe.data.own import is_fetched, note_unchanged
from collabpipe.plan.paths import (
    CHECKPOINT_FILES,
    DATA_FILES,
    EVALUATION_FILES,
    FIGURE_FILES,
    LABEL_INPUTS,
    OVERHEAD_FILES,
    TABLE_FILES,
    files_in,
)
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import LabelsRecipe, TrainRecipe
from collabpipe.plan.workflow import Workflow
from collabpipe.results.adoption import adopt
from collabpipe.results.state import State, look
from collabpipe.results.studies import note_study

OLD = 86400  # 2 January 1970: before any artefact, also out of an archive without times
SECOND = 10**9
PROTECTED = (
    "{path}: is write-protected, so nothing here could be made anew. DVC does this where cache.type is hardlink or "
    "symlink. Let it copy instead: dvc config --local cache.type reflink,copy && dvc checkout --relink"
)


def _settle(file: Path, artefact: Path, current: bool) -> None:
    """Make `file` older than `artefact` if that is current, newer if it exists and is not."""
    if current:
        if file.stat().st_mtime_ns != OLD * SECOND:
            set_time(file, OLD * SECOND)
    elif artefact.exists() and file.stat().st_mtime <= artefact.stat().st_mtime:
        set_time(file, max(time.time_ns(), artefact.stat().st_mtime_ns + SECOND // 1000))


def _put_after(made: _Made, benchmarks: Path) -> None:
    """Make files that are current no older than what they were made from."""
    newest = max((OLD * SECOND, *(path.stat().st_mtime_ns for path in made.made_from if path.exists())))
    # To Snakemake a job's benchmark is one of its outputs.
    for path in (*made.files, benchmarks / f"{made.job}.tsv"):
        if path.exists():
            about = path.stat()
            if not about.st_mode & stat.S_IWUSR:
                raise CollabpipeError(PROTECTED.format(path=path))
            if about.st_mtime_ns < newest:
                set_time(path, newest, or_later=True)


@dataclass(frozen=True)
class _Made:
    """What a job made that is there as asked; the job is named as its benchmark is."""

    job: str
    files: list[Path]
    made_from: list[Path]


class _Order:
    """What is there as asked, in the order of the work."""

    def __init__(self, plan: Plan, state: State):
        self.plan, self.state, self.paths = plan, state, plan.paths
        self.workflow = Workflow(plan)

    def __iter__(self) -> Iterator[_Made]:
        plan, state, paths = self.plan, self.state, self.paths
        for name in state.data:
            fetched = [paths.raw(name) / "fetched.json"]
            yield _Made(f"fetch_dataset/{name}", fetched, [])
            yield _Made(f"prepare_dataset/{name}", files_in(paths.dataset(name), DATA_FILES), fetched)
        for dataset, noise, seed in state.labels:
            files = self._labels(plan.labels[dataset, noise, seed])
            yield _Made(f"noisy_labels/{dataset}/{noise}/seed{seed}", files, self._data(dataset, *LABEL_INPUTS))
        for choice, selection in plan.selections.items():
            runs = [plan.candidates[str(run)] for candidate in selection.candidates for run, _ in candidate.runs]
            yield from self._trainings(runs)
            if choice in state.chosen:
                candidates = self.workflow.candidate_files(*choice)
                yield _Made(f"choose/{'/'.join(choice)}", [paths.choice(*choice)], candidates)
        yield from self._trainings(plan.runs.values())
        yield from self._evaluations(plan.runs.values())
        choices = [paths.choice(*key) for key in plan.selections]
        evaluations = [Path(file) for file in self.workflow.all_metrics]
        overhead = files_in(paths.overhead, OVERHEAD_FILES)
        if state.overhead:
            data = self._data(plan.overhead.data.dataset)
            yield _Made("measure_overhead", overhead, [*data, *choices, *evaluations])
        if state.tables:
            checkpoints = [Path(file) for file in self.workflow.all_records]
            made_from = [*overhead, *choices, *self.workflow.label_files, *checkpoints, *evaluations]
            yield _Made("assemble_tables", files_in(paths.tables, TABLE_FILES), made_from)
            if state.figures:
                yield _Made("draw_figures", files_in(paths.figures, FIGURE_FILES), [paths.tables / "record.json"])

    def _data(self, dataset: str, *names: str) -> list[Path]:
        return files_in(self.paths.dataset(dataset), (*names, "record.json"))

    def _labels(self, recipe: LabelsRecipe) -> list[Path]:
        path = self.paths.labels(recipe)
        return [path, path.with_suffix(".json")]

    def _jobs(self, recipes: Iterable[TrainRecipe], done: frozenset[str]) -> Iterator[tuple[str, list[TrainRecipe]]]:
        """The recipes that share a job, of jobs that are done: Snakemake compares all files of one."""
        jobs: dict[str, list[TrainRecipe]] = {}
        for recipe in recipes:
            block = self.plan.settings.execution.block(recipe.run.seed)
            jobs.setdefault(f"{recipe.run.cell}/block{block}", []).append(recipe)
        return ((name, job) for name, job in jobs.items() if all(str(recipe.run) in done for recipe in job))

    def _trainings(self, recipes: Iterable[TrainRecipe]) -> Iterator[_Made]:
        for name, job in self._jobs(recipes, self.state.trained):
            run = job[0].run
            made = [file for recipe in job for file in files_in(self.paths.run(recipe.run), CHECKPOINT_FILES)]
            labels = [file for recipe in job for file in self._labels(recipe.labels)]
            choices = self.workflow.choice_files(run.dataset, run.noise, run.network, run.method)
            made_from = [*labels, *choices, *self._data(run.dataset, "train.arrow")]
            yield _Made(f"train/{name}", made, made_from)

    def _evaluations(self, recipes: Iterable[TrainRecipe]) -> Iterator[_Made]:
        for name, job in self._jobs(recipes, self.state.evaluated):
            made = [file for recipe in job for file in files_in(self.paths.evaluation(recipe.run), EVALUATION_FILES)]
            weights = [file for recipe in job for file in files_in(self.paths.run(recipe.run), CHECKPOINT_FILES)]
            run = job[0].run
            yield _Made(f"evaluate/{name}", made, [*weights, *self._data(run.dataset, "test.arrow")])


def settle(plan: Plan) -> State:
    """Write the plan's recipes, record its study and settle the results' times; called while the Snakefile is read.

    Raises:
        CollabpipeError: the results are write-protected.
    """
    paths = plan.paths
    state = look(plan)
    note_study(plan)
    paths.selection.mkdir(parents=True, exist_ok=True)  # an output for DVC, also where nothing is searched
    for name, data in plan.data.items():
        file, folder, raw = data.write(paths.recipes), plan.data_dir(name), paths.raw(name)
        if name not in state.data and not is_fetched(data, folder, raw):
            # Else a failed preparation would be tried again with what was fetched before the files were set right.
            _settle(file, raw / "fetched.json", current=False)
        _settle(file, paths.data_record(data), name in state.data)
        if folder is not None and state.own.get(name):
            note_unchanged(raw, folder, state.own[name])
    for key, labels in plan.labels.items():
        _settle(labels.write(paths.recipes), paths.labels(labels).with_suffix(".json"), key in state.labels)
    for choice, selection in plan.selections.items():
        _settle(selection.write(paths.recipes), paths.choice(*choice), choice in state.chosen)
    for name, recipe in plan.trainings.items():
        record = paths.run(recipe.run) / "record.json"
        _settle(recipe.write(paths.recipes), record, name in state.trained)
        if name in state.trained and name not in state.evaluated:
            # An evaluation of another training: the training's record, an input of evaluation, becomes newer.
            _settle(record, paths.evaluation(recipe.run) / "metrics.json", current=False)
    _settle(plan.overhead.write(paths.recipes), paths.overhead / "overhead.json", state.overhead)
    _settle(plan.study.write(paths.recipes), paths.tables / "record.json", state.tables)
    if state.tables and not state.figures:
        # Figures of another study: the tables' record, an input of drawing, becomes newer.
        _settle(paths.tables / "record.json", paths.figures / "record.json", current=False)
    for made in _Order(plan, state):
        _put_after(made, paths.benchmarks)
    adopt(plan, state)
    return state
