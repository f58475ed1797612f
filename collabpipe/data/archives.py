"""Archives from the net, read without running or writing anything: pickles of plain data, tar members, torch files."""

from __future__ import annotations

import gzip
import io
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError

MEMBER_BYTES = 1 << 28
"""The most that a member may unpack to: STL-10's test images take 221,184,000 bytes."""

ARCHIVE_BYTES = 1 << 32
"""The most that a tar archive may unpack to: STL-10's takes about 3.2e9 bytes."""

READ_BYTES = 1 << 16
"""The most of a tar archive that is read at once, which bounds its headers: they may announce any length."""

NESTING = 4
"""How deep a pickle's dictionaries and lists may be nested: the sources' are a dictionary of lists."""

VALUES = 2_000_000
"""The most that a pickle's dictionaries and lists may hold together, shared ones counted each time they occur:
ImageNet32 has 128,116 labels per batch."""

AGAIN = "Fetch it again."


class Refused(pickle.UnpicklingError):
    """A pickle that is more than plain data."""


# What replaces the globals that pickled arrays name. numpy's own are not lent out: with states and arguments of a
# pickle's choosing they make arrays of pointers into foreign memory.
class _Type:
    """A type of numbers, as numpy.dtype is pickled: its code, then its byte order as a state."""

    def __init__(self, code: str, *_: Any):
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biuf":
            raise Refused(f"it holds an array of type {code!r}, which is not a type of number")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array, as numpy.ndarray is pickled: nothing, then version, shape, type, order and bytes as a state."""

    def __init__(self, *_: Any) -> None:
        self.value: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        self.value = _frombuffer(data, kind, shape, "F" if fortran else "C")


def _frombuffer(data: str | bytes, kind: _Type, shape: tuple[int, ...], order: Literal["C", "F"]) -> NDArray[Any]:
    raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote bytes as text
    return np.frombuffer(raw, dtype=kind.dtype).reshape(shape, order=order)


def _scalar(kind: _Type, data: str | bytes) -> Any:
    return _frombuffer(data, kind, (1,), "C")[0].item()


def _encode(text: str, encoding: str) -> bytes:
    """Protocol 2 has no bytes: they are pickled as text to be encoded."""
    if encoding != "latin1":
        raise Refused(f"it encodes text as {encoding}, which arrays do not need")
    return text.encode(encoding)


class _StandIn:
    """What a pickle gets for a global: it can call it, and that is all. A function's attributes it could set."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]):
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, _: Any) -> None:
        raise Refused("it changes what a name stands for, which is no plain data")


PLAIN = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _StandIn(_Type),
    ("_codecs", "encode"): _StandIn(_encode),
    **{
        (f"numpy.{core}.{module}", name): _StandIn(value)
        for core in ("core", "_core")
        for module, name, value in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}
"""The globals that a pickle of numbers, text, lists, dicts and arrays of numbers names, under numpy 1 and 2."""


class PlainUnpickler(pickle._Unpickler):
    """Reads numbers, text, bytes, lists, dicts and arrays of numbers; any other global is refused without a look.

    Its memo is a dict. That of the C code is a table as long as the highest number in the file: a few bytes take all
    memory.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return PLAIN[module, name]
        except KeyError:
            raise Refused(f"it names {module}.{name}, which is no plain data") from None


def unpickle(file: BinaryIO, origin: object) -> Any:
    """The plain value in a pickle, which may have been written by Python 2 (its strings are read as Latin-1).

    Raises:
        CollabpipeError: damaged, or more than plain data; nothing that it names was imported or called.
    """
    try:
        return _Plain().of(PlainUnpickler(file, encoding="latin1").load())
    except Refused as error:
        raise CollabpipeError(f"{origin}: is refused: {error}. Nothing of it was run. {AGAIN}") from error
    except Exception as error:  # damaged bytes raise errors of all kinds, MemoryError among them
        raise CollabpipeError(
            f"{origin}: cannot be read as plain data: {type(error).__name__}: {error}. {AGAIN}"
        ) from error


class _Plain:
    """Puts arrays in place of their replacements, in as many values as the sources' files may have.

    A few bytes that refer to one list again and again, in each of many layers, would else become endlessly many.
    """

    def __init__(self) -> None:
        self.left = VALUES

    def of(self, value: Any, nesting: int = NESTING) -> Any:
        """`value` with its arrays."""
        if isinstance(value, _Array):
            return value.value
        if isinstance(value, dict | list):
            self.left -= len(value)
            if not nesting:
                raise Refused(f"it is nested more than {NESTING} deep")
            if self.left < 0:
                raise Refused(f"it holds more than {VALUES} values")
            if isinstance(value, dict):
                return {self.of(key, 0): self.of(part, nesting - 1) for key, part in value.items()}
            return [self.of(part, nesting - 1) for part in value]
        if not isinstance(value, int | float | str | bytes | np.ndarray | None):
            raise Refused(f"it holds a {type(value).__name__}, which is no plain data")
        return value


class _Unpacked(gzip.GzipFile):
    """A gzipped archive as tarfile reads it: forwards, so that it ends, and little at a time."""

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes.

        Raises:
            tarfile.ReadError: those are more than any header of the sources has.
        """
        if size is None or not 0 <= size <= READ_BYTES:
            raise tarfile.ReadError(f"a header announces {size} bytes, and at most {READ_BYTES} belong")
        return super().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Skip what is before `offset`.

        Raises:
            tarfile.ReadError: that was read already.
        """
        if whence == io.SEEK_SET and offset < self.tell():
            raise tarfile.ReadError("a header leads backwards")
        return super().seek(offset, whence)


def tar_members(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of the members `names` of a gzipped tar archive, read in one pass and never extracted.

    Nothing is returned, so nothing can be parsed, before every member of the archive was looked at.

    Raises:
        CollabpipeError: damaged; a member is missing or larger than the format allows; or any member at all is a
            link, a device, or lies outside the archive's own folder.
    """
    found: dict[str, bytes] = {}
    total = 0
    try:
        with _Unpacked(path) as unpacked, tarfile.TarFile(fileobj=unpacked) as archive:
            for member in archive:
                _check_member(member, path)
                total += member.size
                if total > ARCHIVE_BYTES or (member.name in names and member.size > MEMBER_BYTES):
                    raise CollabpipeError(f"{path}: {member.name} is larger than the format allows. {AGAIN}")
                content = archive.extractfile(member) if member.name in names else None
                if content is not None:
                    whole = io.BytesIO()
                    shutil.copyfileobj(content, whole, READ_BYTES)
                    found[member.name] = whole.getvalue()
            # What follows the last member is padding, but only at the very end gzip compares its checksum.
            while unpacked.read(READ_BYTES) and unpacked.tell() < ARCHIVE_BYTES:
                pass
    except CollabpipeError:
        raise
    except Exception as error:  # damaged headers raise errors of all kinds: ValueError, RecursionError
        raise CollabpipeError(f"{path}: cannot be unpacked: {error}. {AGAIN}") from error
    if missing := [name for name in names if name not in found]:
        raise CollabpipeError(f"{path}: holds no {', '.join(missing)}. {AGAIN}")
    return found


def _check_member(member: tarfile.TarInfo, path: Path) -> None:
    try:
        # The filter strips a leading slash where it may; here such a member is a sign of ill will.
        if member.name.startswith("/"):
            raise tarfile.AbsolutePathError(member)
        tarfile.data_filter(member, str(path.parent))
        if not (member.isfile() or member.isdir()):
            raise tarfile.SpecialFileError(member)
    except tarfile.FilterError as error:
        raise CollabpipeError(f"{path}: is refused: {error}. Nothing of it was read. {AGAIN}") from error


def torch_value(path: Path) -> Any:
    """The plain value in a file of torch.save that holds no tensors, in either of torch's formats, without torch.

    The newer is a zip archive with a pickle */data.pkl; the older is a row of pickles: magic number, protocol, system,
    value (torch/serialization.py).

    Raises:
        CollabpipeError: damaged, or more than plain data.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            for _ in range(3):
                unpickle(file, path)
            return unpickle(file, path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                raise CollabpipeError(f"{path}: holds {len(names)} members data.pkl where one belongs. {AGAIN}")
            if archive.getinfo(names[0]).file_size > MEMBER_BYTES:
                raise CollabpipeError(f"{path}: {names[0]} is larger than the format allows. {AGAIN}")
            content = archive.read(names[0])
    except CollabpipeError:
        raise
    except Exception as error:  # encrypted, of an unknown compression, damaged: errors of all kinds
        raise CollabpipeError(f"{path}: cannot be unpacked: {error}. {AGAIN}") from error
    return unpickle(io.BytesIO(content), path)
