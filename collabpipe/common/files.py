"""Files that are whole or absent: atomic writing, digests, links."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from collabpipe.common.errors import CollabpipeError, unreadable, unwritable

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

AnyRecord = TypeVar("AnyRecord", bound=Mapping[str, Any])
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says of a file that cannot grow, sometimes with the name of the file that is copied."""


@contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path next to `path`; on success it is flushed to disk and renamed, on failure removed.

    Not `durable` is what costs nothing to make again: after a power failure it may be empty or missing. The umask
    decides who may read and write the file, as for any other.

    Raises:
        CollabpipeError: the disk is full, the folder cannot be written, or what is copied cannot be read.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            flush_folder(path.parent)
    except OSError as error:
        named = error.filename
        if isinstance(named, str) and Path(named) not in (path, temporary) and error.errno not in FULL:
            raise unreadable(named, error) from error
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush a folder to disk, so that a rename in it outlives a power failure."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written and not be listed
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system knows no such thing
            raise
    finally:
        os.close(opened)


def expand_user(path: str) -> Path:
    """The path with `~` expanded. The home of a user that nobody knows stays as it is, so that it is found missing."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all.

    Raises:
        CollabpipeError: the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        mode = stat.S_IMODE(temporary.stat().st_mode)
        try:
            save_file(dict(tensors), temporary, metadata)
        except SafetensorError as error:  # how it reports a full disk
            raise unwritable(path, error) from error
        temporary.chmod(mode)  # safetensors puts a file in its place that only the owner may read


def json_text(value: Any) -> str:
    """`value` as indented JSON with sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    write_text(path, json_text(value), durable)


def read_json(path: Path) -> Any:
    """The JSON value in `path`.

    Raises:
        CollabpipeError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise CollabpipeError(f"{path} is no valid JSON: {error}. Remove it and run again.") from error


def read_columns(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of a Parquet file, or those columns of it, read without threads.

    Raises:
        CollabpipeError: the file is missing, or was cut off.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path).read(columns=columns, use_threads=False)
    except OSError as error:
        raise unreadable(path, error) from error
    except pa.ArrowInvalid as error:
        raise CollabpipeError(f"{path}: cannot be read: {error}. Remove it and run Snakemake again.") from error


def read_record(path: Path, remedy: str = "Make it again, or name another file.") -> Any:
    """The JSON mapping in `path`, of the type that its kind of record has; `remedy` says what makes the file.

    Raises:
        CollabpipeError: the file is missing, is no JSON or holds no mapping.
    """
    if not path.exists():
        raise CollabpipeError(f"{path}: is missing. {remedy}")
    record = read_json(path)
    if not isinstance(record, dict):
        raise CollabpipeError(f"{path}: holds no keys. Remove it. {remedy}")
    return record


def record_of(path: Path) -> Any:
    """A record, or an empty mapping where it is missing or broken: then it is made again."""
    if not path.exists():
        return {}
    try:
        record = read_json(path)
    except CollabpipeError:
        return {}
    return record if isinstance(record, dict) else {}


def json_digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON form of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(record: AnyRecord) -> AnyRecord:
    """`record` with the digest of all else in it, so that an edit shows."""
    content = {name: value for name, value in record.items() if name != "seal"}
    return cast(AnyRecord, {**content, "seal": json_digest(content)})


def seal_of(path: Path) -> str | None:
    """The seal of the record in `path`, None where there is none."""
    seal: str | None = read_record(path).get("seal") if path.exists() else None
    return seal


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether a record is as it was written."""
    return bool(sealed(record)["seal"] == record.get("seal"))


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Digest (hex) of a file's content, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def link(source: Path, target: Path, again: bool = True, durable: bool = True) -> None:
    """Put `source` at `target` atomically: as a hard link, or a copy where that cannot be.

    Not `again`: a file that is linked elsewhere already is copied.
    """
    with atomic_path(target, durable) as temporary:
        if again or source.stat().st_nlink == 1:
            temporary.unlink()
            with suppress(OSError):
                temporary.hardlink_to(source)
                return
        shutil.copyfile(source, temporary)


def link_or_copy(source: Path, target: Path) -> None:
    """Put `source` at `target` atomically, with the time of now: as a hard link, or a copy where that cannot be.

    Links share one time: a file that is linked elsewhere already is copied, so that touching one leaves the other.
    """
    if not (target.exists() and source.exists() and target.samefile(source)):
        link(source, target, again=False)
    try:
        os.utime(target)
    except OSError as error:
        raise unwritable(target, error) from error


def set_time(path: Path, ns: int, or_later: bool = False) -> None:
    """Set the modification time of a file to `ns` nanoseconds; of another user's file to now, if `or_later` will do.

    Only its owner may choose a file's time. Who may write the file may set it to now, and who may write its folder may
    put a copy of their own in its place.

    Raises:
        CollabpipeError: this user may do neither.
    """
    try:
        os.utime(path, ns=(ns, ns))
    except PermissionError:
        if or_later and ns <= time.time_ns() and os.access(path, os.W_OK):
            os.utime(path)
            return
        with atomic_path(path) as temporary:
            shutil.copyfile(path, temporary)
            os.utime(temporary, ns=(ns, ns))
