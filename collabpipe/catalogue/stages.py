"""The stages of each network, as planning knows them: their names, their channels and the sizes of their maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collabpipe.common.registry import Registry
from collabpipe.common.validation import Strict

SAMPLES_PER_CHANNEL = 4
"""Correlations from fewer samples are little but chance."""


@dataclass(frozen=True)
class Layout:
    """The stages of a kind of network.

    width: what `channels` are counted in, unless told. channels: of each stage, in widths. strides: what each stage
    divides a map's side by, rounding up. more: channels that every stage has in addition. build: what makes
    the network, if a plugin brings it; the package's own are in `collabpipe.model.networks`.
    """

    width: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    more: int = 0
    build: Callable[..., Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the stages."""
        return tuple(f"stage{number}" for number in range(1, len(self.channels) + 1))


LAYOUTS: Registry[Layout] = Registry(
    "network",
    {
        "resnet8": Layout(16, (1, 2, 4), (1, 2, 2)),
        "resnet18": Layout(64, (1, 2, 4, 8), (1, 2, 2, 2)),
        "vgg16": Layout(64, (1, 2, 4, 8, 8), (2, 2, 2, 2, 2)),
        "preact_resnet18": Layout(64, (1, 2, 4, 8), (1, 2, 2, 2)),
        "resnet32": Layout(16, (1, 2, 4), (1, 2, 2)),
        "resnet110": Layout(16, (1, 2, 4), (1, 2, 2)),
        # Its width is the growth rate: a stage has the stem's channels and twelve times it per dense block so far.
        "densenet40": Layout(12, (12, 24, 36), (1, 2, 2), more=16),
        "wide_resnet28": Layout(160, (1, 2, 4), (1, 2, 2)),
    },
)


class Stages(Strict):
    """The stages of a network in a training, in order.

    names; channels, C; positions, H·W, of each stage's maps; batch: images of a batch, B.
    """

    names: tuple[str, ...]
    channels: tuple[int, ...]
    positions: tuple[int, ...]
    batch: int

    @classmethod
    def of(cls, kind: str, width: int | None, pixels: int, batch: int) -> Stages:
        """The stages of a network for images of `pixels` a side."""
        layout = LAYOUTS[kind]
        positions = []
        for stride in layout.strides:
            pixels = -(-pixels // stride)
            positions.append(pixels**2)
        channels = tuple((width or layout.width) * factor + layout.more for factor in layout.channels)
        return cls(names=layout.names, channels=channels, positions=tuple(positions), batch=batch)

    def batches(self, pooled: bool) -> dict[str, int]:
        """The batch from which a stage gives four samples for each channel: its images, or all their positions."""
        return {
            name: -(-SAMPLES_PER_CHANNEL * channels // (1 if pooled else positions))
            for name, channels, positions in zip(self.names, self.channels, self.positions, strict=True)
        }
