"""Readers of the sources' file formats: each gives training and test set from the verified files, by name."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabpipe.catalogue.sources import IMAGE_FOLDER, NPZ, SOURCES
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.progress import Progress
from collabpipe.common.seeds import derive_seed
from collabpipe.data.archives import AGAIN, tar_members, torch_value, unpickle
from collabpipe.data.image_folder import read_image_folder
from collabpipe.data.imagenet32 import batch_images, int_labels, read_imagenet32
from collabpipe.data.npz import read_npz
from collabpipe.data.split import Split
from collabpipe.plan.recipes import DataRecipe

IDX_UBYTE = 0x08
IDX_BYTES = 60000 * 28 * 28
"""The most that an IDX file may unpack to: MNIST's training images."""

HUMAN_KEYS = {
    "cifar10": {
        "human_aggre": "aggre_label",
        "human_random1": "random_label1",
        "human_random2": "random_label2",
        "human_random3": "random_label3",
        "human_worst": "worse_label",
    },
    "cifar100": {"human_fine": "noisy_label"},
}
"""The annotators' columns and their keys in the published files (github.com/UCSC-REAL/cifar-10-100n)."""
COARSE_KEY = "clean_coarse_label"


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in a gzipped IDX file of unsigned bytes (LeCun's MNIST format: magic, big-endian sizes, data).

    Never unpacks more than one byte beyond what the sizes announce.

    Raises:
        CollabpipeError: the file is no such file, is cut short or unpacks to too much.
    """
    try:
        with gzip.open(path, "rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != IDX_UBYTE:
                raise CollabpipeError(f"{path}: is no IDX file of bytes. {AGAIN}")
            sizes = file.read(4 * magic[3])
            if len(sizes) < 4 * magic[3]:
                raise CollabpipeError(f"{path}: is no IDX file of bytes. {AGAIN}")
            shape = tuple(int.from_bytes(sizes[start : start + 4], "big") for start in range(0, 4 * magic[3], 4))
            expected = math.prod(shape)
            if expected > IDX_BYTES:
                raise CollabpipeError(f"{path}: announces {expected} bytes, and at most {IDX_BYTES} belong. {AGAIN}")
            data = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CollabpipeError(f"{path}: cannot be unpacked: {error}. {AGAIN}") from error
    if len(data) != expected:
        found = f"more than {expected}" if len(data) > expected else str(len(data))
        raise CollabpipeError(f"{path}: holds {found} bytes where {expected} belong. {AGAIN}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def read_fashion_mnist(files: Mapping[str, Path]) -> tuple[Split, Split]:
    """Training and test set of Fashion-MNIST (Xiao et al., 2017) from its four IDX files."""
    splits = []
    for part in ("train", "t10k"):
        path = files[f"{part}-images-idx3-ubyte.gz"]
        images, labels = read_idx(path), read_idx(files[f"{part}-labels-idx1-ubyte.gz"])
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise CollabpipeError(f"{path}: images {images.shape} and labels {labels.shape} do not fit. {AGAIN}")
        splits.append(Split.of(images[:, None], labels.astype(np.int64)))
    return splits[0], splits[1]


def read_digits() -> tuple[Split, Split]:
    """scikit-learn's digits, cut into 1,297 training and 500 test images, stratified, by a fixed seed."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)),
        test_size=500,
        stratify=labels,
        random_state=derive_seed(0, "digits") % 2**32,
    )
    train, test = np.sort(train), np.sort(test)
    return Split.of(images[train], labels[train]), Split.of(images[test], labels[test])


def read_cifar(recipe: DataRecipe, files: Mapping[str, Path]) -> tuple[Split, Split]:
    """CIFAR-10 or CIFAR-100 (Krizhevsky, 2009) from its Python version, packed or not, and the annotators' labels.

    CIFAR-100's superclasses are the annotation `coarse`.
    """
    ten = recipe.source == "cifar10"
    folder, key = ("cifar-10-batches-py", "labels") if ten else ("cifar-100-python", "fine_labels")
    parts = {"train": [f"data_batch_{i}" for i in range(1, 6)] if ten else ["train"]}
    parts["test"] = ["test_batch"] if ten else ["test"]
    contents, origin = _contents(recipe, files, folder, [name for names in parts.values() for name in names])
    splits = []
    for names in parts.values():
        places = [f"{origin}/{name}" for name in names]
        batches = [unpickle(io.BytesIO(contents.pop(name)), place) for name, place in zip(names, places, strict=True)]
        images = np.concatenate([batch_images(batch, place) for batch, place in zip(batches, places, strict=True)])
        labels = _joined(batches, key, places, len(images))
        coarse = {} if ten else {"coarse": _joined(batches, "coarse_labels", places, len(images))}
        splits.append(Split.of(images, labels, coarse))
    train, test = splits
    for file in SOURCES[recipe.source].human if recipe.human_labels else ():
        human = read_human(files[file.name], HUMAN_KEYS[recipe.source], train.labels, train.annotations.get("coarse"))
        train.annotations.update(human)
    return train, test


def _contents(
    recipe: DataRecipe, files: Mapping[str, Path], folder: str, names: list[str]
) -> tuple[dict[str, bytes], str]:
    """The contents of the files `names`, in the archive's `folder` or unpacked, and where that is, for messages."""
    archive = files.get(SOURCES[recipe.source].files[0].name)
    if archive is None:
        return {name: files[name].read_bytes() for name in names}, str(files[names[0]].parent)
    members = tar_members(archive, [f"{folder}/{name}" for name in names])
    return {name: members.pop(f"{folder}/{name}") for name in names}, f"{archive}: {folder}"


def _joined(batches: list[Any], key: str, places: list[str], number: int) -> NDArray[np.int64]:
    labels = np.concatenate([int_labels(batch, key, place) for batch, place in zip(batches, places, strict=True)])
    if len(labels) != number:
        raise CollabpipeError(f"{places[0]}: {number} images and {len(labels)} labels do not fit. {AGAIN}")
    return labels


def read_human(
    path: Path, keys: Mapping[str, str], clean: NDArray[np.int64], coarse: NDArray[np.int64] | None = None
) -> dict[str, NDArray[np.int64]]:
    """The annotators' labels of CIFAR-N (Wei et al., 2022), by column, in the order of the data set's own labels.

    A file of CIFAR-100N whose coarse labels are not `coarse` is the one from before March 2023, when the authors
    replaced it (github.com/UCSC-REAL/cifar-10-100n, issue 6). Its fine labels are read all the same, and this is said.

    Raises:
        CollabpipeError: the file is damaged, or its clean labels are not `clean`, so that its order is another one.
    """
    value = torch_value(path)
    own = int_labels(value, "clean_label", path)
    if own.shape != clean.shape:
        raise CollabpipeError(f"{path}: labels {len(own)} images, and the training set has {len(clean)}. {AGAIN}")
    differing = np.flatnonzero(own != clean)
    if len(differing):
        raise CollabpipeError(
            f"{path}: its clean labels differ from the data set's for {len(differing)} of {len(clean)} images, first "
            f"for image {differing[0]}: they are in another order. Get the file "
            "whose labels are in the data set's own order."
        )
    if coarse is not None and COARSE_KEY in value and not np.array_equal(int_labels(value, COARSE_KEY, path), coarse):
        Progress(str(path)).say(
            "is CIFAR-100N's file from before March 2023, whose coarse labels are wrong. Only its fine labels are read."
        )
    columns = {column: int_labels(value, key, path) for column, key in keys.items()}
    for column, labels in columns.items():
        if labels.shape != clean.shape or labels.min() < 0 or labels.max() > clean.max():
            raise CollabpipeError(f"{path}: {keys[column]} holds no label for each image. {AGAIN}")
    return columns


def read_stl10(recipe: DataRecipe, files: Mapping[str, Path]) -> tuple[Split, Split]:
    """STL-10 (Coates et al., 2011): images column by column, labels from 1; the unlabelled images are left out."""
    names = [f"{split}_{part}.bin" for split in ("train", "test") for part in "Xy"]
    contents, origin = _contents(recipe, files, "stl10_binary", names)
    splits = []
    for images_name, labels_name in (names[:2], names[2:]):
        pixels = np.frombuffer(contents[images_name], dtype=np.uint8)
        labels = np.frombuffer(contents[labels_name], dtype=np.uint8).astype(np.int64) - 1
        if len(pixels) != len(labels) * 3 * 96 * 96:
            raise CollabpipeError(f"{origin}: {images_name} and {labels_name} do not fit. {AGAIN}")
        splits.append(Split.of(pixels.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2), labels))
    return splits[0], splits[1]


Reader = Callable[[DataRecipe, dict[str, Path]], tuple[Split, ...]]
"""Gives training and test set and, if the source has one of its own, the validation set."""
READERS: dict[str, Reader] = {
    "digits": lambda _recipe, _files: read_digits(),
    "fashion_mnist": lambda _recipe, files: read_fashion_mnist(files),
    "cifar10": read_cifar,
    "cifar100": read_cifar,
    "stl10": read_stl10,
    "imagenet32": lambda _recipe, files: read_imagenet32(files),
    IMAGE_FOLDER: read_image_folder,
    NPZ: lambda recipe, files: read_npz(files[NPZ], recipe.test_only),
}
