"""Hostile and damaged archives whose sum was accepted: refused by name, nothing run, nothing left to be opened."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collabpipe.common.errors import CollabpipeError
from collabpipe.data import archives, imagenet32
from collabpipe.data.archives import tar_members, torch_value, unpickle
from collabpipe.data.fetch import fetch
from collabpipe.data.prepared import prepare
from tests.allocations import at_most
from tests.archives import Small, cifar10, fashion_mnist, idx, md5, npz, python2_pickle, stl10, tar_gz, torch_zip
from tests.archives import imagenet32 as small_imagenet32


def refused(small: Small, root: Path, **fields: Any) -> str:
    """What is told when the small data set is prepared; that nothing of it can be opened afterwards is checked."""
    recipe = small.recipe(**fields)
    (root / "own").mkdir()
    for name, content in small.files.items():
        (root / "own" / name).write_bytes(content)
    fetch(recipe, root / "raw", root / "own")
    with pytest.raises(CollabpipeError) as caught:
        prepare(recipe, root / "raw", root / "out")
    left = sorted(path.name for path in (root / "out").iterdir()) if (root / "out").exists() else []
    assert set(left) <= {".lock", "train.arrow"}, "without a record nothing can be opened"
    assert not (root / "ran").exists()
    return str(caught.value)


class Planted:
    """A pickle of this runs a shell command when it is read."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        import os

        return os.system, (f"touch {self.marker}",)


# --- planted code -----------------------------------------------------------------------------------------------------


def planted_cifar10(code: bytes) -> Small:
    return cifar10(data_batch_3=code)


def planted_imagenet32(code: bytes) -> Small:
    return small_imagenet32(train_data_batch_2=code)


def planted_human(code: bytes) -> Small:
    return cifar10(human=True, CIFAR_10_human=torch_zip(code))


def planted_old_human(code: bytes) -> Small:
    return cifar10(human=True, CIFAR_10_human=code)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("plant", [planted_cifar10, planted_imagenet32, planted_human, planted_old_human])
def test_planted_code_is_refused_by_name_and_not_run(
    plant: Callable[[bytes], Small], protocol: int, tmp_path: Path
) -> None:
    code = pickle.dumps({"data": Planted(tmp_path / "ran"), "labels": [1]}, protocol)

    told = refused(plant(code), tmp_path)

    assert "is refused: it names posix.system, which is no plain data. Nothing of it was run." in told


def test_the_planted_code_would_run_in_an_ordinary_unpickler(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Planted(tmp_path / "ran")))  # noqa: S301 (the danger itself)

    assert (tmp_path / "ran").exists()


def planted_array(state: bytes) -> bytes:
    """An array as protocol 2 has it, with a state of the attacker's choosing."""
    return b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\x01btR" + state + b"b."


OBJECTS = b"cnumpy\ndtype\n(U\x02O8K\0K\x01tR"
NUMBERS = b"cnumpy\ndtype\n(U\x02u1K\0K\x01tR"
DEFAULTS = b"(N}X\x0c\0\0\0__defaults__X\x06\0\0\0latin1\x85stb."
"""Ends a pickle by setting the attribute __defaults__ of what it named last."""


def layers(number: int, width: int) -> bytes:
    """A pickle of lists that each refer to the next one `width` times."""
    value: list[Any] = [1]
    for _ in range(number):
        value = [value] * width
    return pickle.dumps(value, 2)


HOSTILE_PICKLES: dict[str, tuple[bytes, str]] = {
    "array of objects": (
        pickle.dumps(np.array([{}], dtype=object), 2),
        "an array of type 'O8', which is not a type of number",
    ),
    "object pointers from bytes": (planted_array(b"(K\x01K\x01\x85" + OBJECTS + b"\x89U\x08AAAAAAAAt"), "type 'O8'"),
    # The flags of this type say that its items are references: numpy's own state would believe it.
    "numbers flagged as references": (
        planted_array(
            b"(K\x01K\x01\x85" + NUMBERS + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb\x89](K\x01etb"
        ),
        "cannot be read as plain data",
    ),
    "array made by a call": (
        b"\x80\x02cnumpy\nndarray\n(K\x01\x85U\x01OU\x08AAAAAAAAtR.",
        "cannot be read as plain data",
    ),
    "too few bytes": (planted_array(b"(K\x01K\x09\x85" + NUMBERS + b"\x89U\x01At"), "cannot reshape"),
    "structured type": (pickle.dumps(np.zeros(2, dtype="u1,u1"), 2), "which is not a type of number"),
    "builtin": (b"cbuiltins\neval\n(S'1'\ntR.", "names builtins.eval"),
    "builtin of Python 2": (b"c__builtin__\neval\n(S'1'\ntR.", "names __builtin__.eval"),
    "attribute of an allowed module": (b"cnumpy\nload\n(S'x'\ntR.", "names numpy.load"),
    "dotted": (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.data\x93.", "names numpy.ndarray.data"),
    "other encoding": (
        b"\x80\x02c_codecs\nencode\n(X\x01\0\0\0aX\x03\0\0\0zipt R.".replace(b" ", b""),
        "encodes text as zip",
    ),
    "tuple": (pickle.dumps((1, 2), 2), "holds a tuple"),
    "a bare global": (b"cnumpy\ndtype\n.", "which is no plain data"),
    "a global's state": (b"\x80\x02c_codecs\nencode\n" + DEFAULTS, "it changes what a name stands for"),
    "a type's state": (b"\x80\x02cnumpy\ndtype\n" + DEFAULTS, "it changes what a name stands for"),
    "2 to the power of 60 lists in 200 bytes": (layers(60, 2), "it is nested more than 4 deep"),
    "8e9 lists in 20 KB": (layers(3, 2000), "it holds more than 2000000 values"),
    "a list within itself": (b"\x80\x02]q\0h\0a.", "it is nested more than 4 deep"),
    "a tuple as a key": (pickle.dumps({(1, 2): 3}, 2), "holds a tuple"),
    "reference to outside": (b"P1\n.", "cannot be read as plain data"),
    "extension": (b"\x80\x02\x82\x01.", "cannot be read as plain data"),
    "stack underflow": (b"\x80\x02R.", "cannot be read as plain data"),
    "cut short": (pickle.dumps(np.zeros(99))[:-9], "cannot be read as plain data"),
    "empty": (b"", "cannot be read as plain data"),
    "html": (b"<html>", "cannot be read as plain data"),
}


@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_a_hostile_pickle_is_refused(name: str) -> None:
    content, words = HOSTILE_PICKLES[name]

    with pytest.raises(CollabpipeError) as caught:
        unpickle(io.BytesIO(content), "batch")

    assert str(caught.value).startswith("batch: ")
    assert words in str(caught.value)


def test_a_memo_takes_memory_for_what_is_in_it() -> None:
    with at_most(1_000_000):
        # Its one entry is said to be number 2**24, which pickle's C code takes as the length of a table.
        assert unpickle(io.BytesIO(b"\x80\x02K\x01r\x00\x00\x00\x01."), "batch") == 1


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_plain_data_or_refused(content: bytes) -> None:
    try:
        value = unpickle(io.BytesIO(b"\x80\x02" + content), "batch")
    except CollabpipeError:
        return
    assert isinstance(value, int | float | str | bytes | list | dict | None)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["u1", "<i8", ">i4", "f8", "?"])
def test_arrays_and_plain_values_come_out_as_they_went_in(kind: str, protocol: int) -> None:
    array = np.arange(12).reshape(3, 4).astype(kind)
    value = {"array": array, "turned": array.T, "list": [1, 2.5, "a", b"\xff", None], "number": array[0, 1]}

    found = unpickle(io.BytesIO(pickle.dumps(value, protocol)), "batch")

    assert found["list"] == value["list"]
    assert found["number"] == value["number"]
    for name in ("array", "turned"):
        assert found[name].dtype == np.dtype(kind)
        assert (found[name] == value[name]).all()


def test_what_python_2_wrote_is_read() -> None:
    found = unpickle(
        io.BytesIO(python2_pickle({"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "l": [3]})), "batch"
    )

    assert found["data"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["l"] == [3]


# --- tar --------------------------------------------------------------------------------------------------------------


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


BAD_MEMBERS: dict[str, tuple[tarfile.TarInfo, str]] = {
    "above": (member("../../evil"), "'../../evil' would be extracted to"),
    "above within": (member("stl10_binary/../../evil"), "outside the destination"),
    "absolute": (member("/etc/cron.d/evil"), "'/etc/cron.d/evil' has an absolute path"),
    "link outside": (member("link", tarfile.SYMTYPE, "../../etc/passwd"), "would link to"),
    "absolute link": (member("link", tarfile.SYMTYPE, "/etc/passwd"), "absolute path"),
    "link inside": (member("link", tarfile.SYMTYPE, "stl10_binary/train_X.bin"), "'link' is a special file"),
    "hard link outside": (member("link", tarfile.LNKTYPE, "../evil"), "would link to"),
    "device": (member("disk", tarfile.BLKTYPE), "'disk' is a special file"),
    "pipe": (member("pipe", tarfile.FIFOTYPE), "'pipe' is a special file"),
}


@pytest.mark.parametrize("name", BAD_MEMBERS)
def test_an_archive_with_a_planted_member_is_refused_as_a_whole(name: str, tmp_path: Path) -> None:
    planted, words = BAD_MEMBERS[name]
    good = stl10()
    with tarfile.open(fileobj=io.BytesIO(good.files["stl10_binary.tar.gz"])) as archive:
        members = {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
    good.files["stl10_binary.tar.gz"] = tar_gz(members, planted)

    told = refused(good, tmp_path)

    assert "stl10_binary.tar.gz: is refused: " in told
    assert words in told
    assert "Nothing of it was read" in told
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        ".lock",
        "fetched.json",
        "stl10_binary.tar.gz",
        "sums.json",
    ]


def header(kind: bytes, size: int) -> bytes:
    """A tar header of a further header that follows it."""
    return member("more", kind, size=size).tobuf()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("before", [b"", member("a").tobuf()])
def test_a_header_of_a_hundred_megabytes_is_refused_before_it_is_unpacked(
    before: bytes, kind: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(before + header(kind, 10**8) + bytes(10**8), 1))

    with (
        at_most(1 << 21),
        pytest.raises(CollabpipeError, match="a header announces 100000256 bytes, and at most 65536 belong"),
    ):
        tar_members(tmp_path / "a.tar.gz", ["a"])


def with_pax(**fields: str) -> bytes:
    info = member("a")
    info.pax_headers = fields
    return tar_gz({}, info)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (with_pax(path="a\0b"), "cannot be unpacked: embedded null byte"),
        (with_pax(size="-1024"), "cannot be unpacked: a header leads backwards"),
        (gzip.compress(header(tarfile.XHDTYPE, 0) * 3000), "cannot be unpacked: maximum recursion depth exceeded"),
    ],
)
def test_a_hostile_header_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    small = stl10()
    small.files["stl10_binary.tar.gz"] = content

    assert f"stl10_binary.tar.gz: {words}" in refused(small, tmp_path)


def test_a_member_larger_than_the_format_allows_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MEMBER_BYTES", 1 << 20)
    (tmp_path / "a.tar.gz").write_bytes(tar_gz({"a": bytes(1 << 26)}))

    with at_most(1 << 21), pytest.raises(CollabpipeError, match="a is larger than the format allows"):
        tar_members(tmp_path / "a.tar.gz", ["a"])


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ARCHIVE_BYTES", 400_000)
    assert "is larger than the format allows" in refused(stl10(), tmp_path)


@pytest.mark.parametrize("kept", [0, 20, 1000, 150_000, -10])
def test_an_archive_that_is_cut_short_is_refused(kept: int, tmp_path: Path) -> None:
    small = stl10()
    small.files["stl10_binary.tar.gz"] = small.files["stl10_binary.tar.gz"][:kept]

    told = refused(small, tmp_path)

    assert "stl10_binary.tar.gz: cannot be unpacked" in told
    assert "Fetch it again." in told


def test_an_archive_with_a_bit_flipped_inside_is_refused(tmp_path: Path) -> None:
    small = stl10()
    content = bytearray(small.files["stl10_binary.tar.gz"])
    content[len(content) // 2] ^= 1
    small.files["stl10_binary.tar.gz"] = bytes(content)

    assert "cannot be unpacked" in refused(small, tmp_path)


def test_an_archive_of_something_else_is_told_what_it_lacks(tmp_path: Path) -> None:
    small = stl10()
    small.files["stl10_binary.tar.gz"] = tar_gz({"stl10_binary/readme.txt": b"hello"})

    assert "holds no stl10_binary/train_X.bin, stl10_binary/train_y.bin" in refused(small, tmp_path)


def test_images_and_labels_of_different_numbers_are_refused(tmp_path: Path) -> None:
    small = fashion_mnist()
    small.files["train-labels-idx1-ubyte.gz"] = idx(np.zeros(29, np.uint8))
    (tmp_path / "fashion").mkdir()
    (tmp_path / "stl").mkdir()
    (tmp_path / "cifar").mkdir()
    batch = python2_pickle({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2, 3]})

    assert "(30, 28, 28) and labels (29,) do not fit" in refused(small, tmp_path / "fashion")
    assert "do not fit" in refused(stl10(**{"test_y.bin": b"\1\2"}), tmp_path / "stl")
    assert "26 images and 27 labels do not fit" in refused(cifar10(data_batch_1=batch), tmp_path / "cifar")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"labels": [1]}, "holds no images: data is not (n, 3072) bytes"),
        ({"data": np.zeros((2, 12), np.uint8), "labels": [1, 1]}, "holds no images"),
        ({"data": np.zeros((2, 3072), np.float32), "labels": [1, 1]}, "holds no images"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "holds no whole numbers labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": ["a", "b"]}, "holds no whole numbers labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2**70]}, "holds no whole numbers labels"),
        ([1, 2], "holds no"),
    ],
)
def test_a_batch_without_images_or_labels_is_refused(value: Any, words: str, tmp_path: Path) -> None:
    told = refused(cifar10(test_batch=pickle.dumps(value, 2)), tmp_path)

    assert "cifar-10-batches-py/test_batch: " in told
    assert words in told


# --- npz --------------------------------------------------------------------------------------------------------------

ROWS = np.zeros((4, 3072), np.uint8)


def announcing_more_rows() -> bytes:
    """An npz file whose header says nine rows, and whose data are four."""
    again = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz(data=ROWS, labels=[1] * 4))) as old, zipfile.ZipFile(again, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"(4, 3072)", b"(9, 3072)"))
    return again.getvalue()


BAD_NPZ: dict[str, tuple[bytes, str]] = {
    "objects": (npz(data=ROWS, labels=np.array([1, 2, 3, None], dtype=object)), "Object arrays cannot be loaded"),
    "code": (npz(data=ROWS, labels=np.array([Planted(Path("ran"))], dtype=object)), "Object arrays cannot be loaded"),
    "no zip": (b"<html>", "File is not a zip file"),
    "cut short": (npz(data=ROWS, labels=[1] * 4)[:-30], "File is not a zip file"),
    "damaged": (npz(data=ROWS, labels=[1] * 4).replace(bytes(3000), b"\1" * 3000, 1), "Bad CRC-32"),
    "other names": (npz(images=ROWS, labels=[1] * 4), "no item named 'data.npy'"),
    "other shape": (npz(data=ROWS[:, :12], labels=[1] * 4), "holds no images"),
    "false sizes": (announcing_more_rows(), "cannot be read as an npz file"),
}


@pytest.mark.parametrize("name", BAD_NPZ)
def test_a_bad_npz_file_is_refused(name: str, tmp_path: Path) -> None:
    content, words = BAD_NPZ[name]

    told = refused(small_imagenet32(packed=True, train_data_batch_7=content), tmp_path)

    assert "train_data_batch_7.npz: " in told
    assert words in told


def test_an_npz_member_larger_than_the_format_allows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet32, "MEMBER_BYTES", 1000)
    assert "data is larger than the format allows" in refused(small_imagenet32(packed=True), tmp_path)


# --- the annotators' labels -------------------------------------------------------------------------------------------


def human(**changes: Any) -> dict[str, Any]:
    labels = cifar10().train[1]
    keys = ["aggre_label", "random_label1", "random_label2", "random_label3", "worse_label"]
    return dict.fromkeys(["clean_label", *keys], labels) | changes


def swapped() -> Any:
    labels = cifar10().train[1].copy()
    labels[[4, 9]] = labels[[9, 4]]
    return labels


def zip_field(place: int, value: int) -> bytes:
    """A torch file with `value` in the field of its members' headers that begins at `place`."""
    content = bytearray(torch_zip(pickle.dumps(human(), 2)))
    for mark, shift in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
        content[content.index(mark) + place + shift] = value
    return bytes(content)


BAD_HUMAN: dict[str, tuple[bytes, str]] = {
    "another order": (
        torch_zip(pickle.dumps(human(clean_label=swapped()), 2)),
        "its clean labels differ from the data set's for 2 of 30 images, first for image 4: they are in",
    ),
    "fewer": (
        torch_zip(pickle.dumps(human(clean_label=swapped()[:29]), 2)),
        "labels 29 images, and the training set has 30",
    ),
    "a column short": (
        torch_zip(pickle.dumps(human(worse_label=swapped()[:29]), 2)),
        "worse_label holds no label for each",
    ),
    "beyond the classes": (
        torch_zip(pickle.dumps(human(worse_label=swapped() + 1), 2)),
        "worse_label holds no label for",
    ),
    "a column missing": (torch_zip(pickle.dumps({"clean_label": swapped()}, 2)), "clean labels differ"),
    "no numbers": (torch_zip(pickle.dumps(human(aggre_label=["a"]), 2)), "holds no whole numbers aggre_label"),
    "no dictionary": (torch_zip(pickle.dumps([1], 2)), "holds no whole numbers clean_label"),
    "corrupt zip": (torch_zip(pickle.dumps(human(), 2)).replace(b"label", b"lobel", 1), "Bad CRC-32"),
    "encrypted": (zip_field(6, 1), "is encrypted, password required for extraction"),
    "unknown compression": (zip_field(8, 99), "cannot be unpacked: That compression method is not supported"),
    "no torch file": (b"<html>", "cannot be read as plain data"),
}


@pytest.mark.parametrize("name", BAD_HUMAN)
def test_a_bad_file_of_annotators_labels_is_refused(name: str, tmp_path: Path) -> None:
    content, words = BAD_HUMAN[name]

    told = refused(cifar10(human=True, CIFAR_10_human=content), tmp_path)

    assert "CIFAR-10_human.pt" in told
    assert words in told


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_itself_saves_is_read_without_it(zipped: bool, tmp_path: Path) -> None:
    import torch

    labels = np.arange(300)
    torch.save({"clean_label": labels, "n": 3}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)

    found = torch_value(tmp_path / "a.pt")

    assert (found["clean_label"] == labels).all()
    assert found["n"] == 3


def test_a_torch_file_with_tensors_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"clean_label": torch.arange(3)}, tmp_path / "a.pt")

    with pytest.raises(CollabpipeError, match="plain data"):
        torch_value(tmp_path / "a.pt")


def test_the_sum_is_checked_before_a_planted_file_is_opened(tmp_path: Path) -> None:
    small = cifar10()
    (tmp_path / "own").mkdir()
    name = "cifar-10-python.tar.gz"
    (tmp_path / "own" / name).write_bytes(b"planted")

    with pytest.raises(CollabpipeError, match=f"Expected md5 {md5(small.files[name])}, found {md5(b'planted')}"):
        fetch(small.recipe(), tmp_path / "raw", tmp_path / "own")
