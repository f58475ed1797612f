"""What the rules of the workflow ask a plan: which files belong together, and how jobs are cut."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from collabpipe.common.errors import CollabpipeError, nearest
from collabpipe.host.gpus import MASK, find_gpus, visible_devices
from collabpipe.plan.paths import CHECKPOINT_FILES, EVALUATION_FILES, METRICS, RECORD
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import Recipe

ENTITIES = ("{dataset}", "{noise}", "{network}", "{method}")
"""The wildcards of a cell."""
BLOCK_WORK = ("train", "evaluate")
"""What each block has a rule for."""


def slurm_step() -> str:
    """What a training's command begins with in a job of SLURM, as a part of a rule's `shell`: a step of its own.

    Where SLURM tracks processes by cgroups it signals the leaders of steps alone. Where it tracks them by parents all
    processes of a step get the signal, and an srun among them would kill what it started.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return ""
    if "SLURM_STEP_ID" in os.environ and "slurm" not in Path("/proc/self/cgroup").read_text(encoding="utf-8"):
        return ""
    return "srun --overlap -n1 -c{threads} --cpu-bind=q --mem=0 ${{CUDA_VISIBLE_DEVICES:+--gpus=1}} "


@dataclass(frozen=True)
class Block:
    """Seeds that share a process, of the methods (or candidates) that a pattern names."""

    name: str
    """What its rules are named after; nothing where one rule has the jobs of all seeds."""
    number: str
    """Names its logs among those of the other blocks of a cell."""
    seeds: tuple[int | str, ...]
    """Or the wildcard that stands for any seed, where each has a process of its own."""
    methods: str

    def rule(self, work: str) -> str:
        """The name of its rule for `train` or `evaluate`."""
        return f"{work}_{self.name}" if self.name else work


def for_all_blocks(given: MutableMapping[str, Any], blocks: Sequence[Block], named: Callable[[str], str]) -> None:
    """Let what an option sets for `train` or `evaluate` hold for the rule of each block, unless it names that one.

    Args:
        given: what is set, by rule.
        blocks: the blocks of the study.
        named: how a module renames a rule.
    """
    for work in BLOCK_WORK:
        if named(work) in given:
            for block in blocks:
                given.setdefault(named(block.rule(work)), given[named(work)])


def missing_rules(given: Iterable[str], rules: Iterable[str]) -> str:
    """What to tell who sets resources or threads of rules that are not among `rules`; else nothing."""
    known = sorted({*rules, *BLOCK_WORK})
    unknown = sorted(set(given) - set(known))
    if not unknown:
        return ""
    hints = "".join(nearest(name, known) for name in unknown)
    return f"--set-resources, --set-threads: no rule {', '.join(unknown)}.{hints} Rules: {', '.join(known)}."


@dataclass(frozen=True)
class Workflow:
    """The files of a plan, by the wildcards of a rule."""

    plan: Plan

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The seeds that share a process: a seed's block does not change when others come or go."""
        settings = self.plan.settings
        methods = "|".join(map(re.escape, settings.methods))
        if settings.execution.seeds_per_job == 1:
            # One rule for all: beside thousands of rules Snakemake takes a minute to plan.
            return (Block("", "{seed}", ("{seed}",), rf"(?:{methods})(?:\.candidate\d+)?"),)
        found = [Block(n, n, seeds, methods) for n, seeds in self._packed(settings.seeds)]
        searched: dict[tuple[int, ...], list[str]] = {}
        for name, kind in settings.searches.items():
            searched.setdefault(kind.select.seeds, []).append(re.escape(name))
        for seeds, names in searched.items():
            for number, packed in self._packed(seeds):
                pattern = rf"(?:{'|'.join(names)})\.candidate\d+"
                found.append(Block(f"candidates_{len(found)}", number, packed, pattern))
        return tuple(found)

    def _packed(self, seeds: Sequence[int]) -> list[tuple[str, tuple[int, ...]]]:
        blocks: dict[str, tuple[int, ...]] = {}
        for seed in sorted(seeds):
            number = str(self.plan.settings.execution.block(seed))
            blocks[number] = (*blocks.get(number, ()), seed)
        return list(blocks.items())

    def recipe_file(self, recipe: Recipe) -> Path:
        """Where a recipe lies."""
        return self.plan.paths.recipes / f"{recipe.digest}.json"

    def recipe_files(
        self, dataset: str, noise: str, network: str, method: str, seeds: Sequence[int | str], seed: str = ""
    ) -> list[Path]:
        """The recipes of some seeds of a cell; `seed` is what a wildcard among them stands for."""
        cell = f"{dataset}/{noise}/{network}/{method}"
        names = [f"{cell}/seed{str(one).format(seed=seed)}" for one in seeds]
        return [self.recipe_file(self.plan.trainings[name]) for name in names]

    def choice_files(self, dataset: str, noise: str, network: str, method: str) -> list[Path]:
        """The choices that a method's (or candidate's) training takes its hyper-parameters from."""
        undecided = self.plan.undecided((dataset, noise, network), method)
        choices = undecided.choices.items() if undecided else ()
        return [self.plan.paths.choice(dataset, of.noise, network, name) for name, of in choices]

    def candidate_files(self, dataset: str, noise: str, network: str, method: str) -> list[Path]:
        """The records of all trainings that a choice is made from."""
        recipe = self.plan.selections[dataset, noise, network, method]
        return [self.plan.paths.run(run) / RECORD for one in recipe.candidates for run, _ in one.runs]

    def checkpoints(self, seeds: Sequence[int | str]) -> list[str]:
        """Patterns of the checkpoints of some seeds."""
        folders = [self.plan.paths.run_folder(*ENTITIES, seed) for seed in seeds]
        return [str(folder / name) for folder in folders for name in CHECKPOINT_FILES]

    def records(self, seeds: Sequence[int | str]) -> list[str]:
        """Patterns of the records that stand for the checkpoints of some seeds."""
        return [str(self.plan.paths.run_folder(*ENTITIES, seed) / RECORD) for seed in seeds]

    def evaluations(self, seeds: Sequence[int | str]) -> list[str]:
        """Patterns of the evaluations of some seeds."""
        folders = [self.plan.paths.evaluation_folder(*ENTITIES, seed) for seed in seeds]
        return [str(folder / name) for folder in folders for name in EVALUATION_FILES]

    @property
    def label_files(self) -> list[Path]:
        """All label files and their records."""
        files = [self.plan.paths.labels(recipe) for recipe in self.plan.labels.values()]
        return [part for file in files for part in (file, file.with_suffix(".json"))]

    @property
    def overhead_choices(self) -> list[Path]:
        """The choices that the measured methods take their hyper-parameters from."""
        dataset, noise, _ = self.plan.cells[0]
        methods = self.plan.overhead.methods
        files = [path for m in methods for path in self.choice_files(dataset, noise, m.network_name, m.method)]
        return list(dict.fromkeys(files))

    # Snakemake looks up each input among the outputs of all blocks. So one file stands for a run: whichever other file
    # is missing, settling makes the run's recipe newer than its record.

    @cached_property
    def all_records(self) -> list[str]:
        """The records of every run of the study, which stand for its checkpoints."""
        return [str(self.plan.paths.run(recipe.run) / RECORD) for recipe in self.plan.runs.values()]

    @cached_property
    def all_metrics(self) -> list[str]:
        """The metrics of every run of the study, which stand for its evaluation."""
        return [str(self.plan.paths.evaluation(recipe.run) / METRICS) for recipe in self.plan.runs.values()]

    @property
    def gpus(self) -> int:
        """The GPUs that a job that trains or predicts asks for."""
        return min(self.plan.settings.execution.jobs_per_gpu, 1)

    def gpu_hint(self, limit: int | None) -> str:
        """What to tell who starts the study on a host with GPUs and sets no limit that fits; else nothing."""
        jobs = self.plan.settings.execution.jobs_per_gpu
        try:
            gpus = len(visible_devices(os.environ.get(MASK), find_gpus())) if jobs else 0
        except CollabpipeError as error:
            return str(error)
        if not gpus or (limit is not None and limit <= gpus * jobs):
            return ""
        asked = f"--resources gpu={limit}" if limit is not None else "no --resources gpu=N"
        return (
            f"{gpus} GPUs here, {jobs} training{'s' * (jobs > 1)} each (execution.jobs_per_gpu), and {asked}. "
            f"--resources gpu={gpus * jobs} uses them all and keeps no core for a training that waits for one."
        )

    # The options of the commands, quoted for a shell.

    def _options(self, *options: str) -> str:
        return shlex.join(["--results", str(self.plan.paths.root), *options])

    @property
    def options(self) -> str:
        """The options of every command."""
        return self._options()

    def fetch_options(self, dataset: str) -> str:
        """The options of `collabpipe fetch` that say where files may come from."""
        data = self.plan.settings.datasets[dataset]
        folder = self.plan.data_dir(dataset)
        options = [] if folder is None else ["--data-dir", str(folder)]
        for mirror in data.mirrors:
            options += ["--mirror", mirror]
        if self.plan.settings.execution.offline:
            options.append("--offline")
        return self._options(*options)

    @property
    def train_options(self) -> str:
        """The options of `collabpipe train` that say how it saves and where it runs."""
        execution = self.plan.settings.execution
        options = ["--save-seconds", str(execution.save_seconds), "--jobs-per-gpu", str(execution.jobs_per_gpu)]
        if execution.trainings_at_once > 1:
            options += ["--at-once", str(execution.trainings_at_once)]
        if execution.save_epochs:
            options += ["--save-epochs", str(execution.save_epochs)]
        if execution.stage:
            options += ["--stage", execution.stage]
        return self._options(*options)

    @property
    def choose_options(self) -> str:
        """The options of `collabpipe choose`."""
        return self._options("--keep", self.plan.settings.execution.keep_weights)

    @property
    def evaluate_options(self) -> str:
        """The options of `collabpipe evaluate`."""
        execution = self.plan.settings.execution
        return self._options("--keep", execution.keep_weights, "--jobs-per-gpu", str(execution.jobs_per_gpu))

    @property
    def overhead_options(self) -> str:
        """The options of `collabpipe overhead`."""
        options = ["--seconds", str(self.plan.settings.execution.overhead_seconds)]
        return self._options(*options, *(() if self.gpus else ("--cpu",)))
