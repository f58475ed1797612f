"""The proof of an artefact: its files and its record, and how they are compared with its recipe."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import file_digest, is_sealed, read_record, record_of

Outcome = Literal["proven", "missing", "out of date", "broken"]
"""What came of a check."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Broken(Exception):
    """An artefact that is not what its recipe and its inputs make."""


class Stale(Broken):
    """An artefact of another recipe or of other inputs: whole, but to be made again."""


@dataclass(frozen=True)
class Check:
    """The check of an artefact: its kind, files and record, and a function that raises `Broken` if they do not fit."""

    kind: str
    files: Sequence[Path]
    record: Path
    prove: Callable[[], None]

    def outcome(self) -> tuple[Outcome, list[str]]:
        """What came of it, and what is wrong with an artefact that is out of date or broken."""
        if not self.is_there:
            return "missing", []
        found = self.broken()
        if found is None:
            return "proven", []
        return "out of date" if isinstance(found, Stale) else "broken", [str(found)]

    def broken(self) -> Broken | None:
        """What is wrong with the artefact, None if nothing is."""
        lost = [file for file in self.files if not file.exists()]
        if lost:
            return self._without(lost)
        try:
            self.prove()
        except Broken as error:
            return error
        except OSError as error:
            if error.errno not in (
                None,
                errno.ENOENT,
            ):  # the disk's or the network's fault
                raise
            return Broken(str(error))
        except CollabpipeError as error:
            return Broken(str(error))
        except (
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            return Broken(f"{self.record}: was edited and cannot be checked ({type(error).__name__}: {error})")
        return None

    def _without(self, lost: Sequence[Path]) -> Broken:
        """What is wrong if files are lost; nothing is broken if an earlier version of collabpipe made fewer."""
        record = record_of(self.record)
        names = record.get("files")
        if names and is_sealed(record) and not any(file.name in names for file in lost):
            return Stale(f"{self.record}: was made by an earlier version of collabpipe, which made no {lost[0].name}")
        return Broken(f"{lost[0]}: is missing")

    @property
    def is_there(self) -> bool:
        """Whether any of the artefact's files exists."""
        return any(file.exists() for file in self.files)


def sealed_record(path: Path) -> Any:
    """The record in `path`; broken unless it is as it was written."""
    record = read_record(path)
    if not is_sealed(record):
        raise Broken(f"{path}: was edited after it was written")
    return record


def check_sums(files: dict[str, Any], folder: Path, record: Path, wanted_names: Sequence[str]) -> None:
    """Raise `Broken` unless `folder` holds `wanted_names` with the sums that the record names in `files`."""
    if set(files) != set(wanted_names) - {record.name}:
        raise Broken(f"{record}: does not name the files that it should")
    for name, about in files.items():
        wanted = about["sha256"] if isinstance(about, dict) else about
        if file_digest(folder / name) != wanted:
            raise Broken(f"{folder / name}: its content is not the one that {record} names")


def check_same(path: Path, what: str, found: object, wanted: object, otherwise: type[Broken] = Broken) -> None:
    """Raise `Broken` (or `otherwise`) unless the value `found` in the record at `path` equals `wanted`."""
    if found != wanted:
        raise otherwise(f"{path}: belongs to another {what} than the one that the study asks for")
