"""Two users of one group work in one checkout."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from collabpipe.common.files import read_json, save_tensors, write_json
from tests import forks
from tests.workspaces import Workspace, altered

GROUP = 54320
FIRST, SECOND = 54321, 54322
ONE_METHOD = {"methods": {"output": None, "output_control": None}, "execution": {"seeds_per_job": 1}}


pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can start commands of other users"
)


@pytest.fixture
def checkout() -> Iterator[Workspace]:
    """A checkout that belongs to the group."""
    parent = Path(tempfile.mkdtemp(prefix="users"))
    parent.chmod(0o755)
    try:
        workspace = Workspace.create(parent / "checkout", altered(ONE_METHOD))
        for path in (workspace.root, *workspace.root.rglob("*")):
            os.chown(path, FIRST, GROUP)
            path.chmod(path.stat().st_mode | stat.S_IWGRP | stat.S_IRGRP | (stat.S_ISGID if path.is_dir() else 0))
        yield workspace
    finally:
        shutil.rmtree(parent)


def by(number: int, checkout: Workspace, *command: str, umask: int = 0o002) -> subprocess.CompletedProcess[str]:
    """A command of one of the users."""
    user = forks.User(number, GROUP, checkout.root.parent / str(number))
    if not user.home.exists():
        user.home.mkdir()
        os.chown(user.home, number, GROUP)
    environment = checkout.environment | user.environment
    if command[0] == "snakemake":
        environment["PATH"] = f"{forks.folder(user)}:{environment['PATH']}"
    return subprocess.run(
        [*user.become, *command],
        cwd=checkout.root,
        env=environment,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_each_continues_what_the_other_began(checkout: Workspace) -> None:
    def snakemake(user: int, *arguments: str) -> str:
        done = by(user, checkout, "snakemake", "--cores", "2", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    snakemake(FIRST)
    assert "Nothing to be done" in snakemake(SECOND, "-n")
    before = checkout.trainings()

    checkout.configure(altered({**ONE_METHOD, "seeds": [0, 1, 2]}))
    snakemake(SECOND)
    assert len(checkout.trainings() - before) == 1
    assert "Nothing to be done" in snakemake(FIRST, "-n")

    for name in ("train.arrow", "record.json"):  # as after a restore: times that say nothing
        path = checkout.results / "datasets" / "digits" / name
        os.utime(path)
    assert "Nothing to be done" in snakemake(SECOND, "-n")
    assert "Nothing to be done" in snakemake(FIRST, "-n")
    owners = {path.stat().st_uid for path in checkout.results.rglob("record.json")}
    assert owners == {FIRST, SECOND}
    # These users read whatever root may read, as the interpreter may lie in root's home; the group may not.
    files = [path for path in checkout.results.rglob("*") if path.is_file()]
    assert [path for path in files if path.stat().st_mode & 0o060 != 0o060] == []
    for user in (FIRST, SECOND):
        assert by(user, checkout, "collabpipe", "verify").returncode == 0


def test_who_may_not_write_is_told_so_in_one_line(checkout: Workspace) -> None:
    done = by(FIRST, checkout, "collabpipe", "plan", "--write", "config/config.yaml", umask=0o022)
    assert done.returncode == 0, done.stderr
    for recipe in (checkout.results / "recipes").iterdir():
        os.utime(recipe)

    refused = by(SECOND, checkout, "collabpipe", "plan", "--write", "config/config.yaml")

    assert refused.returncode == 1
    assert "Permission denied" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_the_umask_decides_who_may_read_and_write_a_file(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "record.json", {"a": 1})
        save_tensors(tmp_path / "last.safetensors", {"weight": torch.zeros(2)})
    finally:
        os.umask(before)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        "record.json": mode,
        "last.safetensors": mode,
    }
    assert read_json(tmp_path / "record.json") == {"a": 1}
