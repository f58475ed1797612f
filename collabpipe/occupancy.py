"""Keeps restoring and sharing apart from runs: a checkout under a running training would mix two studies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from collabpipe.errors import CollabpipeError

_held: list[IO[str]] = []


def _hold(root: Path, how: int, otherwise: str) -> IO[str]:
    """A lock on the results that the kernel frees on any death; on shared file systems as far as those lock."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("a", encoding="utf-8")
    except OSError as error:
        raise CollabpipeError(f"cannot write {root}: {error.strerror}") from error
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise CollabpipeError(otherwise) from None
    except OSError as error:
        file.close()
        raise CollabpipeError(
            f"{root}: its file system has no file locks (flock: {error.strerror}), so a restore could meet a run. "
            "Mount it with them, or put the results elsewhere."
        ) from error
    return file


def occupy(root: Path) -> None:
    """Work in the results folder `root` until this process ends, beside any others that do.

    Raises:
        CollabpipeError: somebody restores, shares or prunes it.
    """
    message = f"{root}: is being restored, shared or pruned by another process. Wait until it has finished."
    _held.append(_hold(root, fcntl.LOCK_SH, message))


@contextmanager
def alone(root: Path, work: str) -> Iterator[None]:
    """Have the results folder `root` for oneself.

    Raises:
        CollabpipeError: a run is going there; `work` is what it keeps from being done.
    """
    message = (
        f"{root}: Snakemake or a command of collabpipe is at work here, and {work} now would mix up its results. "
        "Wait until it has finished, or stop it."
    )
    with _hold(root, fcntl.LOCK_EX, message) as file:
        _held.append(file)
        try:
            yield
        finally:
            _held.remove(file)


def holding() -> tuple[IO[str], ...]:
    """The open files that this process's holds hang on, for a child that works on the results in its name."""
    return tuple(_held)
