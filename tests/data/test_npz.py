"""The source npz: what is read, and what every mistake in such a file is told."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_json
from collabpipe.data.fetch import fetch
from collabpipe.data.labels import make_labels
from collabpipe.data.npz import read_npz
from collabpipe.data.prepared import file_names, open_images, prepare, read_annotations
from collabpipe.plan.recipes import DataRecipe, LabelSeeds, LabelsRecipe
from collabpipe.settings.data import NoiseSettings

RECIPE = DataRecipe(dataset="cells", source="npz", image_size=8)
GENERATOR = np.random.default_rng(0)
COLOUR = {
    name: GENERATOR.integers(0, 256, (n, 8, 8, 3), np.uint8) for name, n in (("train", 12), ("test", 6), ("val", 3))
}


def arrays(*splits: str, **changes: Any) -> dict[str, Any]:
    """The arrays of three classes in turn, with labels (N, 1) uint8 as in MedMNIST; a change to None leaves one out."""
    found: dict[str, Any] = {}
    for name in splits or ("train", "test"):
        found[f"{name}_images"] = COLOUR[name]
        found[f"{name}_labels"] = (np.arange(len(COLOUR[name])) % 3).astype(np.uint8)[:, None]
    return {name: value for name, value in (found | changes).items() if value is not None}


def write(path: Path, values: dict[str, Any]) -> Path:
    np.savez_compressed(path, **values)
    return path


def prepared(path: Path, root: Path) -> Path:
    fetch(RECIPE, root / "raw", path)
    prepare(RECIPE, root / "raw", root / "out")
    return root / "out"


def test_images_labels_and_names_of_classes_come_back(tmp_path: Path) -> None:
    names = np.array(["basophil", "eosinophil", "platelet"])
    folder = prepared(write(tmp_path / "a.npz", arrays(class_names=names)), tmp_path)

    for split in ("train", "test"):
        found = open_images(RECIPE, folder, split)
        assert (found.images == COLOUR[split].transpose(0, 3, 1, 2)).all()
        assert found.labels.tolist() == [0, 1, 2] * (len(found.labels) // 3)
        assert found.classes == ("basophil", "eosinophil", "platelet")
    assert read_annotations(RECIPE, folder).keys() == {"label"}
    assert file_names(RECIPE, folder, "test") is None


def test_grey_images_and_labels_without_names_are_read(tmp_path: Path) -> None:
    grey = {f"{name}_images": COLOUR[name][..., 0] for name in ("train", "test")}
    labels = np.arange(12) % 3
    found = open_images(
        RECIPE, prepared(write(tmp_path / "a.npz", arrays(**grey, train_labels=labels)), tmp_path), "train"
    )

    assert found.images.shape == (12, 1, 8, 8)
    assert (found.images[:, 0] == COLOUR["train"][..., 0]).all()
    assert found.classes == ("0", "1", "2")


def labels_recipe(train: int | None, validation: int | None) -> LabelsRecipe:
    return LabelsRecipe(
        data=RECIPE,
        noise_name="none",
        noise=NoiseSettings(kind="none"),
        train_size=train,
        validation_size=validation,
        replicate=0,
        seeds=LabelSeeds(subset=1, noise=2, split=3),
    )


def test_the_own_validation_set_is_the_validation_set(tmp_path: Path) -> None:
    folder = prepared(write(tmp_path / "a.npz", arrays("train", "val", "test")), tmp_path)
    images, known = open_images(RECIPE, folder, "train"), read_annotations(RECIPE, folder)

    assert (images.images[12:] == COLOUR["val"].transpose(0, 3, 1, 2)).all(), "they follow the training images"
    assert images.mean == pytest.approx(COLOUR["train"].reshape(-1, 3).mean(0) / 255), "of the training images alone"
    assert read_json(folder / "record.json")["files"]["train.arrow"]["validation"] == 3
    whole = make_labels(labels_recipe(None, None), images, known)
    assert whole.index.tolist() == list(range(15))
    assert np.flatnonzero(whole.validation).tolist() == [12, 13, 14]
    part = make_labels(labels_recipe(6, 2), images, known)
    assert part.index[part.validation].min() >= 12
    assert part.validation.sum() == 2
    assert part.index[~part.validation].max() < 12
    assert np.bincount(part.clean[~part.validation]).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("train", "validation", "words"),
    [
        (13, None, "train_size 13 asks for more than the 12 images of the training set. Lower it, or leave out"),
        (None, 4, "validation_size 4 asks for more than the 3 images of the validation set of its own"),
    ],
)
def test_more_than_the_own_sets_have_is_refused(
    train: int | None, validation: int | None, words: str, tmp_path: Path
) -> None:
    folder = prepared(write(tmp_path / "a.npz", arrays("train", "val", "test")), tmp_path)

    with pytest.raises(CollabpipeError, match=words):
        make_labels(
            labels_recipe(train, validation), open_images(RECIPE, folder, "train"), read_annotations(RECIPE, folder)
        )


def test_without_a_validation_set_its_size_is_asked_for(tmp_path: Path) -> None:
    folder = prepared(write(tmp_path / "a.npz", arrays()), tmp_path)

    with pytest.raises(CollabpipeError, match=r"has no validation set of its own. Set datasets.cells.validation_size"):
        make_labels(labels_recipe(None, None), open_images(RECIPE, folder, "train"), read_annotations(RECIPE, folder))


def changed(array: Any, position: Any, value: Any) -> Any:
    array = array.copy()
    array[position] = value
    return array


FLOATS = COLOUR["train"].astype(np.float32) / 255
LABELS = np.arange(12) % 3
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an array is missing": (
        arrays(test_labels=None),
        "test_labels: is missing. There are: train_images, train_labels, test_images. Write it: np.savez_compressed(",
    ),
    "validation without labels": (arrays("train", "val", "test", val_labels=None), "val_labels: is missing."),
    "another name of validation": (
        arrays(valid_images=COLOUR["val"]),
        "valid_images: is no array that is read. Read are: train_images",
    ),
    "floats": (
        arrays(train_images=FLOATS),
        "train_images: is of type float32, 0.0 to 1.0, where uint8 belongs. Convert",
    ),
    "NaN": (
        arrays(train_images=changed(FLOATS, (5, 1), np.nan)),
        "train_images: row 5 holds NaN (1 such rows). Remove",
    ),
    "wide numbers": (
        arrays(train_images=COLOUR["train"].astype(np.int64)),
        "train_images: is of type int64, 0 to 255,",
    ),
    "channels first": (
        arrays(train_images=COLOUR["train"].transpose(0, 3, 1, 2)),
        "(N, H, W, C) with C up to 4 belongs. Put the channels last: images.transpose(0, 2, 3, 1).",
    ),
    "volumes": (
        arrays(train_images=np.zeros((12, 8, 8, 8, 1), np.uint8)),
        "has shape (12, 8, 8, 8, 1) where (N, H, W)",
    ),
    "no images": (arrays(test_images=COLOUR["test"][:0]), "test_images: holds no images: its shape is (0, 8, 8, 3)."),
    "other sizes": (arrays(test_images=COLOUR["test"][:, :4]), "test_images: has images of shape (3, 4, 8) and train"),
    "too few labels": (arrays(train_labels=LABELS[:9]), "train_labels: has 9 rows, and train_images has 12."),
    "several labels": (arrays(train_labels=np.eye(3, dtype=int)[LABELS]), "train_labels: has shape (12, 3) where (N,)"),
    "labels that are floats": (
        arrays(train_labels=LABELS * 1.0),
        "train_labels: is of type float64 where whole numbers",
    ),
    "labels that are NaN": (arrays(train_labels=changed(LABELS * 1.0, 4, np.nan)), "train_labels: row 4 holds NaN"),
    "labels that are texts": (arrays(train_labels=LABELS.astype(str)), "train_labels: is of type <U21 where whole"),
    "a negative label": (arrays(train_labels=changed(LABELS, 7, -1)), "train_labels: row 7 is -1 where 0 to 2 belong"),
    "a label only in test": (arrays(test_labels=np.arange(6)), "test_labels: row 3 is 3 where 0 to 2 belong (3 such"),
    "a label beyond the names": (arrays(class_names=np.array(["a", "b"])), "train_labels: row 2 is 2 where 0 to 1"),
    "a class without images": (arrays(train_labels=LABELS * 2), "train_labels: has no image of class 1, 3. Give each"),
    "one class": (arrays(train_labels=LABELS * 0, test_labels=np.zeros(6, int)), "train_labels: has fewer than two"),
    "a name twice": (arrays(class_names=np.array(["a", "b", "a"])), "class_names: names 'a' twice."),
    "names that are numbers": (arrays(class_names=np.arange(3)), "class_names: is no list of texts. Write it as"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_file_array_and_remedy(name: str, tmp_path: Path) -> None:
    values, words = MISTAKES[name]
    path = write(tmp_path / "a.npz", values)

    with pytest.raises(CollabpipeError) as caught:
        read_npz(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert str(caught.value).endswith(".")


class Planted:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("planted",)


def test_objects_are_refused_and_nothing_of_them_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.npz", arrays(class_names=np.array([Planted()] * 3, dtype=object)))

    with pytest.raises(CollabpipeError, match="class_names: holds Python objects, which only pickle can read"):
        read_npz(path)
    assert not Path("planted").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", pickle.dumps([1])], ids=["empty", "page", "pickle"])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)

    with pytest.raises(CollabpipeError, match=r"a\.npz: is no npz file\. Write one with np\.savez_compressed"):
        read_npz(tmp_path / "a.npz")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", arrays())
    content = bytearray(path.read_bytes())
    content[400] ^= 255
    path.write_bytes(content)

    with pytest.raises(CollabpipeError, match=r"a\.npz: cannot be read as an npz file: "):
        read_npz(path)


def test_a_file_that_is_missing_or_changed_is_told(tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match="an npz needs data_dir: the npz file"):
        fetch(RECIPE, tmp_path / "raw")
    with pytest.raises(CollabpipeError, match=re.escape(f"{tmp_path}: is no file. The data_dir of an npz source is")):
        fetch(RECIPE, tmp_path / "raw", tmp_path)
    path = write(tmp_path / "a.npz", arrays())
    fetch(RECIPE, tmp_path / "raw", path)
    write(path, arrays(train_images=255 - COLOUR["train"]))
    with pytest.raises(CollabpipeError, match=r"a\.npz: its images were changed since they were fetched"):
        prepare(RECIPE, tmp_path / "raw", tmp_path / "out")


def test_images_are_only_scaled_down(tmp_path: Path) -> None:
    asked = RECIPE.model_copy(update={"image_size": 9})
    fetch(asked, tmp_path / "raw", write(tmp_path / "a.npz", arrays()))

    with pytest.raises(CollabpipeError, match="image_size 9 is above the images' own 8"):
        prepare(asked, tmp_path / "raw", tmp_path / "out")
