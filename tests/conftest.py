"""Shared fixtures: a small finished study, made once by the real pipeline and copied for each test that needs one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

REPOSITORY = Path(__file__).parent.parent
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
    "execution": {"seeds_per_job": 2},
}


class Workspace:
    """A checkout's working folder with a configuration of its own; commands run in it as a user would run them."""

    def __init__(self, root: Path):
        self.root = root
        self.results = root / "results"

    @classmethod
    def create(cls, root: Path, config: dict[str, Any]) -> Workspace:
        """A folder with the repository's workflow and `config` as its default study."""
        root.mkdir(parents=True)
        for name in ("Snakefile", "rules", "profiles"):
            source = REPOSITORY / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
        workspace = cls(root)
        workspace.configure(config)
        return workspace

    @property
    def config(self) -> Path:
        """The default study's file."""
        return self.root / "config" / "config.yaml"

    def configure(self, config: dict[str, Any]) -> None:
        """Replace the default study."""
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def run(self, *command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment the tests run in; its output is captured."""
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.root,
            env=environment | options.pop("env", {}),
            capture_output=True,
            text=True,
            **options,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{command} exited with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on two cores."""
        return self.run("snakemake", "--cores", "2", *arguments, check=check)

    def collabpipe(self, *arguments: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.run("collabpipe", *arguments, check=check, **options)

    def trainings(self) -> set[str]:
        """Keys of all trainings that were ever finished here: what a store hit does not add to."""
        return {path.parent.name for path in self.results.glob("store/*/*/result.json") if (path.parent / "last.safetensors").exists()}


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of a small study that Snakemake has finished; shared by all workers and never written to."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "finished"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            workspace = Workspace.create(shared.with_suffix(".making"), SMALL)
            workspace.snakemake()
            workspace.root.rename(shared)
    return shared


@pytest.fixture
def study(finished_study: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the finished study, its times and links kept."""
    root = tmp_path / "study"
    # cp keeps the hard links between the store and the runs, as a user's own folder has them.
    subprocess.run(["cp", "-a", str(finished_study), str(root)], check=True)
    yield Workspace(root)


@pytest.fixture
def fresh(tmp_path: Path) -> Workspace:
    """A folder in which nothing has run yet."""
    return Workspace.create(tmp_path / "fresh", SMALL)
