"""VGG (Simonyan and Zisserman, 2015)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from collabpipe.model.networks.staged import Stage, StagedNetwork
from collabpipe.model.networks.torchvision_models import torchvision_models


def vgg16(width: int, channels: int, classes: int) -> StagedNetwork:
    """torchvision's VGG-16 with batch normalisation, five stages and a one-layer classifier."""
    layers = torchvision_models().vgg
    scale = width / 64
    plan = [c if c == "M" else int(c * scale) for c in layers.cfgs["D"]]
    parts = layers.make_layers(plan, batch_norm=True)
    parts[0] = nn.Conv2d(channels, parts[0].out_channels, 3, padding=1)
    stages: dict[str, nn.Module] = {}
    start = 0
    for position, layer in enumerate(parts):
        if isinstance(layer, nn.MaxPool2d):
            # Rounding up lets images of fewer than 32 pixels through all five pools; 32 pixels see no difference.
            layer.ceil_mode = True
            # The layers keep their numbers in torchvision's list, by which saved weights are named.
            stages[f"stage{len(stages) + 1}"] = Stage(OrderedDict(list(parts.named_children())[start : position + 1]))
            start = position + 1
    return StagedNetwork(nn.Identity(), stages, int(512 * scale), classes)
