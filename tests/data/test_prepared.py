"""The prepared form of data sets: digits, area averaging, IDX files, and Arrow files that are mapped, not copied."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import is_sealed
from collabpipe.data import formats
from collabpipe.data.formats import read_digits, read_idx
from collabpipe.data.prepared import data_record, open_images, prepare, read_annotations
from collabpipe.data.split import Split, channel_statistics, shrink
from collabpipe.plan.recipes import DataRecipe
from tests.allocations import at_most
from tests.archives import idx

DIGITS = DataRecipe(dataset="digits", source="digits", image_size=None)


def arrays(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images and labels of a split."""
    return np.concatenate(list(split.parts())), split.labels


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_1297_and_500_images_of_their_shape_and_classes() -> None:
    for split, size in zip(read_digits(), (1297, 500), strict=True):
        images, labels = arrays(split)
        assert images.shape == (size, 1, 8, 8)
        assert images.dtype == np.uint8
        assert (images.min(), images.max()) == (0, 255)
        assert labels.shape == (size,)
        assert labels.dtype == np.int64
        assert set(labels) == set(range(10))


def test_digits_are_split_by_class_and_every_image_is_used_once() -> None:
    (train, train_labels), (test, test_labels) = map(arrays, read_digits())
    source = load_digits()

    shares = np.bincount(source.target) * 500 / 1797
    assert (np.abs(np.bincount(test_labels) - shares) < 1).all()
    ours = sorted(
        (int(label), image.tobytes())
        for images, labels in ((train, train_labels), (test, test_labels))
        for image, label in zip(images, labels, strict=True)
    )
    theirs = np.round(source.images * 255 / 16).astype(np.uint8)
    assert ours == sorted((int(label), image.tobytes()) for image, label in zip(theirs, source.target, strict=True))


def test_digits_are_cut_the_same_way_every_time() -> None:
    (once, _), _ = map(arrays, read_digits())
    np.random.seed(1)  # the global stream, which must not matter
    (again, _), _ = map(arrays, read_digits())

    assert (once == again).all()


# --- the prepared form ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared digits; never written to."""
    folder = tmp_path_factory.mktemp("digits")
    prepare(DIGITS, folder / "raw", folder)
    return folder


def copied(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def mapped_ranges(path: Path) -> list[tuple[int, int]]:
    """The addresses at which this process has mapped a file, as the kernel tells."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = (line.split()[0] for line in lines if line.endswith(str(path)))
    return [(int(low, 16), int(high, 16)) for low, high in (span.split("-") for span in ranges)]


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_are_the_files_own_bytes_in_memory_and_not_a_copy(split: str, digits: Path) -> None:
    found = open_images(DIGITS, digits, split)

    ranges = mapped_ranges(digits / f"{split}.arrow")
    for array in (found.images, found.labels):
        start = array.__array_interface__["data"][0]
        assert any(low <= start and start + array.nbytes <= high for low, high in ranges)
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_images_labels_and_statistics_are_those_of_the_source(digits: Path) -> None:
    (images, labels), (test_images, test_labels) = map(arrays, read_digits())

    train, test = open_images(DIGITS, digits, "train"), open_images(DIGITS, digits, "test")

    assert (train.images == images).all()
    assert (train.labels == labels).all()
    assert (test.images == test_images).all()
    assert (test.labels == test_labels).all()
    assert train.classes == test.classes == tuple("0123456789")
    assert train.mean == pytest.approx((images.mean() / 255,))
    assert train.std == pytest.approx((images.std() / 255,))
    assert (test.mean, test.std) == (train.mean, train.std), "the test set is normalised by the training set"


def test_the_record_tells_sums_sizes_and_the_recipe(digits: Path) -> None:
    record = data_record(DIGITS, digits)

    assert record["recipe"] == DIGITS.digest
    assert is_sealed(record)
    for name, images in (("train.arrow", 1297), ("test.arrow", 500)):
        content = (digits / name).read_bytes()
        about = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "images": images}
        assert record["files"][name] == about


def test_the_training_labels_are_annotations_too(digits: Path) -> None:
    found = read_annotations(DIGITS, digits)

    assert found.keys() == {"label"}
    assert (found["label"] == open_images(DIGITS, digits, "train").labels).all()


def test_preparing_twice_gives_the_same_bytes(digits: Path, tmp_path: Path) -> None:
    prepare(DIGITS, tmp_path / "raw", tmp_path)

    for name in ("train.arrow", "test.arrow", "annotations.parquet", "record.json"):
        assert (tmp_path / name).read_bytes() == (digits / name).read_bytes()


def test_what_a_killed_preparation_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".train.arrow.abcd1234.part").write_bytes(b"half")

    prepare(DIGITS, tmp_path / "raw", tmp_path)

    assert not list(tmp_path.glob(".*.part"))


def test_a_second_preparation_waits_for_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = threading.Thread(target=prepare, args=(DIGITS, tmp_path / "raw", tmp_path))
    with FileLock(tmp_path / ".lock"):
        (tmp_path / ".train.arrow.abcd1234.part").write_bytes(b"half")
        second.start()
        second.join(1)
        assert second.is_alive()
        assert (tmp_path / ".train.arrow.abcd1234.part").exists(), "it may be the first one's"
    second.join(20)

    assert data_record(DIGITS, tmp_path)
    assert "another process prepares it; waiting" in capsys.readouterr().err


def test_a_constant_channel_deviates_by_1_and_so_can_be_divided_by() -> None:
    images = np.stack([np.full((4, 2, 2), 7), np.arange(16).reshape(4, 2, 2)], axis=1).astype(np.uint8)

    _, means, deviations = channel_statistics(Split.of(images, np.zeros(4, np.int64)))

    assert means == pytest.approx([7 / 255, 7.5 / 255])
    assert deviations == pytest.approx([1.0, np.arange(16).std() / 255])


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_an_arrow_file_that_was_cut_short_is_refused(kept: int, digits: Path, tmp_path: Path) -> None:
    folder = copied(digits, tmp_path / "digits")
    path = folder / "train.arrow"
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(CollabpipeError) as caught:
        open_images(DIGITS, folder, "train")

    assert str(path) in str(caught.value)
    assert "prepare" in str(caught.value)


def test_an_arrow_file_of_zeros_is_refused(digits: Path, tmp_path: Path) -> None:
    # What a file system may leave after a power cut: the length without the content.
    folder = copied(digits, tmp_path / "digits")
    path = folder / "train.arrow"
    path.write_bytes(bytes(path.stat().st_size))

    with pytest.raises(CollabpipeError, match=r"train\.arrow: cannot be read"):
        open_images(DIGITS, folder, "train")


def test_a_missing_folder_or_file_is_refused(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match=re.escape(str(tmp_path / "none"))):
        open_images(DIGITS, tmp_path / "none", "train")
    folder = copied(digits, tmp_path / "digits")
    (folder / "test.arrow").unlink()
    with pytest.raises(CollabpipeError, match=r"test\.arrow"):
        open_images(DIGITS, folder, "test")


def test_a_data_set_of_another_recipe_is_refused_with_both_names(digits: Path) -> None:
    other = DIGITS.model_copy(update={"image_size": 8})

    with pytest.raises(CollabpipeError) as caught:
        open_images(other, digits, "train")

    assert DIGITS.digest[:12] in str(caught.value)
    assert other.digest[:12] in str(caught.value)


def test_images_are_only_scaled_down(tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match="image_size 16 is above the images' own 8"):
        prepare(DIGITS.model_copy(update={"image_size": 16}), tmp_path / "raw", tmp_path / "digits")
    assert not (tmp_path / "digits").exists()


# --- area averaging ---------------------------------------------------------------------------------------------------


def image(*pixels: list[int]) -> NDArray[np.uint8]:
    return np.array(pixels, dtype=np.uint8)[None, None]


def test_halving_takes_the_mean_of_four_pixels() -> None:
    found = shrink(image([0, 4, 8, 8], [8, 12, 8, 8], [1, 1, 200, 0], [1, 1, 0, 200]), 2)

    assert found.tolist() == [[[[6, 8], [1, 100]]]]


def test_a_factor_that_is_no_integer_weighs_pixels_by_their_share() -> None:
    # 3 to 2: a target pixel is 1.5 wide, so it takes a whole pixel and half of the middle one: 2/3 and 1/3.
    found = shrink(image([0, 90, 180], [0, 90, 180], [0, 90, 180]), 2)
    assert found.tolist() == [[[[30, 150], [30, 150]]]]

    # In both directions at once: (2/3, 1/3) ⊗ (2/3, 1/3); only the middle pixel is lit, and a ninth of it goes to each.
    found = shrink(image([0, 0, 0], [0, 252, 0], [0, 0, 0]), 2)
    assert found.tolist() == [[[[28, 28], [28, 28]]]]


def test_five_pixels_to_three_by_hand() -> None:
    # Edges at 5/3 and 10/3: weights (3/5, 2/5), (1/5, 3/5, 1/5), (2/5, 3/5).
    row = [0, 50, 100, 150, 255]
    found = shrink(image(row, row, row, row, row), 3)

    assert found[0, 0, 0].tolist() == [20, 100, 213]


def test_an_image_of_its_own_size_stays_and_one_that_is_not_square_becomes_it() -> None:
    pixels = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)

    assert (shrink(pixels, 4) == pixels).all()
    assert shrink(np.full((1, 1, 6, 4), 7, dtype=np.uint8), 4).tolist() == [[[[7] * 4] * 4]]


def test_more_images_than_one_portion_are_all_scaled() -> None:
    pixels = np.repeat(np.arange(5000) % 256, 4).astype(np.uint8).reshape(5000, 1, 2, 2)

    assert (shrink(pixels, 1).reshape(-1) == np.arange(5000) % 256).all()


@given(data=st.data(), height=st.integers(1, 20), width=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_the_mean_is_kept_but_for_rounding(data: st.DataObject, height: int, width: int) -> None:
    pixels = data.draw(hnp.arrays(np.uint8, (1, 1, height, width)))
    size = data.draw(st.integers(1, min(height, width)))

    found = shrink(pixels, size)

    assert found.shape == (1, 1, size, size)
    assert abs(found.mean() - pixels.mean()) <= 0.5 + 1e-3
    assert pixels.min() <= found.min()
    assert found.max() <= pixels.max()


# --- IDX files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (0, 28, 28)])
def test_an_idx_file_is_read_as_it_was_written(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    (tmp_path / "a.gz").write_bytes(idx(array))

    found = read_idx(tmp_path / "a.gz")

    assert found.shape == shape
    assert found.dtype == np.uint8
    assert (found == array).all()


FOUR = np.arange(4, dtype=np.uint8)
BROKEN_IDX: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no IDX file"),
    "no gzip": (b"<html>404</html>", "cannot be unpacked"),
    "gzip cut short": (idx(np.zeros(9000, np.uint8))[:-12], "cannot be unpacked"),
    "gzip damaged": (idx(FOUR)[:-8] + b"\0\0\0\0" + idx(FOUR)[-4:], "cannot be unpacked"),
    "wrong magic": (gzip.compress(b"\1\0\x08\1\0\0\0\0"), "no IDX file"),
    "floats": (idx(FOUR, kind=0x0D), "no IDX file"),
    "header cut short": (gzip.compress(b"\0\0\x08"), "no IDX file"),
    "sizes cut short": (gzip.compress(b"\0\0\x08\3\0\0"), "no IDX file"),
    "data cut short": (gzip.compress(gzip.decompress(idx(FOUR))[:-1]), "holds 3 bytes where 4 belong"),
    "data too long": (gzip.compress(gzip.decompress(idx(FOUR)) + b"\0"), "holds more than 4 bytes where 4 belong"),
}


@pytest.mark.parametrize("name", BROKEN_IDX)
def test_a_broken_idx_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    content, words = BROKEN_IDX[name]
    (tmp_path / "a.gz").write_bytes(content)

    with pytest.raises(CollabpipeError) as caught:
        read_idx(tmp_path / "a.gz")

    assert str(tmp_path / "a.gz") in str(caught.value)
    assert words in str(caught.value)


def test_an_idx_file_that_unpacks_to_far_more_than_it_announces_is_given_up_early(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 4]) + bytes(1 << 26))
    assert len(bomb) < 1 << 17
    (tmp_path / "a.gz").write_bytes(bomb)

    with at_most(1 << 20), pytest.raises(CollabpipeError, match="holds more than 4 bytes where 4 belong"):
        read_idx(tmp_path / "a.gz")


def test_an_idx_file_that_announces_more_than_the_format_allows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 2]) + b"\xff" * 8))

    with pytest.raises(CollabpipeError, match=f"at most {formats.IDX_BYTES} belong"):
        read_idx(tmp_path / "a.gz")
