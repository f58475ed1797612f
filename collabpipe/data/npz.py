"""Images and labels in one npz file of the user's own, as MedMNIST (Yang et al., 2023) publishes its data sets."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError, nearest
from collabpipe.data.split import Split

TEST_ALONE = ("test_images", "test_labels")
REQUIRED = ("train_images", "train_labels", *TEST_ALONE)
VALIDATION = ("val_images", "val_labels")
CLASS_NAMES = "class_names"
CHANNELS = 4
"""The most channels of an image: colours and transparency."""
WRITE = "np.savez_compressed(FILE, train_images=…, train_labels=…, test_images=…, test_labels=…)"

Arrays = dict[str, NDArray[Any]]


def read_npz(path: Path, test_only: bool = False) -> tuple[Split, ...]:
    """Training and test set and, if the file has one, the validation set; or the test set alone.

    Images are uint8 of shape (N, H, W) or (N, H, W, C), labels whole numbers of shape (N,) or (N, 1). Without
    `class_names` (texts) the classes are called by their numbers.

    Raises:
        CollabpipeError: no such file; the file, the array, the row and what to do are named.
    """
    arrays = _arrays(path, test_only)
    names = ["test"] if test_only else ["train", "test", *(["val"] if "val_images" in arrays else [])]
    splits = {name: (_images(path, arrays, f"{name}_images"), _labels(path, arrays, name)) for name in names}
    first = names[0]
    shape = splits[first][0].shape[1:]
    for name, (images, _) in splits.items():
        if images.shape[1:] != shape:
            _refuse(
                path,
                f"{name}_images",
                f"has images of shape {images.shape[1:]} and train_images of {shape} (channels, height, width)",
                "Bring all images to one size",
            )
    classes = _classes(path, arrays, splits[first][1], f"{first}_labels")
    for name, (_, labels) in splits.items():
        wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
        if len(wrong):
            _refuse(
                path,
                f"{name}_labels",
                f"row {wrong[0]} is {labels[wrong[0]]} where 0 to {len(classes) - 1} belong ({len(wrong)} such rows)",
                "Number the classes from 0, and give each class a name or a training image",
            )
    return tuple(Split.of(*splits[name], classes=classes) for name in names)


def _refuse(path: Path, array: str, fault: str, remedy: str) -> NoReturn:
    raise CollabpipeError(f"{path}: {array}: {fault}. {remedy}.")


def _arrays(path: Path, test_only: bool) -> Arrays:
    """All arrays of the file that are read, by name."""
    try:
        if not zipfile.is_zipfile(path):
            raise CollabpipeError(f"{path}: is no npz file. Write one with {WRITE}.")
        with np.load(path, allow_pickle=False) as file:
            _check_names(path, file.files, TEST_ALONE if test_only else REQUIRED)
            found: Arrays = {}
            for name in (*REQUIRED, *VALIDATION, CLASS_NAMES):
                if name in file.files:
                    found[name] = _array(path, file, name)
            return found
    except CollabpipeError:
        raise
    except Exception as error:  # damaged bytes raise errors of all kinds
        raise CollabpipeError(f"{path}: cannot be read as an npz file: {error}. Write it again: {WRITE}.") from error


def _array(path: Path, file: Any, name: str) -> NDArray[Any]:
    try:
        found: NDArray[Any] = file[name]
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        _refuse(
            path,
            name,
            "holds Python objects, which only pickle can read, and pickle can run code. It was not read",
            "Write it as an array of one type: numbers, or texts as in np.array([...], dtype=str)",
        )
    return found


def _check_names(path: Path, names: list[str], required: tuple[str, ...]) -> None:
    known = (*REQUIRED, *VALIDATION, CLASS_NAMES)
    # An array that looks like a split and is none would be left out unseen.
    odd = [name for name in names if name not in known and name.endswith(("_images", "_labels"))]
    if odd:
        _refuse(
            path,
            odd[0],
            f"is no array that is read. Read are: {', '.join(known)}",
            f"Rename it or leave it out{nearest(odd[0], known) or '.'}".removesuffix("."),
        )
    wanted = (*required, *(VALIDATION if set(VALIDATION) & set(names) else ()))
    if missing := [name for name in wanted if name not in names]:
        _refuse(path, missing[0], f"is missing. There are: {', '.join(names) or 'none'}", f"Write it: {WRITE}")


def _images(path: Path, arrays: Arrays, name: str) -> NDArray[np.uint8]:
    """The images (N, C, H, W) of an array."""
    images = arrays[name]
    if images.dtype != np.uint8:
        _refuse_nan(path, name, images)
        extent = f", {images.min()} to {images.max()}," if images.size and images.dtype.kind in "fiu" else ""
        _refuse(
            path,
            name,
            f"is of type {images.dtype}{extent} where uint8 belongs",
            "Convert it: images.astype(np.uint8) if its values are 0 to 255, or "
            "np.round(255 * images).astype(np.uint8) if they are 0 to 1",
        )
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] > CHANNELS):
        first = images.ndim == 4 and images.shape[1] <= CHANNELS
        _refuse(
            path,
            name,
            f"has shape {images.shape} where (N, H, W) or (N, H, W, C) with C up to {CHANNELS} belongs",
            "Put the channels last: images.transpose(0, 2, 3, 1)" if first else "Give each image two dimensions",
        )
    if not images.size:
        _refuse(path, name, f"holds no images: its shape is {images.shape}", "Each split needs images")
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def _refuse_nan(path: Path, name: str, values: NDArray[Any]) -> None:
    if values.dtype.kind == "f" and (rows := np.flatnonzero(np.isnan(values).reshape(len(values), -1).any(1))).size:
        _refuse(path, name, f"row {rows[0]} holds NaN ({len(rows)} such rows)", "Remove these images or repair them")


def _labels(path: Path, arrays: Arrays, split: str) -> NDArray[np.int64]:
    name = f"{split}_labels"
    labels = arrays[name]
    if labels.dtype.kind not in "iu":
        _refuse_nan(path, name, labels)
        _refuse(
            path,
            name,
            f"is of type {labels.dtype} where whole numbers belong",
            "Give each class a number from 0, put their names into class_names, and use labels.astype(np.int64)",
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as MedMNIST has them
    if labels.ndim != 1:
        _refuse(
            path,
            name,
            f"has shape {labels.shape} where (N,) belongs",
            "Give each image one label: labels.argmax(1) if they are one-hot",
        )
    images = len(arrays[f"{split}_images"])
    if len(labels) != images:
        _refuse(path, name, f"has {len(labels)} rows, and {split}_images has {images}", "Give each image one label")
    return labels.astype(np.int64)


def _classes(path: Path, arrays: Arrays, labels: NDArray[np.int64], array: str) -> tuple[str, ...]:
    names = arrays.get(CLASS_NAMES)
    if names is None:
        classes = tuple(map(str, range(int(labels.max()) + 1)))
    else:
        if names.dtype.kind != "U" or names.ndim != 1:
            _refuse(path, CLASS_NAMES, "is no list of texts", "Write it as np.array([...], dtype=str)")
        classes = tuple(names.tolist())
        if len(set(classes)) < len(classes):
            twice = next(name for name in classes if classes.count(name) > 1)
            _refuse(path, CLASS_NAMES, f"names {twice!r} twice", "Give each class a name of its own")
    if len(classes) < 2:
        _refuse(path, CLASS_NAMES if names is not None else array, "has fewer than two classes", "Add classes")
    present = set(labels.tolist())
    lacking = [name for number, name in enumerate(classes) if number not in present]
    if lacking and (names is None or array != "test_labels"):  # a test set need not have every class
        _refuse(
            path,
            array,
            f"has no image of class {', '.join(lacking[:10])}",
            "Give each class an image, and number the classes from 0 without gaps",
        )
    return classes
