"""A split as its reader gives it: labels at once, images a portion at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError

PORTION = 4096
"""Images that are worked on together: few enough for a flat memory, enough to be quick."""


@dataclass(frozen=True)
class Split:
    """Training or test set.

    labels: (N,) int64; parts: the images in order as arrays (n, C, H, W) uint8, from the beginning at each call;
    annotations: further labels (N,) int64 by column; classes: their names, if the user's own files name them; files:
    the images' names, empty if the source has no file per image; groups: the name of each image's group, empty if
    each image stands for itself.
    """

    labels: NDArray[np.int64]
    parts: Callable[[], Iterator[NDArray[np.uint8]]]
    annotations: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        annotations: dict[str, NDArray[np.int64]] | None = None,
        classes: tuple[str, ...] = (),
    ) -> Split:
        """A split of images (N, C, H, W) that fit into memory."""
        return cls(labels, partial(portions, images), annotations or {}, classes)

    def followed_by(self, other: Split) -> Split:
        """The labels and images of this split and then those of another one."""
        return Split(np.concatenate([self.labels, other.labels]), lambda: chain(self.parts(), other.parts()))

    def shrunk(self, size: int) -> Split:
        """The same split, its images scaled down to `size` pixels a side."""
        return replace(self, parts=lambda: (shrink(part, size) for part in self.parts()))


def portions(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Images (N, C, H, W) as parts of at most PORTION."""
    for start in range(0, len(images), PORTION):
        yield images[start : start + PORTION]


def shrink(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scale images (N, C, H, W) down to `size` pixels a side by area averaging (each pixel weighs by its share).

    Raises:
        CollabpipeError: `size` is above the images' own.
    """
    if images.shape[2:] == (size, size):
        return images
    for axis in (2, 3):
        if size > images.shape[axis]:
            raise CollabpipeError(
                f"image_size {size} is above the images' own {images.shape[axis]}: they are only scaled down. Lower it."
            )
    rows, columns = (_area_weights(images.shape[axis], size) for axis in (2, 3))
    scaled = np.empty((*images.shape[:2], size, size), dtype=np.uint8)
    for start in range(0, len(images), PORTION):
        part = images[start : start + PORTION].astype(np.float32)
        scaled[start : start + PORTION] = np.rint(rows @ part @ columns.T)
    return scaled


def _area_weights(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): the share of each source pixel in each target pixel, rows summing to 1."""
    edges = np.arange(target + 1) * (source / target)
    pixels = np.arange(source)
    low = np.maximum(edges[:-1, None], pixels[None])
    high = np.minimum(edges[1:, None], pixels[None] + 1)
    weights: NDArray[np.float32] = (np.clip(high - low, 0, None) * (target / source)).astype(np.float32)
    return weights


def channel_statistics(split: Split) -> tuple[tuple[int, ...], list[float], list[float]]:
    """Shape (C, H, W), and per channel mean and standard deviation of the pixels scaled to [0, 1].

    The deviation of a constant channel is given as 1. Exact whatever the parts: from the integer sums that a histogram
    of the 256 values gives, rounded once.
    """
    shape: tuple[int, ...] = ()
    counts = np.zeros((0, 256), dtype=np.int64)
    for part in split.parts():
        if not shape:
            shape, counts = part.shape[1:], np.zeros((part.shape[1], 256), dtype=np.int64)
        for channel in range(shape[0]):
            counts[channel] += np.bincount(part[:, channel].reshape(-1), minlength=256)
    values = np.arange(256)
    means, deviations = [], []
    for channel_counts in counts:
        # Python's integers: n times a sum of squares outgrows 64 bits on ImageNet32.
        number, total, squares = (int((channel_counts * values**power).sum()) for power in (0, 1, 2))
        means.append(total / (255 * number))
        deviation = ((number * squares - total**2) / number**2) ** 0.5 / 255
        deviations.append(deviation or 1.0)  # images are divided by it, and a constant channel then stays at 0
    return shape, means, deviations
