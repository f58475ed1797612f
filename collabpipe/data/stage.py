"""A copy of a prepared data set on the host's own disk, for trainings that would all read one file server."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, expand_user, file_digest
from collabpipe.common.progress import Progress
from collabpipe.host.folder_lock import locked
from collabpipe.plan.paths import RECORD, TRAIN
from collabpipe.plan.record_types import DataRecord


class Unstaged(Exception):
    """Why the images are read where they lie."""


def staged(folder: Path, record: DataRecord, where: str) -> Path:
    """The folder to read training images from: a copy of `folder` below `where`, or `folder` if that cannot be.

    The copy is named by the sum of its images, checked when it is made and shared by all trainings of the user on the
    host; nobody removes it. `where` may name variables of the environment, as in ``$TMPDIR``.
    """
    say = Progress(str(folder)).say
    sha256: str = record["files"][TRAIN]["sha256"]
    try:
        target: Path = _own_folder(where) / sha256
        size = record["files"][TRAIN]["bytes"]
        with locked(target, "copies"):
            for left in target.glob(".*.part"):  # by a job that was killed
                left.unlink()
            here = target / TRAIN
            if not here.exists() or here.stat().st_size != size:
                say(f"copied to {target}")
                _copy(folder / TRAIN, here, sha256)
            with atomic_path(target / RECORD) as temporary:  # others may have been written beside equal images
                shutil.copyfile(folder / RECORD, temporary)
    except (OSError, CollabpipeError, Unstaged) as error:
        say(f"not staged: {error}; images are read from {folder}")
        return folder
    return target


def _own_folder(where: str) -> Path:
    """The user's folder below `where`, which another user could have made on a disk that all may write to."""
    expanded = os.path.expandvars(where)
    if unset := re.search(r"\$\{?\w+\}?", expanded):
        raise Unstaged(f"stage {where}: {unset[0]} is not set on this host")
    if not expand_user(expanded).is_absolute():
        raise Unstaged(f"stage {where}: is no absolute path on this host, but {expanded!r}")
    own = expand_user(expanded) / f"collabpipe-{os.getuid()}"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = own.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise Unstaged(f"{own}: others may write there (it should be yours, with mode 700)")
    return own


def _copy(source: Path, target: Path, sha256: str) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
        if file_digest(temporary) != sha256:
            raise Unstaged(f"{source}: differs from its record")
