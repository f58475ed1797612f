"""Folders of images: layout, quality levels, scaling, and everything that a folder of one's own can have wrong."""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_json
from collabpipe.data import image_folder
from collabpipe.data.fetch import fetch
from collabpipe.data.labels import make_labels
from collabpipe.data.prepared import file_names, open_images, prepare, read_annotations
from collabpipe.plan.recipes import DataRecipe, LabelSeeds, LabelsRecipe
from collabpipe.settings.data import NoiseSettings
from tests.archives import Bytes


def recipe(**fields: Any) -> DataRecipe:
    known = {"dataset": "faces", "source": "image_folder", "image_size": 8}
    return DataRecipe.model_validate(known | fields)


def labels_recipe(data: DataRecipe, validation: int | None, seed: int = 0) -> LabelsRecipe:
    """Labels without noise of all images."""
    return LabelsRecipe(
        data=data,
        noise_name="none",
        noise=NoiseSettings(kind="none"),
        train_size=None,
        validation_size=validation,
        replicate=seed,
        seeds=LabelSeeds(subset=seed, noise=seed, split=seed),
    )


def save(path: Path, pixels: Bytes) -> None:
    """An image (H, W, 3) as a file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Two classes, two quality levels; each image is of one grey, which tells where it came from."""
    folder = tmp_path / "faces"
    grey = 0
    for split in ("train", "test"):
        for level in ("c23", "raw"):
            for name in ("fake", "real"):
                for number in range(3):
                    save(folder / split / level / name / f"{number}.png", np.full((8, 8, 3), grey, np.uint8))
                    grey += 10
    return folder


def refused(folder: Path, root: Path, **fields: Any) -> str:
    with pytest.raises(CollabpipeError) as caught:
        fetch(recipe(**fields), root / "raw", folder)
    assert not (root / "raw" / "fetched.json").exists()
    return str(caught.value)


@pytest.mark.parametrize("portion", [4, image_folder.PORTION], ids=["in two portions", "in one"])
def test_a_quality_level_is_prepared_with_its_labels(
    portion: int, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "PORTION", portion)
    asked = recipe(quality="raw")
    fetch(asked, tmp_path / "raw", faces)
    prepare(asked, tmp_path / "raw", tmp_path)

    train, test = (open_images(asked, tmp_path, split) for split in ("train", "test"))
    assert train.classes == ("fake", "real")
    assert train.images.shape == (6, 3, 8, 8)
    assert train.images[:, 0, 0, 0].tolist() == [60, 70, 80, 90, 100, 110]
    assert test.images[:, 2, 7, 7].tolist() == [180, 190, 200, 210, 220, 230]
    assert train.labels.tolist() == test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert read_annotations(asked, tmp_path)["label"].tolist() == [0, 0, 0, 1, 1, 1]
    assert read_json(tmp_path / "raw" / "fetched.json")["folder"] == str(faces)


def test_the_names_of_the_files_are_kept_in_the_order_of_the_images(faces: Path, tmp_path: Path) -> None:
    asked = recipe(quality="raw")
    fetch(asked, tmp_path / "raw", faces)
    prepare(asked, tmp_path / "raw", tmp_path)

    for split in ("train", "test"):
        names = file_names(asked, tmp_path, split)
        assert names == [f"{split}/raw/{name}/{number}.png" for name in ("fake", "real") for number in range(3)]
        pixels = open_images(asked, tmp_path, split).images
        assert all((image_folder.decode(faces / name, 8) == pixels[i]).all() for i, name in enumerate(names))
    table = pq.read_table(tmp_path / "annotations.parquet").to_pydict()
    assert table["split"] == ["train"] * 6 + ["test"] * 6
    assert table["label"] == [0, 0, 0, 1, 1, 1] * 2
    assert len(read_annotations(asked, tmp_path)["label"]) == 6


def test_a_source_without_a_file_per_image_has_no_names(tmp_path: Path) -> None:
    asked = DataRecipe(dataset="digits", source="digits", image_size=None)
    fetch(asked, tmp_path / "raw")
    prepare(asked, tmp_path / "raw", tmp_path)

    assert file_names(asked, tmp_path, "test") is None


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg", ".JPEG"])
def test_every_kind_is_read(suffix: str, tmp_path: Path) -> None:
    save(tmp_path / f"a{suffix}", np.full((8, 8, 3), 100, np.uint8))

    assert np.abs(image_folder.decode(tmp_path / f"a{suffix}", 8).astype(int) - 100).max() <= 2


def test_larger_images_are_averaged_over_areas_and_smaller_ones_interpolated(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    save(tmp_path / "large.png", pixels)
    save(tmp_path / "small.png", np.array([[[0] * 3, [100] * 3]], np.uint8))

    found = image_folder.decode(tmp_path / "large.png", 8)
    means = pixels.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.abs(found - means).max() <= 1
    assert image_folder.decode(tmp_path / "small.png", 4)[0, 0].tolist() == [0, 25, 75, 100]


def test_grey_images_and_palettes_become_three_channels(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "1"):
        Image.new(mode, (8, 8), 1).save(tmp_path / "a.png")
        assert image_folder.decode(tmp_path / "a.png", 8).shape == (3, 8, 8)


def test_more_than_8_bits_are_refused_and_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(path)

    fault = "it has more than 8 bits per channel (I;16), and only images of 8 bits are read."
    words = f"{path}: cannot be read as an image: {fault}"
    with pytest.raises(CollabpipeError, match=re.escape(words)):
        image_folder.decode(path, 8)


def test_an_image_is_turned_as_its_exif_data_say(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[200] * 3, [10] * 3]] * 2, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "a.png", exif=exif)

    assert image_folder.decode(tmp_path / "a.png", 2)[0].tolist() == [[10, 200], [10, 200]]


def test_transparent_pixels_are_laid_on_black(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (250, 100, 50, 0)).save(tmp_path / "a.png")
    Image.new("L", (8, 8), 77).save(tmp_path / "b.png", transparency=77)
    Image.new("RGBA", (8, 8), (250, 100, 50, 51)).save(tmp_path / "c.png")

    assert not image_folder.decode(tmp_path / "a.png", 8).any()
    assert not image_folder.decode(tmp_path / "b.png", 8).any()
    assert image_folder.decode(tmp_path / "c.png", 8)[:, 0, 0].tolist() == [50, 20, 10]


def bomb() -> bytes:
    """A PNG file that announces 60,000 pixels a side."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def another_kind() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "GIF")
    return out.getvalue()


@pytest.mark.parametrize("content", [b"", b"<html>", another_kind(), bomb()])
def test_a_broken_image_is_named(content: bytes, faces: Path, tmp_path: Path) -> None:
    broken = faces / "train" / "c23" / "real" / "1.png"
    broken.write_bytes(content)
    asked = recipe(quality="c23")
    fetch(asked, tmp_path / "raw", faces)

    with pytest.raises(CollabpipeError, match=re.escape(f"{broken}: cannot be read as an image")):
        prepare(asked, tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_cut_short_is_named(faces: Path, tmp_path: Path) -> None:
    broken = faces / "test" / "c23" / "real" / "1.png"
    save(broken, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    broken.write_bytes(broken.read_bytes()[:-2000])

    with pytest.raises(CollabpipeError, match=re.escape(f"{broken}: cannot be read as an image: image file is trunc")):
        image_folder.decode(broken, 8)


def remove(path: str) -> Callable[[Path], None]:
    def change(faces: Path) -> None:
        for file in sorted((faces / path).rglob("*"), reverse=True):
            if file.is_file():
                file.unlink()
            else:
                file.rmdir()
        (faces / path).rmdir()

    return change


def emptied(path: str) -> Callable[[Path], None]:
    def change(faces: Path) -> None:
        remove(path)(faces)
        (faces / path).mkdir()

    return change


def add(path: str) -> Callable[[Path], None]:
    def change(faces: Path) -> None:
        (faces / path).parent.mkdir(parents=True, exist_ok=True)
        (faces / path).write_bytes(b"?")

    return change


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no test": (remove("test"), "test: is missing. data_dir must hold train/ and test/"),
    "a class in one split only": (remove("test/c23/fake"), "holds 1 folders of classes"),
    "other classes": (
        lambda faces: (faces / "test/c23/fake").rename(faces / "test/c23/forged"),
        "train/c23 and test/c23 have not the same classes; in one only: fake, forged.",
    ),
    "a class without images": (
        emptied("train/c23/fake"),
        "train/c23/fake: holds no images",
    ),
    "no classes": (
        lambda faces: [remove(f"train/c23/{name}")(faces) for name in ("fake", "real")],
        "train/c23: holds 0 folders of classes",
    ),
    "a file beside the classes": (add("train/c23/notes.txt"), "notes.txt: lies beside the classes' folders"),
    "another kind of file": (add("train/c23/fake/0.tiff"), "0.tiff: is none of the kinds that are read: .png, .jpg"),
    "a link to nothing": (
        lambda faces: (faces / "train/c23/fake/a.png").symlink_to("none.png"),
        "train/c23/fake/a.png: is no file, or a link to nothing. Remove it or put the image there.",
    ),
    "a pipe": (lambda faces: os.mkfifo(faces / "train/c23/fake/a.png"), "fake/a.png: is no file, or a link to"),
    "a class that is not UTF-8": (
        lambda faces: (faces / "train/c23" / os.fsdecode(b"caf\xe9")).mkdir(),
        r"train/c23: 'caf\udce9' cannot name a class: it is not UTF-8. Rename the folder.",
    ),
    "a level only in train": (remove("test/c23"), "test: has no quality 'c23'. There are: raw."),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_folder_with_a_fault_is_refused(name: str, faces: Path, tmp_path: Path) -> None:
    change, words = FAULTS[name]
    change(faces)

    assert words in refused(faces, tmp_path, quality="c23")


def test_a_missing_quality_level_is_told_with_those_that_exist(faces: Path, tmp_path: Path) -> None:
    assert "has no quality 'c40'. There are: c23, raw." in refused(faces, tmp_path, quality="c40")


def test_levels_that_were_not_named_are_guessed_and_told(faces: Path, tmp_path: Path) -> None:
    assert "If c23 is a quality level, name it: quality: c23." in refused(faces, tmp_path)


def test_hidden_files_are_left_alone(faces: Path, tmp_path: Path) -> None:
    fetch(recipe(quality="c23"), tmp_path / "before", faces)
    (faces / "train" / ".DS_Store").touch()
    (faces / "train" / "c23" / "fake" / ".DS_Store").touch()

    fetch(recipe(quality="c23"), tmp_path / "raw", faces)

    assert read_json(tmp_path / "raw" / "fetched.json") == read_json(tmp_path / "before" / "fetched.json")


def test_a_folder_must_be_named_and_readable(tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match="an image_folder needs data_dir"):
        fetch(recipe(), tmp_path / "raw")
    assert "cannot be read: File name too long" in refused(tmp_path / ("x" * 300), tmp_path)
    assert "is missing" in refused(tmp_path / "none", tmp_path)


def test_a_size_must_be_given(faces: Path, tmp_path: Path) -> None:
    asked = recipe(quality="raw", image_size=None)
    fetch(asked, tmp_path / "raw", faces)

    with pytest.raises(CollabpipeError, match="an image_folder needs image_size"):
        prepare(asked, tmp_path / "raw", tmp_path / "out")


def test_accept_is_not_for_folders(faces: Path, tmp_path: Path) -> None:
    told = refused(faces, tmp_path, accept={"a.png": "0" * 32})

    assert "a.png is no file of image_folder. Allowed: nothing: it has no files with published sums" in told


@pytest.mark.parametrize("change", ["changed", "added", "renamed"])
def test_images_that_change_after_the_fetch_are_refused(change: str, faces: Path, tmp_path: Path) -> None:
    asked = recipe(quality="c23")
    fetch(asked, tmp_path / "raw", faces)
    path = faces / "train" / "c23" / "real" / "0.png"
    if change == "renamed":
        path.rename(path.with_name("9.png"))
    else:
        save(path if change == "changed" else path.with_name("9.png"), np.full((8, 8, 3), 77, np.uint8))

    with pytest.raises(CollabpipeError, match="its images were changed since they were fetched"):
        prepare(asked, tmp_path / "raw", tmp_path / "out")


# --- what folders of one's own look like ------------------------------------------------------------------------------


def prepared(folder: Path, root: Path, **fields: Any) -> dict[str, tuple[tuple[str, ...], list[int]]]:
    """Classes and labels of each split, after fetching and preparing."""
    asked = recipe(**fields)
    fetch(asked, root / "raw", folder)
    prepare(asked, root / "raw", root / "out")
    found = {split: open_images(asked, root / "out", split) for split in ("train", "test")}
    return {split: (images.classes, images.labels.tolist()) for split, images in found.items()}


def test_all_faults_of_a_folder_are_listed_up_to_a_limit_with_their_number(faces: Path, tmp_path: Path) -> None:
    for number in range(30):
        (faces / "train" / "c23" / "fake" / f"{number:02}.txt").touch()
    remove("test/c23/real")(faces)

    told = refused(faces, tmp_path, quality="c23").splitlines()

    assert len(told) == 21
    assert told[0].startswith(f"{faces / 'train/c23/fake/00.txt'}: is none of the kinds that are read")
    assert told[-1] == "and 12 more: 32 in all."


@pytest.mark.parametrize("splits", [("train",), ("test",), ("train", "test")])
def test_all_broken_images_are_listed(splits: tuple[str, ...], faces: Path, tmp_path: Path) -> None:
    broken = [faces / split / "c23" / name / "1.png" for split in splits for name in ("fake", "real")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:50])
    fetch(recipe(quality="c23"), tmp_path / "raw", faces)

    with pytest.raises(CollabpipeError) as caught:
        prepare(recipe(quality="c23"), tmp_path / "raw", tmp_path / "out")

    assert sorted(line.partition(":")[0] for line in str(caught.value).splitlines()) == sorted(map(str, broken))
    assert not (tmp_path / "out" / "record.json").exists()


def test_images_in_folders_of_a_class_folder_are_of_that_class(tmp_path: Path) -> None:
    """A folder for each video: it is no class."""
    for split, videos in (("train", ("000", "001")), ("test", ("002",))):
        for name in ("fake", "real"):
            for video in videos:
                for frame in range(2):
                    save(tmp_path / "frames" / split / name / video / f"{frame}.png", np.zeros((8, 8, 3), np.uint8))

    found = prepared(tmp_path / "frames", tmp_path)

    assert found == {
        "train": (("fake", "real"), [0, 0, 0, 0, 1, 1, 1, 1]),
        "test": (("fake", "real"), [0, 0, 1, 1]),
    }


def test_folders_that_may_be_levels_or_videos_are_refused_with_a_way_for_each(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for outer in ("fake", "real"):
            for inner in ("a", "b"):
                save(tmp_path / "frames" / split / outer / inner / "0.png", np.zeros((8, 8, 3), np.uint8))

    told = refused(tmp_path / "frames", tmp_path)

    assert "If fake is a quality level, name it: quality: fake. If fake is a class, put a level of your own" in told
    assert prepared(tmp_path / "frames", tmp_path / "levels", quality="fake")["train"] == (("a", "b"), [0, 1])
    for split in ("train", "test"):
        (tmp_path / "frames" / split / "all").mkdir()
        for outer in ("fake", "real"):
            (tmp_path / "frames" / split / outer).rename(tmp_path / "frames" / split / "all" / outer)
    classes = prepared(tmp_path / "frames", tmp_path / "classes", quality="all")["train"]
    assert classes == (("fake", "real"), [0, 0, 1, 1])


def test_two_spellings_of_a_name_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for split, name in (("train", composed), ("test", decomposed), ("train", "tea"), ("test", "tea")):
        save(tmp_path / "drinks" / split / name / "0.png", np.zeros((8, 8, 3), np.uint8))

    assert prepared(tmp_path / "drinks", tmp_path)["test"] == ((composed, "tea"), [0, 1])

    save(tmp_path / "drinks" / "train" / decomposed / "1.png", np.zeros((8, 8, 3), np.uint8))
    assert prepared(tmp_path / "drinks", tmp_path)["train"] == ((composed, "tea"), [0, 0, 1])

    save(tmp_path / "drinks" / "train" / decomposed / "0.png", np.zeros((8, 8, 3), np.uint8))
    assert "0.png in another of Unicode's spellings. Rename one." in refused(tmp_path / "drinks", tmp_path / "again")


@pytest.mark.parametrize("left", ["__MACOSX", ".ipynb_checkpoints", "@eaDir", "lost+found", "$RECYCLE.BIN"])
def test_what_systems_leave_is_no_class_and_no_level(left: str, faces: Path, tmp_path: Path) -> None:
    for place in ("train", "test/c23", "train/c23/fake"):
        (faces / place / left).mkdir()
        (faces / place / left / "._0.png").write_bytes(b"?")
    (faces / "train" / "c23" / "real" / "Thumbs.db").touch()

    assert prepared(faces, tmp_path, quality="c23")["train"] == (("fake", "real"), [0, 0, 0, 1, 1, 1])
    assert "There are: c23, raw." in refused(faces, tmp_path / "other", quality="c40")


@pytest.mark.parametrize(("kind", "name"), [("PNG", "a.JPEG"), ("JPEG", "a.png"), ("WEBP", "a.jpg"), ("BMP", "a.webp")])
def test_an_image_is_read_by_its_content_whatever_its_name_says(kind: str, name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        Image.new("RGB", (8, 8), (100, 100, 100)).save(file, kind)

    assert np.abs(image_folder.decode(tmp_path / name, 8).astype(int) - 100).max() <= 2


def test_a_link_in_a_circle_is_refused(faces: Path, tmp_path: Path) -> None:
    (faces / "train" / "c23" / "fake" / "again").symlink_to("..", target_is_directory=True)
    (faces / "train" / "c23" / "real" / "self").symlink_to(".", target_is_directory=True)

    told = refused(faces, tmp_path, quality="c23")

    assert f"{faces / 'train/c23/real/self'}: leads back to a folder that it lies in. Remove the link." in told


# --- a validation set of its own, several qualities -------------------------------------------------------------------


def test_a_folder_val_is_the_validation_set(faces: Path, tmp_path: Path) -> None:
    shutil.copytree(faces / "train", faces / "val")
    (faces / "val" / "raw" / "fake" / "0.png").unlink()
    asked = recipe(quality="raw")
    fetch(asked, tmp_path / "raw", faces)
    prepare(asked, tmp_path / "raw", tmp_path)

    train, test = (open_images(asked, tmp_path, split) for split in ("train", "test"))
    assert train.images[:, 0, 0, 0].tolist() == [60, 70, 80, 90, 100, 110, 70, 80, 90, 100, 110]
    assert train.mean[0] == pytest.approx(85 / 255), "of the training images alone"
    assert len(test.images) == 6
    known = read_annotations(asked, tmp_path)
    assert known["own_validation"].tolist() == [0] * 6 + [1] * 5
    names = file_names(asked, tmp_path, "train")
    assert names is not None
    assert names[5:7] == ["train/raw/real/2.png", "val/raw/fake/1.png"]
    labels = make_labels(labels_recipe(asked, None), train, known)
    assert np.flatnonzero(labels.validation).tolist() == list(range(6, 11))


def test_a_folder_val_does_not_change_the_training_images(faces: Path, tmp_path: Path) -> None:
    """Two prepared forms, one with and one without val/: what was there before is the same to the byte."""
    asked = recipe(quality="raw")
    for place in ("before", "after"):
        fetch(asked, tmp_path / place / "raw", faces)
        prepare(asked, tmp_path / place / "raw", tmp_path / place)
        shutil.copytree(faces / "train", faces / "val", dirs_exist_ok=True)

    assert (tmp_path / "before" / "test.arrow").read_bytes() == (tmp_path / "after" / "test.arrow").read_bytes()
    before, after = (open_images(asked, tmp_path / place, "train") for place in ("before", "after"))
    assert (after.images[:6] == before.images).all()
    assert (after.mean, after.std) == (before.mean, before.std)


@pytest.mark.parametrize("name", ["valid", "validation", "dev"])
def test_a_folder_that_seems_to_be_val_is_not_left_out_unseen(name: str, faces: Path, tmp_path: Path) -> None:
    shutil.copytree(faces / "train", faces / name)

    told = refused(faces, tmp_path, quality="raw")

    assert (
        told == f"{faces / name}: is not read. If it holds validation images, rename it to val; if not, move it away."
    )


def test_the_classes_of_val_are_those_of_train(faces: Path, tmp_path: Path) -> None:
    shutil.copytree(faces / "train", faces / "val")
    shutil.rmtree(faces / "val" / "raw" / "fake")
    shutil.copytree(faces / "val" / "raw" / "real", faces / "val" / "raw" / "genuine")

    assert "train/raw and val/raw have not the same classes; in one only: fake, genuine." in refused(
        faces, tmp_path, quality="raw"
    )


def test_each_split_can_have_its_quality(faces: Path, tmp_path: Path) -> None:
    asked = recipe(quality={"train": ("c23",), "test": ("raw",)})
    fetch(asked, tmp_path / "raw", faces)
    prepare(asked, tmp_path / "raw", tmp_path)

    train, test = (open_images(asked, tmp_path, split) for split in ("train", "test"))
    assert train.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    assert test.images[:, 0, 0, 0].tolist() == [180, 190, 200, 210, 220, 230]
    assert train.classes == test.classes == ("fake", "real")
    assert "test: has no quality 'c40'. There are: c23, raw." in refused(
        faces, tmp_path / "none", quality={"train": ("c23",), "test": ("c40",)}
    )


def test_the_versions_of_an_image_are_not_separated_where_qualities_are_mixed(faces: Path, tmp_path: Path) -> None:
    asked = recipe(quality={"train": ("c23", "raw"), "test": ("raw",)})
    fetch(asked, tmp_path / "raw", faces)
    prepare(asked, tmp_path / "raw", tmp_path)

    train, known = open_images(asked, tmp_path, "train"), read_annotations(asked, tmp_path)
    assert train.images[:, 0, 0, 0].tolist() == list(range(0, 120, 10))
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2
    for seed in range(5):
        labels = make_labels(labels_recipe(asked, 4, seed), train, known)
        assert labels.validation.sum() == 4
        assert (labels.validation[:6] == labels.validation[6:]).all()
