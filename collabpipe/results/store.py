"""Results by key: what was computed once from the same recipe and the same inputs is linked, not computed again.

A key's folder holds the result's files and, written last, result.json with their sums. Before that file exists the
folder holds a half-finished result, such as the state that a killed training continues from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from collabpipe.common.files import file_digest, link, link_or_copy, read_json, write_json
from collabpipe.host.writer import DRAFTS, LOCK, Writer, claimed_elsewhere, writing
from collabpipe.plan.paths import RESULT_FILE
from collabpipe.plan.record_types import Exchange, Stored


@dataclass(frozen=True)
class Store:
    """A folder of results by key."""

    root: Path

    def folder(self, key: str) -> Path:
        """The folder with the files of `key`."""
        return self.root / key[:2] / key

    @contextmanager
    def writing(self, key: str) -> Iterator[Writer]:
        """Lock the key's folder for writing. A second process waits."""
        with writing(self.folder(key)) as writer:
            for part in writer.folder.glob(DRAFTS):
                part.unlink(missing_ok=True)
            yield writer

    def find(self, key: str) -> Any:
        """The finished result of `key` (a `Stored`), its files verified; None if there is none or a file is damaged."""
        path = self.folder(key) / RESULT_FILE
        if not path.exists():
            return None
        if path.stat().st_size == 0:  # adopted, and then the power failed
            path.unlink()
            return None
        result: Stored = read_json(path)
        exchange: Exchange = result.pop("exchange", {"files": {}, "about": {}})
        for name, digest in result["files"].items():
            file = self.folder(key) / name
            found = file_digest(file) if file.exists() else None
            if found == digest:
                continue
            if found is not None and found == exchange["files"].get(name):
                # A process died while it replaced files: accept each file that already has its new content.
                about = cast(Stored, exchange["about"])
                result = {**result, **about, "files": {**result["files"], name: found}, "unfinished": True}
            else:
                path.unlink()
                return None
        return result

    def finish(self, key: str, names: Sequence[str], about: Mapping[str, Any]) -> Any:
        """Declare the files `names` in the key's folder the result of `key`; returns its record (a `Stored`)."""
        folder = self.folder(key)
        result = {**about, "key": key, "files": {name: file_digest(folder / name) for name in names}}
        write_json(folder / RESULT_FILE, result)
        return result

    def adopt(self, key: str, source: Path, files: Mapping[str, str], about: Mapping[str, Any]) -> None:
        """Take in a finished result that came from elsewhere: `files` in `source` by their recorded sums.

        Nothing is read: sums are checked when the result is used.
        """
        folder = self.folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / LOCK).acquire(blocking=False):
                if not (folder / RESULT_FILE).exists() and not claimed_elsewhere(folder):
                    for name in files:
                        link(source / name, folder / name, durable=False)
                    write_json(folder / RESULT_FILE, {**about, "key": key, "files": dict(files)}, durable=False)
        except Timeout:
            return  # another process is making it

    def link_again(self, key: str, source: Path, files: Mapping[str, str]) -> None:
        """Replace the result's files by links to the files in `source` that have the same sums."""
        folder = self.folder(key)
        path = folder / RESULT_FILE
        promised = read_json(path)["files"] if path.exists() else {}
        for name, digest in files.items():
            ours, theirs = folder / name, source / name
            if promised.get(name) == digest and ours.exists() and not ours.samefile(theirs):
                link(theirs, ours, durable=False)

    def exchange(self, key: str, files: Mapping[str, Path], about: Mapping[str, Any]) -> None:
        """Replace the result's files of the same names by `files`. The result stays complete at every moment."""
        path = self.folder(key) / RESULT_FILE
        if not path.exists():  # of a run that came from elsewhere, without its store
            for name, file in files.items():
                file.replace(self.folder(key) / name)
            return
        result = {name: value for name, value in read_json(path).items() if name != "exchange"}
        digests = {name: file_digest(file) for name, file in files.items()}
        write_json(path, {**result, "exchange": {"files": digests, "about": about}})
        for name, file in files.items():
            file.replace(self.folder(key) / name)
        write_json(path, {**result, **about, "files": {**result["files"], **digests}})

    def place(self, key: str, result: Stored, target: Path) -> None:
        """Link the result's files into `target`."""
        for name in result["files"]:
            link_or_copy(self.folder(key) / name, target / name)
