"""Projects that share a study through git and DVC: the small finished study, shared once and copied for each test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from collabpipe.common.files import json_digest, read_json
from collabpipe.plan.paths import STAGES
from tests.workspaces import REPOSITORY, Workspace

CELL = "digits/symmetric-0.5/resnet8"
WHO = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
DVC_STAGES = (STAGES[0], *(f"{stage}@small" for stage in STAGES[1:]))
SKIPS_ALL = [f"Stage '{stage}' didn't change, skipping" for stage in DVC_STAGES]
PROJECT_FILES = (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "collabpipe")


class Project(Workspace):
    """A git repository with the workflow, the package and DVC beside the results."""

    def __init__(self, root: Path, **environment: str):
        super().__init__(root)
        self.more = environment

    @classmethod
    def begin(cls, root: Path, config: dict[str, Any]) -> Project:
        """A project in which nothing has run yet; its remote is the folder `remote` beside it."""
        Workspace.create(root, config)
        for name in PROJECT_FILES:
            source, target = REPOSITORY / name, root / name
            target.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        project = cls(root)
        project.run("git", "init", "--quiet")
        project.dvc("remote", "add", "--default", "folder", "../remote")  # beside a clone as well
        project.dvc("remote", "modify", "folder", "verify", "true")
        project.commit("begin")
        return project

    @property
    def environment(self) -> dict[str, str]:
        git = {f"GIT_{who}": "someone@example.org" for who in WHO}
        kept = {name: value for name, value in super().environment.items() if not name.startswith("SNAKEMAKE_")}
        return kept | git | {"DVC_SITE_CACHE_DIR": str(self.root / ".dvc" / "tmp" / "site")} | self.more

    def dvc(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run DVC."""
        return self.run("dvc", *arguments, **options)

    def commit(self, message: str) -> None:
        """Commit whatever changed."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def cloned(self, name: str = "clone") -> Project:
        """A fresh clone of the last commit, beside this project."""
        self.run("git", "clone", "--quiet", self.root, self.root.parent / name)
        return Project(self.root.parent / name, **self.more)

    @property
    def remote(self) -> Path:
        """The folder remote."""
        return self.root.parent / "remote"

    @property
    def lock(self) -> str:
        """What dvc.lock says."""
        return (self.root / "dvc.lock").read_text()

    def hashes(self) -> dict[str, str]:
        """The hash of each output in dvc.lock."""
        stages = yaml.safe_load(self.lock)["stages"].values()
        return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}

    def shared(self) -> dict[str, bytes]:
        """The content of every file below the outputs that dvc.lock names."""
        found: dict[str, bytes] = {}
        for name in self.hashes():
            out = self.root / name
            files = [out] if out.is_file() else [file for file in out.rglob("*") if file.is_file()]
            kept = [file for file in files if file.name != ".lock"]
            found |= {str(file.relative_to(self.root)): file.read_bytes() for file in kept}
        return found

    def stored(self, name: str) -> Path:
        """The object in the folder remote that holds the file, or the list of the folder, `name` of this project."""
        path, hashes = self.root / name, self.hashes()
        md5 = hashes.get(name) or self.run("md5sum", path).stdout.split()[0]
        return self.remote / "files" / "md5" / md5[:2] / md5[2:]

    def cost_records(self) -> dict[str, str]:
        """The run of each training that was ever finished here or restored, by the digest of what it cost.

        A training measures its own seconds, so two trainings never cost the same; what comes from the store or from
        elsewhere keeps the record of the training that made it. The store keeps the costs of trainings whose run has
        another result by now.
        """
        found: dict[str, str] = {}
        for result in self.results.glob("store/*/*/result.json"):
            if cost := read_json(result).get("cost"):
                found[json_digest(cost)] = read_json(result.parent / "asked.json")["run"]
        folder = self.folder / "provenance" / "runs"
        for file in folder.rglob("*.json"):
            found.setdefault(json_digest(read_json(file)["cost"]), str(file.relative_to(folder).with_suffix("")))
        return found

    @contextmanager
    def trains(self, *runs: str) -> Iterator[None]:
        """What is done inside trains exactly these runs (METHOD/seedN); a restore inside would count as well."""
        before = self.cost_records()
        yield
        new = sorted(run for cost, run in self.cost_records().items() if cost not in before)
        wanted = sorted(f"{CELL}/{run}" for run in runs)
        assert new == wanted, f"trained: {new}, not: {wanted}"

    @contextmanager
    def working(self, *command: str | Path) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on in a process group of its own, which is killed in the end."""
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def killed(self, *command: str | Path, when: Callable[[], bool]) -> None:
        """Start a command and kill -9 it with all its children as soon as `when` is true."""
        with self.working(*command) as process:
            wait_for(lambda: process.poll() is not None or when())
            assert process.poll() is None, f"it ended too early to be killed: {process.communicate()[0]}"


def wait_for(condition: Callable[[], bool], seconds: float = 600) -> None:
    """Wait until `condition` holds."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.002)


def files_below(folder: Path) -> int:
    """How many files lie below `folder`, half-written ones included."""
    return sum(len(files) for _, _, files in os.walk(folder))


def flip_a_bit(file: Path) -> None:
    """Damage one byte in the middle of a file; links to it and its write protection stay as they are."""
    mode = file.stat().st_mode
    file.chmod(0o644)
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2)
        byte = content.read(1)
        content.seek(-1, os.SEEK_CUR)
        content.write(bytes([byte[0] ^ 1]))
    file.chmod(mode)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with its times and links."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
