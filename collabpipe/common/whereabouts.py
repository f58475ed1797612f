"""Where something was made: versions, commit, host, time."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NotRequired, TypedDict

PACKAGES = ("collabpipe", "numpy", "pyarrow", "torch")
PACKAGE = Path(__file__).resolve().parent.parent
CLONE = "clone the repository with git"
OTHER_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
)
"""Variables that git sets for a hook. They make every git command use the hook's repository."""


@dataclass(frozen=True)
class Commit:
    """The commit that the package is of; if none is known, why, and what makes it known."""

    name: str | None
    reason: str = ""
    remedy: str = ""


class Where(TypedDict):
    """Where, when and by which versions something was made."""

    host: str
    machine: str
    device: str
    python: str
    packages: dict[str, str | None]
    commit: str | None
    """With `+` where tracked files were changed since; None if it is not known."""
    no_commit: NotRequired[str]
    """Why it is not known."""
    finished: str


def whereabouts(device: str) -> Where:
    """Host, device, versions, commit (or why there is none) and time, for a record."""
    found = commit()
    where: Where = {
        "host": platform.node(),
        "machine": platform.machine(),
        "device": device,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": found.name,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if found.name is None:
        where["no_commit"] = found.reason
    return where


def _version(package: str) -> str | None:
    """The installed version; None for a package that runs from a checkout without being installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit(folder: Path = PACKAGE) -> Commit:
    """The commit that holds the package in `folder`, with `+` where tracked files were changed since."""
    try:
        described = _git(folder, "describe", "--always", "--dirty=+", "--abbrev=40", "--match=")
        # A repository that merely surrounds the package says nothing of it.
        held = _git(folder, "cat-file", "-e", "HEAD:./__init__.py").returncode == 0
    except FileNotFoundError:
        return Commit(None, "git is not installed", "install git")
    except subprocess.TimeoutExpired:
        return Commit(None, "git did not answer in 10 s", "look at what git status does")
    if described.returncode == 0 and held:
        return Commit(described.stdout.strip())
    advised = re.search(r"^\s*(git config --global --add safe\.directory .*)$", described.stderr, re.MULTILINE)
    if advised:
        return Commit(None, "git does not read a repository that belongs to another user", advised[1])
    if described.returncode == 0:
        return Commit(None, f"the git repository around {folder} has no commit that holds it", CLONE)
    return Commit(None, f"there is no git repository with a commit at {folder}", CLONE)


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What git says of the repository at `folder`, in English, whichever repository a hook is at work in."""
    environment = {name: value for name, value in os.environ.items() if name not in OTHER_REPOSITORY}
    return subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=10,
        env=environment | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
    )
