"""The small study, and folders to work on it: with the commands as a user has them, or in this process."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from collabpipe.cli import main
from collabpipe.common.files import read_json
from collabpipe.data.labels import LabelFile, make_labels, read_labels
from collabpipe.data.prepared import Images, data_record, open_images
from collabpipe.plan.paths import STAGES, Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.settings.study import check_settings
from tests import forks

if TYPE_CHECKING:  # most tests run the commands and need no torch of their own
    from collabpipe.training.engine import Training

REPOSITORY = Path(__file__).parent.parent
PLUGINS = REPOSITORY / "docs" / "examples" / "plugins"
SMALL: dict[str, Any] = {
    "study": "small",
    "datasets": {"digits": {"train_size": 200, "validation_size": 50}},
    "noise": ["symmetric-0.5"],
    "networks": {"resnet8": {"width": 4}},
    "methods": {
        "baseline": {},
        "output": {"heads": 2, "split": "stage2"},
        "output_control": {"control_of": "output"},
    },
    "seeds": [0, 1],
    "training": {"epochs": 2, "batch_size": 64},
    "execution": {"seeds_per_job": 2, "overhead_seconds": 0.1},
}


def altered(changes: Mapping[str, Any], base: Mapping[str, Any] = SMALL) -> dict[str, Any]:
    """A copy of the study `base` with `changes` merged in, key by key; a key changed to None is left out."""
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = altered(value, merged[key])
        else:
            merged[key] = copy.deepcopy(value)
    return merged


class Workspace:
    """A checkout's working folder with a configuration of its own; commands run in it as a user would run them."""

    def __init__(self, root: Path):
        self.root = root
        self.results = root / "results"

    @classmethod
    def create(cls, root: Path, config: dict[str, Any]) -> Workspace:
        """A folder with the repository's workflow and `config` as its default study."""
        root.mkdir(parents=True)
        for name in ("Snakefile", "rules", "profiles", "dvc.yaml"):
            source = REPOSITORY / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
        workspace = cls(root)
        workspace.configure(config)
        stages, folder = root / "dvc.yaml", workspace.plan.paths.study
        text = stages.read_text().replace("default: config/", f"{folder}: config/")
        stages.write_text(text.replace("{studies.default}", f"{{studies.{folder}}}"))
        return workspace

    @property
    def config(self) -> Path:
        """The default study's file."""
        return self.root / "config" / "config.yaml"

    def configure(self, config: dict[str, Any]) -> None:
        """Replace the default study."""
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    @property
    def plan(self) -> Plan:
        """The plan of the default study as it is configured now."""
        return Plan.from_files([self.config], self.results)

    @property
    def paths(self) -> Paths:
        """The files of the default study."""
        return self.plan.paths

    @property
    def folder(self) -> Path:
        """The folder of the default study's results."""
        return self.paths.folder

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which the commands of the tests' own environment are found first."""
        return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self, *command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment the tests run in; its output is captured.

        Named without a folder, collabpipe and Snakemake run in forks, and so do the commands that they or DVC start.
        """
        environment = self.environment
        if command[0] in (*forks.COMMANDS, "dvc"):
            environment["PATH"] = f"{forks.folder()}:{environment['PATH']}"
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.root,
            env=environment | options.pop("env", {}),
            capture_output=True,
            text=True,
            **options,
        )
        if check and done.returncode != 0:
            shown = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            raise AssertionError(f"{command} exited with {done.returncode}:\n{shown}")
        return done

    def snakemake(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on two cores."""
        return self.run("snakemake", "--cores", "2", *arguments, check=check)

    def collabpipe(
        self, *arguments: str | Path, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.run("collabpipe", *arguments, check=check, **options)

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command and leave it running; its output is dropped, logs are in the results folder."""
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.root,
            env=self.environment | options.pop("env", {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **options,
        )

    def _finished(self, file: str) -> set[str]:
        found = self.results.glob("store/*/*/result.json")
        return {path.parent.name for path in found if (path.parent / file).exists()}

    def trainings(self) -> set[str]:
        """Keys of all trainings that were ever finished here: what a store hit does not add to."""
        return self._finished("last.safetensors")

    def evaluations(self) -> set[str]:
        """Keys of all evaluations that were ever finished here."""
        return self._finished("predictions.parquet")

    def records(self) -> dict[str, dict[str, Any]]:
        """The training record of each run of the plan that has one, by the run's name."""
        folders = {name: self.plan.paths.run(recipe.run) for name, recipe in self.plan.runs.items()}
        return {name: read_json(f / "record.json") for name, f in folders.items() if (f / "record.json").exists()}

    def costs(self) -> dict[str, dict[str, Any]]:
        """What each recorded run of the plan cost, by the run's name."""
        paths = self.plan.paths
        folders = {name: paths.run(recipe.run) for name, recipe in self.plan.runs.items() if name in self.records()}
        return {name: read_json(paths.provenance(folder))["cost"] for name, folder in folders.items()}

    def keys(self, *methods: str) -> set[str]:
        """The store's keys of all runs of these methods, as their records name them."""
        return {record["key"] for record in self.records().values() if record["run"]["method"] in methods}

    def table(self) -> pd.DataFrame:
        """The main table, by method."""
        return pd.read_csv(self.paths.tables / "main.csv").set_index("method")

    def times(self, leave_out: str = "") -> dict[str, int]:
        """The modification time (ns) of every result, but those in the folder to leave out."""
        files = (path for path in self.results.rglob("*") if path.is_file())
        return {
            str(name): path.stat().st_mtime_ns
            for path in files
            if (name := path.relative_to(self.results)).parts[0] != leave_out
        }


def jobs(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The jobs that a run of Snakemake had to do, by rule, without its targets; blocks of a rule are added up."""
    table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)\ntotal", done.stdout + done.stderr, re.M | re.S)
    counts: dict[str, int] = {}
    for line in table.group(1).splitlines() if table else ():
        name, count = line.split()
        rule = re.sub(r"_\d+$", "", name)
        # Figures and the page are made whenever tables are; alone they have their own tests.
        if rule not in {"draw_figures", "write_report", "all", *STAGES}:
            counts[rule] = counts.get(rule, 0) + int(count)
    return counts


def key_of(plan: Plan, run: str) -> str:
    """The store's key of a run whose labels are made."""
    recipe = plan.runs[run]
    data = data_record(recipe.labels.data, plan.paths.dataset(recipe.run.dataset))
    labels = read_labels(plan.paths.labels(recipe.labels), recipe.labels)
    return recipe.key({"train.arrow": data["files"]["train.arrow"]["sha256"], "labels": labels.sha256})


def with_plugins(workspace: Workspace) -> None:
    """Make the examples of plugins the workspace's default study."""
    for plugin in PLUGINS.glob("*.py"):
        shutil.copy(plugin, workspace.config.parent)
    shutil.copy(PLUGINS / "study.yaml", workspace.config)


@dataclass(frozen=True)
class Lab:
    """Trainings in this process, on a prepared data set that lies in `results`."""

    results: Path

    def plan(self, changes: Mapping[str, Any]) -> Plan:
        """The plan of the small study with `changes`."""
        return Plan(check_settings(altered(changes), {}), self.results)

    def recipe(self, changes: Mapping[str, Any], method: str = "baseline", seed: int = 0) -> TrainRecipe:
        """The recipe of one run of the small study with `changes`."""
        return self.plan(changes).runs[f"digits/symmetric-0.5/resnet8/{method}/seed{seed}"]

    @cached_property
    def images(self) -> Images:
        """The training images."""
        return open_images(self.plan({}).data["digits"], Paths(self.results).dataset("digits"), "train")

    def labels(self, recipe: TrainRecipe) -> LabelFile:
        """The labels that a recipe asks for."""
        return make_labels(recipe.labels, self.images, {})

    def training(self, recipe: TrainRecipe) -> Training:
        """A training at its beginning."""
        import torch

        from collabpipe.training.engine import Training

        return Training(recipe, self.images, self.labels(recipe), torch.device("cpu"))

    def trained(self, recipe: TrainRecipe) -> Training:
        """A training at its end."""
        training = self.training(recipe)
        for _ in training.run():
            pass
        return training

    def lay_out(self, root: Path, changes: Mapping[str, Any]) -> tuple[Paths, dict[str, Path]]:
        """A results folder with all that the small study with `changes` trains from, and its recipes by run."""
        plan = Plan(check_settings(altered(changes), {}), root / "results")
        shutil.copytree(self.results, plan.results)
        for labels in plan.labels.values():
            assert main(["labels", str(labels.write(plan.paths.recipes)), *plan.paths.options]) == 0
        return plan.paths, {name: recipe.write(plan.paths.recipes) for name, recipe in plan.runs.items()}
