"""A folder that one process at a time writes to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from collabpipe.common.errors import unwritable
from collabpipe.common.progress import Progress


@contextmanager
def locked(folder: Path, work: str) -> Iterator[None]:
    """Hold the folder's lock; a second process is told what `work` the first does there, and waits for it.

    Raises:
        CollabpipeError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            Progress(str(folder)).say(f"another process {work} it; waiting")
            lock.acquire()
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()
