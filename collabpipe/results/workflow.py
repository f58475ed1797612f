"""What the rules of the workflow ask a plan: which files belong together, and how jobs are cut."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from collabpipe.common.counts import counted
from collabpipe.common.errors import CollabpipeError, nearest
from collabpipe.host.gpus import MASK, find_gpus, visible_devices
from collabpipe.plan.paths import CHECKPOINT_FILES, EVALUATION_FILES, Paths
from collabpipe.plan.plan import Plan
from collabpipe.results.artefact import AnyArtefact
from collabpipe.results.artefacts import artefacts

CELL = "{dataset}/{noise}/{network}/{method}"
"""The wildcards of a cell."""
TEST_SET = "{test_set}"
BLOCK_WORK = ("train", "evaluate", "test")
"""What each block has a rule for."""


def slurm_step() -> str:
    """The prefix that starts a training as a SLURM step of its own, for a rule's `shell`; empty outside of SLURM jobs.

    Where SLURM tracks processes by cgroups it signals the leaders of steps alone. Where it tracks them by parents all
    processes of a step get the signal, and an srun among them would kill what it started.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return ""
    if "SLURM_STEP_ID" in os.environ and "slurm" not in Path("/proc/self/cgroup").read_text(encoding="utf-8"):
        return ""
    return "srun --overlap -n1 -c{threads} --cpu-bind=q --mem=0 ${{CUDA_VISIBLE_DEVICES:+--gpus=1}} "


def check_folder(plan: Plan, folder: str) -> None:
    """Compare the folder that dvc.yaml gives a study with the study's own: else its outputs would lie elsewhere.

    Raises:
        CollabpipeError: it is another one.
    """
    if folder != plan.paths.study:
        raise CollabpipeError(
            f"dvc.yaml: vars: studies: {folder}: {', '.join(map(str, plan.files))} describes study "
            f"{plan.settings.study}, whose results lie in {plan.paths.folder}. Write {plan.paths.study} in place of "
            f"{folder} in dvc.yaml."
        )


def check_dvc_stage(plan: Plan) -> None:
    """Make sure that DVC, if it runs this, finds the outputs of the study.

    Raises:
        CollabpipeError: the stage is of another folder.
    """
    stage, _, folder = os.environ.get("DVC_STAGE", "").rpartition("@")
    if stage:
        check_folder(plan, folder)


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

    def job(self, work: str) -> str:
        """The pattern of the names of its jobs, which their logs have too."""
        entities = f"{TEST_SET}/{CELL}" if work == "test" else CELL
        return f"{work}/{entities}/block{self.number}"

    def rule(self, work: str) -> str:
        """The name of its rule for `train`, `evaluate` or `test`."""
        return f"{work}_{self.name}" if self.name else work


def for_all_blocks(given: MutableMapping[str, Any], blocks: Sequence[Block], named: Callable[[str], str]) -> None:
    """Apply settings for one of `BLOCK_WORK` to the rule of every block, except those that name a block's own rule.

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
    told = f"--set-resources, --set-threads: collabpipe has no rule {', '.join(unknown)}.{hints}"
    return f"{told} Its rules: {', '.join(known)}."


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
            # One rule for all: with thousands of rules Snakemake takes a minute to plan.
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

    @cached_property
    def _artefacts(self) -> list[AnyArtefact]:
        return artefacts(self.plan)

    @cached_property
    def _jobs(self) -> dict[str, list[AnyArtefact]]:
        jobs: dict[str, list[AnyArtefact]] = {}
        for artefact in self._artefacts:
            jobs.setdefault(artefact.job, []).append(artefact)
        return jobs

    def recipes(self, job: str, **wildcards: str) -> list[Path]:
        """The recipes of the artefacts that a job makes."""
        made = self._jobs[job.format(**wildcards)]
        return [self.plan.paths.recipe(artefact.recipe.digest) for artefact in made]

    def reads(self, job: str, **wildcards: str) -> list[Path]:
        """What a job reads in addition to recipes."""
        return list(dict.fromkeys(file for artefact in self._jobs[job.format(**wildcards)] for file in artefact.reads))

    # Snakemake looks up each input among the outputs of all blocks. So one file stands for an artefact: whichever other
    # file is missing, settling makes the recipe newer than the record.

    def records(self, kind: str) -> list[Path]:
        """The records of all artefacts of a kind."""
        return [artefact.record for artefact in self._artefacts if artefact.kind == kind]

    def checkpoints(self, seeds: Sequence[int | str]) -> list[str]:
        """Patterns of the checkpoints of some seeds."""
        folders = [self.plan.paths.run(f"{CELL}/seed{seed}") for seed in seeds]
        return [str(folder / name) for folder in folders for name in CHECKPOINT_FILES]

    def evaluations(self, seeds: Sequence[int | str]) -> list[str]:
        """Patterns of the evaluations of some seeds."""
        folders = [self.plan.paths.evaluation(f"{CELL}/seed{seed}") for seed in seeds]
        return [str(folder / name) for folder in folders for name in EVALUATION_FILES]

    def tests(self, seeds: Sequence[int | str]) -> list[str]:
        """Patterns of the evaluations of some seeds on further test sets."""
        folders = [self.plan.paths.test(f"{CELL}/seed{seed}", TEST_SET) for seed in seeds]
        return [str(folder / name) for folder in folders for name in EVALUATION_FILES]

    def threads(self, wildcards: Mapping[str, str]) -> int:
        """How many threads a job has that trains or predicts."""
        return self.plan.settings.training_of(wildcards["dataset"]).threads

    @property
    def gpu_slots(self) -> int:
        """How many of Snakemake's resource `gpu` a job asks for that trains or predicts."""
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
            f"{counted(gpus, 'GPU', 'GPUs')} here, {counted(jobs, 'training', 'trainings')} each "
            f"(execution.jobs_per_gpu), and {asked}. "
            f"--resources gpu={gpus * jobs} leaves none idle, and no training occupies a core while it waits for a GPU."
        )

    # The options of the commands, quoted for a shell.

    def _options(self, *options: str) -> str:
        return shlex.join([*self.plan.paths.options, *options])

    @property
    def options(self) -> str:
        """The options of a command that makes something of the study."""
        return self._options()

    @property
    def shared_options(self) -> str:
        """The options of a command that makes what all studies share."""
        return shlex.join(Paths(self.plan.results).options)

    def fetch_options(self, dataset: str) -> str:
        """The options of `collabpipe fetch` that say where files may come from."""
        data = self.plan.settings.image_sets[dataset]
        folder = self.plan.data_dir(dataset)
        options = Paths(self.plan.results).options
        if folder is not None:
            options += ["--data-dir", str(folder)]
        for mirror in data.mirrors:
            options += ["--mirror", mirror]
        if self.plan.settings.execution.offline:
            options.append("--offline")
        return shlex.join(options)

    def label_options(self, noise: str, seed: str, **_: str) -> str:
        """The options of `collabpipe labels`, with the label file of a noise that takes one."""
        file = self.plan.noise_files.path(noise, int(seed))
        return self._options(*(() if file is None else ("--file", str(file))))

    @property
    def train_options(self) -> str:
        """The options of `collabpipe train` that say how it saves and where it runs."""
        execution = self.plan.settings.execution
        options = ["--save-seconds", str(execution.save_seconds), "--jobs-per-gpu", str(execution.jobs_per_gpu)]
        if execution.trainings_at_once > 1:
            options += ["--at-once", str(execution.trainings_at_once)]
        if execution.save_epochs:
            options += ["--save-epochs", str(execution.save_epochs)]
        if not execution.cuda_graphs:
            options.append("--no-cuda-graphs")
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
    def test_options(self) -> str:
        """The options of `collabpipe test`."""
        return self._options("--jobs-per-gpu", str(self.plan.settings.execution.jobs_per_gpu))

    @property
    def overhead_options(self) -> str:
        """The options of `collabpipe overhead`."""
        execution = self.plan.settings.execution
        options = ["--seconds", str(execution.overhead_seconds)]
        if not execution.cuda_graphs:
            options.append("--no-cuda-graphs")
        return self._options(*options, *(() if self.gpu_slots else ("--cpu",)))
