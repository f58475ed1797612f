"""The user's own files in data_dir: whether a prepared data set was made from the files that are there now.

Contents are read when files are fetched. Afterwards names, sizes and times are compared, and a file is read again only
if they have changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from collabpipe.catalogue.sources import IMAGE_FOLDER, NPZ, OWN
from collabpipe.common.errors import CollabpipeError, unreadable
from collabpipe.common.files import record_of, write_json, write_text
from collabpipe.data.image_files import list_digest
from collabpipe.data.raw import lacking, located, md5_sums, unlisted_files
from collabpipe.plan.paths import FETCHED
from collabpipe.plan.recipes import DataRecipe
from collabpipe.plan.record_types import FetchedRecord, Verified

SUMS_FILE = "sums.json"


class Stamp(NamedTuple):
    """What tells of a file that it changed, without its content: size, and when its content and its inode changed."""

    size: int
    mtime_ns: int
    ctime_ns: int


class Sum(NamedTuple):
    """The MD5 sum of a file, and the file's stamp when it was taken."""

    size: int
    mtime_ns: int
    ctime_ns: int
    md5: str

    @property
    def stamp(self) -> Stamp:
        """Of the file whose sum this is."""
        return Stamp(*self[:3])


Stamps = Mapping[str, Stamp]
Sums = dict[str, Sum]
"""By file."""


def own_files(recipe: DataRecipe, folder: Path) -> dict[str, Path]:
    """The files of `recipe` in the user's `folder`, by name.

    Raises:
        CollabpipeError: some are missing, or an image folder is not laid out as one.
    """
    if recipe.source in OWN:
        return unlisted_files(recipe, folder)
    if told := lacking(recipe, folder):
        raise CollabpipeError(told)
    return located(recipe, folder)


def _is_gone(recipe: DataRecipe, folder: Path) -> bool:
    """Whether nothing of the data set can be seen, as where a disk is not mounted or belongs to somebody else."""
    try:
        if recipe.source == NPZ:
            return not folder.exists()
        if recipe.source == IMAGE_FOLDER:
            return not any((folder / split).exists() for split in ("train", "test"))
        return not located(recipe, folder)
    except (CollabpipeError, OSError):
        return True


def stamp(path: Path) -> Stamp:
    """Of one file."""
    about = path.stat()
    return Stamp(about.st_size, about.st_mtime_ns, about.st_ctime_ns)


def stamps(files: Mapping[str, Path]) -> Stamps:
    """Of each file.

    Raises:
        CollabpipeError: a file cannot be looked at.
    """
    try:
        return {name: stamp(path) for name, path in files.items()}
    except OSError as error:
        raise unreadable(error.filename, error) from error


def read_sums(files: Mapping[str, Path], now: Stamps, known: Sums) -> Sums:
    """The sums of `files`, whose stamps are `now`; the content of one that has its known stamp is not read.

    Raises:
        CollabpipeError: a file cannot be read.
    """
    others = {name: path for name, path in files.items() if name not in known or known[name].stamp != now[name]}
    md5 = md5_sums(others)
    return {name: Sum(*now[name], md5[name]) if name in md5 else known[name] for name in files}


def made_from(recipe: DataRecipe, md5: Mapping[str, str]) -> Verified:
    """What the record of a prepared data set says of the files that it was made from."""
    if recipe.source in OWN:
        return {"md5": {}, "images": list_digest(md5)}
    return {"md5": dict(md5), "images": None}


def known_sums(raw: Path) -> Sums:
    """The sums that were noted last; none where nothing was noted."""
    return {name: Sum(*about) for name, about in record_of(raw / SUMS_FILE).items()}


def note_sums(raw: Path, sums: Sums) -> None:
    """Keep sums for the next time, one file per line."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(about)}" for name, about in sorted(sums.items()))
    write_text(raw / SUMS_FILE, f"{{\n{lines}\n}}\n", durable=False)


def note_unchanged(raw: Path, folder: Path, sums: Sums) -> None:
    """Keep the times, and perhaps the new folder, of files whose contents are known.

    `raw`/fetched.json keeps its time: nothing is to be made again.
    """
    if sums != known_sums(raw):
        note_sums(raw, sums)
    path = raw / FETCHED
    record: FetchedRecord = record_of(path)
    if record and record.get("folder") != str(folder):
        about = path.stat()
        write_json(path, {**record, "folder": str(folder)})
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def unchanged(recipe: DataRecipe, folder: Path | None, origin: Mapping[str, object], known: Sums) -> Sums | None:
    """The sums of the user's files if they equal `origin`; None if they changed.

    If nothing can be compared (no folder, or nothing of the data set in it), an empty mapping.
    """
    if folder is None or _is_gone(recipe, folder):
        return {}
    try:
        files = own_files(recipe, folder)
        now = stamps(files)
        noted = made_from(recipe, md5_of(known)) == origin
        if noted and (now.keys() != known.keys() or any(now[name].size != known[name].size for name in now)):
            return None
        sums = read_sums(files, now, known)
    except CollabpipeError:
        return None
    return sums if (noted and sums == known) or made_from(recipe, md5_of(sums)) == origin else None


def is_fetched(recipe: DataRecipe, folder: Path | None, raw: Path) -> bool:
    """Whether `raw`/fetched.json is of `recipe` and of the files as they lie there now, by their sizes and times."""
    try:
        record: FetchedRecord = record_of(raw / FETCHED)
        if record.get("recipe") != recipe.digest or record.get("folder") != (folder and str(folder)):
            return False
        if folder is None:
            noted = (raw / FETCHED).stat().st_mtime_ns
            files = located(recipe, raw)
            return set(files) == set(record["md5"]) and all(stamp(path).mtime_ns <= noted for path in files.values())
        return stamps(own_files(recipe, folder)) == {name: about.stamp for name, about in known_sums(raw).items()}
    except (CollabpipeError, OSError):
        return False


def md5_of(sums: Sums) -> dict[str, str]:
    """The MD5 sums alone, by file."""
    return {name: about.md5 for name, about in sums.items()}
