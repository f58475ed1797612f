"""ImageNet32 (Chrabaszcz et al., 2017), whose 3.9 GB of training images are read a file at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError
from collabpipe.data.archives import AGAIN, unpickle
from collabpipe.data.split import Split, portions

MEMBER_BYTES = 1 << 29
"""The most that an array of a batch may unpack to: the last and largest takes 393,594,624 bytes."""


def read_imagenet32(files: Mapping[str, Path]) -> tuple[Split, Split]:
    """Training and test set from the pickled batches or from the npz files; labels 1 to 1000 become 0 to 999."""
    train = [path for name, path in files.items() if name.startswith("train_data_batch_")]
    test = [path for name, path in files.items() if name.startswith("val_data")]
    return _split(train), _split(test)


def _split(paths: Sequence[Path]) -> Split:
    labels = np.concatenate([int_labels(_batch(path, "labels"), "labels", path) for path in paths])
    return Split(labels - 1, partial(_parts, paths))


def _parts(paths: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    for path in paths:
        yield from portions(batch_images(_batch(path, "data"), path))


def _batch(path: Path, key: str) -> Any:
    """A batch's dictionary; of an npz file with `key` alone."""
    if path.suffix != ".npz":
        with path.open("rb") as file:
            return unpickle(file, path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(f"{key}.npy").file_size
        if size > MEMBER_BYTES:
            raise ValueError(f"{key} is larger than the format allows")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key]}
    except Exception as error:  # a damaged header raises errors of all kinds, those of Python's parser among them
        raise CollabpipeError(f"{path}: cannot be read as an npz file of numbers: {error}. {AGAIN}") from error


def batch_images(batch: Any, origin: object) -> NDArray[np.uint8]:
    """The images (n, 3, 32, 32) under `data` in a batch of CIFAR's layout: rows of red, green and blue pixels.

    Raises:
        CollabpipeError: there are none.
    """
    data = batch.get("data") if isinstance(batch, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise CollabpipeError(f"{origin}: holds no images: data is not (n, 3072) bytes. {AGAIN}")
    return data.reshape(-1, 3, 32, 32)


def int_labels(value: Any, key: str, origin: object) -> NDArray[np.int64]:
    """The whole numbers (n,) under `key` in a dictionary, a list or an array.

    Raises:
        CollabpipeError: there are none.
    """
    found = value.get(key) if isinstance(value, dict) else None
    if isinstance(found, list) and all(isinstance(label, int) and label.bit_length() < 64 for label in found):
        found = np.array(found, dtype=np.int64)
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu" or found.ndim != 1 or not len(found):
        raise CollabpipeError(f"{origin}: holds no whole numbers {key}. {AGAIN}")
    return found.astype(np.int64)
