"""The training set on the device: uint8 images, batches as slices of a permutation, crop and flip per batch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from collabpipe.data.prepared import Images

FILL = 1 << 16
"""Images that are turned to channels last at a time, so that a large set is never in memory twice."""
MAPPED_BYTES = 1 << 29
"""On a CPU a larger set stays in its file's pages, which all processes share: a copy each would fill the memory."""


@dataclass(frozen=True)
class Pixels:
    """Images on the device, taken by position, with the numbers (H, W, C) that normalise them.

    images: (N, H, W, C) uint8; index: which of them are meant, in order, None for all.
    """

    images: Tensor
    index: Tensor | None
    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, data: Images, index: np.ndarray | None, device: torch.device) -> Pixels:
        """The images of `data` at positions `index` (None: all), moved to `device`."""
        index = np.arange(len(data.images)) if index is None else index
        channels, height, width = data.images.shape[1:]
        shape = (height, width, channels)
        # As large as an image: an inner loop over three channels alone would leave vector units idle.
        std, mean = torch.tensor(data.std), torch.tensor(data.mean)
        numbers = [part.expand(shape).contiguous().to(device) for part in (1.0 / (255.0 * std), -mean / std)]
        if device.type == "cpu" and len(index) * math.prod(shape) > MAPPED_BYTES:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # it is only read
                return cls(torch.from_numpy(data.images).permute(0, 2, 3, 1), torch.from_numpy(index), *numbers)
        images = torch.empty(len(index), *shape, dtype=torch.uint8, device=device)
        for start in range(0, len(index), FILL):
            part = torch.from_numpy(data.images[index[start : start + FILL]])
            images[start : start + FILL] = part.permute(0, 2, 3, 1).to(device)
        return cls(images, None, *numbers)

    def __len__(self) -> int:
        return len(self.images) if self.index is None else len(self.index)

    def __getitem__(self, positions: Tensor) -> Tensor:
        """(B,) positions to (B, H, W, C) uint8."""
        return self.images.index_select(0, positions if self.index is None else self.index[positions])

    def split(self, size: int) -> Iterator[Tensor]:
        """All images in order, `size` at a time; of none one part without any."""
        for start in range(0, max(len(self), 1), size):
            if self.index is None:
                yield self.images[start : start + size]
            else:
                yield self.images.index_select(0, self.index[start : start + size])

    def normalise(self, images: Tensor) -> Tensor:
        """(B, H, W, C) uint8 to floats (B, C, H, W) of mean 0 and deviation 1 a channel.

        Channels stay last in memory, as in the networks.
        """
        return images.to(self.scale.dtype).mul_(self.scale).add_(self.shift).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Augmentation:
    """Random crop after padding with black by `crop` pixels, and horizontal flip, each drawn per image."""

    crop: int
    flip: bool

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(B, H, W, C) uint8 to the same shape; draws nothing for what is switched off."""
        if not (self.crop or self.flip):
            return images
        size, height, width, channels = images.shape
        device, pad = images.device, self.crop
        wide = images.new_zeros(1 + self.flip, size, height + 2 * pad, width + 2 * pad, channels)
        inside = wide[:, :, pad : pad + height, pad : pad + width]
        inside[0] = images
        # Strides in bytes: where each image's window starts, and its rows.
        mirror, image, row, column, _ = wide.stride()
        starts = torch.arange(size, device=device) * image
        down = across = torch.zeros((), dtype=torch.long, device=device)
        if pad:
            down, across = torch.randint(0, 2 * pad + 1, (2, size), generator=generator, device=device)
        if self.flip:
            inside[1] = images.flip(2)
            flipped = torch.rand(size, generator=generator, device=device) < 0.5
            # Of the mirrored image the window lies as far from the other side.
            across = torch.where(flipped, 2 * pad - across, across)
            starts = starts + flipped * mirror
        starts = starts + down * row + across * column
        rows = starts[:, None] + torch.arange(height, device=device) * row
        # Every run of a row's length in memory, of which the windows' rows are copied whole.
        runs = wide.view(-1).unfold(0, width * channels, 1)
        return runs.index_select(0, rows.flatten()).view(images.shape)


@dataclass(frozen=True)
class Cut:
    """How an epoch of `images` is cut: as few batches as hold at most `batch_size`, their sizes equal or one apart.

    Every image is in one batch. A remainder on its own would be a batch of a few images, whose statistics (of batch
    normalisation, of correlations between images or channels) say next to nothing.
    """

    images: int
    batch_size: int

    @property
    def steps(self) -> int:
        """Batches per epoch: images / batch_size, rounded up."""
        return -(-self.images // self.batch_size)

    @property
    def smallest(self) -> int:
        """The images in the smaller batches, which come last."""
        return self.images // self.steps

    @property
    def larger(self) -> int:
        """How many batches, the first ones, have one image more."""
        return self.images % self.steps

    def bounds(self, step: int) -> tuple[int, int]:
        """Where the batch of `step` (from 0) starts and stops in the epoch's permutation."""
        start = step * self.smallest + min(step, self.larger)
        return start, start + self.smallest + (step < self.larger)
