"""Locks the results folder, so that restore, share and prune never run together with Snakemake or another command."""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from collabpipe.common.errors import CollabpipeError, unwritable

_held: list[IO[str]] = []


def linked(root: Path) -> tuple[str, str] | None:
    """Why DVC cannot use the results folder `root`, and how to fix this, if it is a symbolic link. Otherwise None.

    DVC refuses outputs below a linked folder, but takes outputs that are links themselves.
    """
    if not root.is_symlink():
        return None
    target = root.resolve()
    studies = sorted(folder.parent.name for folder in target.glob("*/runs"))
    linking = [_as_links(root, target, ("raw", "datasets", "store"), ("provenance",))]
    for study in studies:
        linking.append(_as_links(root / study, target / study, ("runs",), ("provenance", "tables", "figures")))
    remedy = " && ".join(linking)
    return f"{root} is a symbolic link, and DVC keeps nothing behind a link", remedy


def _as_links(folder: Path, target: Path, large: Iterable[str], small: Iterable[str]) -> str:
    """The commands that make a folder of links to what lies in `target`; `small` folders are copied.

    In these, files are outputs one by one, which DVC does not find behind a link.
    """
    there, here = shlex.quote(str(target)), shlex.quote(str(folder))
    made = " ".join(f"{there}/{name}" for name in (*large, *small))
    links, copies = (" ".join(f"{base}/{name}" for name in small) for base in (here, there))
    return f"rm {here} && mkdir -p {here} {made} && ln -s {there}/* {here}/ && rm {links} && cp -a {copies} {here}/"


def refuse_link(root: Path) -> None:
    """Refuse to let DVC work on the results folder `root` if it is a symbolic link: it would fail after the work.

    Raises:
        CollabpipeError: it is one.
    """
    if found := linked(root):
        raise CollabpipeError(
            f"{found[0]}. Snakemake alone works with the link. For DVC make {root} and each study's folder in it "
            f"folders, and links of the large folders in them:\n  {found[1]}"
        )


def _hold(root: Path, how: int, otherwise: str) -> IO[str]:
    """A lock on the results. The kernel frees it however the process ends; shared file systems must support flock."""
    if root.is_symlink() and not root.exists():
        raise CollabpipeError(
            f"{root} is a symbolic link to {root.resolve()}, which is not there. Mount its disk, or make the folder: "
            f"mkdir -p {shlex.quote(str(root.resolve()))}"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("a", encoding="utf-8")
    except OSError as error:
        raise unwritable(root, error) from error
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise CollabpipeError(otherwise) from None
    except OSError as error:
        file.close()
        raise CollabpipeError(
            f"{root}: its file system has no file locks (flock: {error.strerror}), so a restore could run beside a "
            "job. Mount it with them, or put the results elsewhere."
        ) from error
    return file


def occupy(root: Path) -> None:
    """Lock the results folder `root` until this process ends. Other processes may work in it at the same time.

    Raises:
        CollabpipeError: a process restores, shares or prunes it, or DVC runs this and cannot keep the outputs.
    """
    if "DVC_STAGE" in os.environ:
        refuse_link(root)
    message = f"{root}: is being restored, shared or pruned by another process. Wait until it has finished."
    _held.append(_hold(root, fcntl.LOCK_SH, message))


@contextmanager
def only_process(root: Path, work: str) -> Iterator[None]:
    """Lock the results folder `root` for this process alone.

    Raises:
        CollabpipeError: another process works there; the message names the `work` that has to wait.
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
