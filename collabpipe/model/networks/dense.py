"""The densely connected networks (Huang et al., 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from collabpipe.catalogue.stages import LAYOUTS
from collabpipe.model.networks.staged import Stage, StagedNetwork

LAYERS = 12
"""Layers of a dense block of DenseNet-40: (40 - 4) / 3."""


class DenseLayer(nn.Module):
    """Normalisation, ReLU and a 3×3 convolution to `growth` channels, which are put behind those of the input."""

    def __init__(self, channels_in: int, growth: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels_in)
        self.conv = nn.Conv2d(channels_in, growth, 3, 1, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C + growth, H, W)."""
        return torch.cat([features, self.conv(self.bn(features).relu())], 1)


def _transition(channels: int) -> list[nn.Module]:
    """What halves the side of the maps between two blocks; it rounds up, so that maps of 1 pixel pass too."""
    convolution = nn.Conv2d(channels, channels, 1, bias=False)
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), convolution, nn.AvgPool2d(2, ceil_mode=True)]


def densenet40(growth: int, channels: int, classes: int) -> StagedNetwork:
    """DenseNet of 40 layers without bottlenecks and compression: DenseNet-40-12 at growth 12.

    Three dense blocks of twelve layers behind a stem of 16 channels. A transition begins the stage of the block behind
    it; the normalisation and the ReLU behind the last block belong to the last stage.
    """
    channels_in = stem = LAYOUTS["densenet40"].more
    stages: dict[str, nn.Module] = {}
    for number in range(3):
        start = _transition(channels_in) if number else []
        layers = [DenseLayer(channels_in + layer * growth, growth) for layer in range(LAYERS)]
        channels_in += LAYERS * growth
        end = [nn.BatchNorm2d(channels_in), nn.ReLU(inplace=True)] if number == 2 else []
        stages[f"stage{number + 1}"] = Stage(*start, *layers, *end)
    return StagedNetwork(nn.Conv2d(channels, stem, 3, 1, 1, bias=False), stages, channels_in, classes)
