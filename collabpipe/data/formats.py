"""Readers of the sources' file formats: each returns images (N, C, H, W) uint8 and labels (N,) int64."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collabpipe.errors import CollabpipeError
from collabpipe.seeds import derive_seed

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]
IDX_UBYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in a gzipped IDX file of unsigned bytes (LeCun's MNIST format: magic, big-endian sizes, data).

    Raises:
        CollabpipeError: the file is no such file or is cut short.
    """
    try:
        with gzip.open(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise CollabpipeError(f"{path}: cannot be unpacked: {error}. Fetch it again.") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != IDX_UBYTE:
        raise CollabpipeError(f"{path}: is no IDX file of bytes. Fetch it again.")
    dimensions = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions))
    start = 4 + 4 * dimensions
    if len(data) - start != math.prod(shape):
        raise CollabpipeError(
            f"{path}: holds {len(data) - start} bytes where {math.prod(shape)} belong. Fetch it again."
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def read_fashion_mnist(folder: Path) -> tuple[Split, Split]:
    """Training and test set of Fashion-MNIST (Xiao et al., 2017) from its four IDX files."""
    splits = []
    for part in ("train", "t10k"):
        images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise CollabpipeError(f"{folder}: images {images.shape} and labels {labels.shape} do not fit.")
        splits.append((images[:, None], labels.astype(np.int64)))
    return splits[0], splits[1]


def read_digits(folder: Path) -> tuple[Split, Split]:  # noqa: ARG001 (nothing to fetch)
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
    return (images[train], labels[train]), (images[test], labels[test])


READERS: dict[str, Callable[[Path], tuple[Split, Split]]] = {
    "digits": read_digits,
    "fashion_mnist": read_fashion_mnist,
}


def shrink(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scale images (N, C, H, W) down to `size` pixels a side by area averaging (each pixel weighs by its share).

    Raises:
        CollabpipeError: `size` is above the images' own.
    """
    for axis in (2, 3):
        if size > images.shape[axis]:
            raise CollabpipeError(
                f"image_size {size} is above the images' own {images.shape[axis]}: images are only scaled down."
            )
    rows, columns = (_area_weights(images.shape[axis], size) for axis in (2, 3))
    scaled = np.empty((*images.shape[:2], size, size), dtype=np.uint8)
    for start in range(0, len(images), 4096):
        part = images[start : start + 4096].astype(np.float32)
        scaled[start : start + 4096] = np.rint(rows @ part @ columns.T)
    return scaled


def _area_weights(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): the share of each source pixel in each target pixel, rows summing to 1."""
    edges = np.arange(target + 1) * (source / target)
    pixels = np.arange(source)
    low = np.maximum(edges[:-1, None], pixels[None])
    high = np.minimum(edges[1:, None], pixels[None] + 1)
    weights: NDArray[np.float32] = (np.clip(high - low, 0, None) * (target / source)).astype(np.float32)
    return weights
