"""The training set on the device: uint8 images, batches as slices of a permutation, crop and flip per batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from collabpipe.data.store import Images


@dataclass(frozen=True)
class Pixels:
    """Images (N, C, H, W) uint8 on the device, with the numbers that normalise them."""

    images: Tensor
    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, data: Images, index: np.ndarray | None, device: torch.device) -> Pixels:
        """The images of `data` at positions `index` (None: all), moved to `device`."""
        chosen = data.images if index is None else data.images[index]
        std = torch.tensor(data.std)[:, None, None]
        mean = torch.tensor(data.mean)[:, None, None]
        # torch wants a writable array; the memory map is not, and is only read.
        images = torch.from_numpy(chosen.copy() if index is None else chosen).to(device)
        return cls(images, (1.0 / (255.0 * std)).to(device), (-mean / std).to(device))

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 pixels to floats of mean 0 and deviation 1 a channel, channels last in memory as in the networks."""
        return images.to(self.scale.dtype, memory_format=torch.channels_last) * self.scale + self.shift


@dataclass(frozen=True)
class Augmentation:
    """Random crop after padding with black by `crop` pixels, and horizontal flip, each drawn per image."""

    crop: int
    flip: bool

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(B, C, H, W) uint8 to the same shape; draws nothing for what is switched off."""
        size, device = len(images), images.device
        if self.crop:
            images = _crop(images, self.crop, generator)
        if self.flip:
            flipped = torch.rand(size, generator=generator, device=device) < 0.5
            images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
        return images


def _crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    size, channels, height, width = images.shape
    device = images.device
    offsets = torch.randint(0, 2 * padding + 1, (2, size), generator=generator, device=device)
    rows = offsets[0][:, None] + torch.arange(height, device=device)
    columns = offsets[1][:, None] + torch.arange(width, device=device)
    padded = F.pad(images, (padding,) * 4)
    return padded[
        torch.arange(size, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches of an epoch; a last batch of a single image is left out, as batch normalisation cannot take it."""
    return images // batch_size + (1 if images % batch_size > 1 else 0)
