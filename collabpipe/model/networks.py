"""The networks in their small-image forms; each offers its stages by name, so that a loss can tap or re-run them."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor, nn

from collabpipe.common.errors import CollabpipeError
from collabpipe.model.tensors import pool
from collabpipe.settings.study import NetworkSettings


class StagedNetwork(nn.Module):
    """stem → stages → mean over positions → classifier.

    Args:
        stem: (B, C, H, W) to features.
        stages: the stages in order, by name; at least two.
        features: channels of the last stage.
        classes: K.
    """

    def __init__(self, stem: nn.Module, stages: dict[str, nn.Module], features: int, classes: int):
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleDict(stages)
        self.classifier = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, C, H, W)."""
        features = self.stem(images)
        for stage in self.stages.values():
            features = stage(features)
        logits: Tensor = self.classifier(pool(features))
        return logits


class Stage(nn.Sequential):
    """Layers one after another.

    Its code is written here, not in torch: torch.compile takes it as one piece, and torch's own layer by layer.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the last layer's output."""
        for layer in self:
            features = layer(features)
        return features


def conv_bn_relu(channels_in: int, channels_out: int) -> Stage:
    """The stem of the residual networks for small images."""
    return Stage(
        nn.Conv2d(channels_in, channels_out, 3, 1, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module | None:
    """The 1×1 convolution beside a block that changes the shape; None beside one that does not."""
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut (He et al., 2016), as torchvision's of that name.

    Written out so that the small network needs no torchvision, whose import takes longer than a short training.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample = shortcut(channels_in, channels_out, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        inner = self.bn1(self.conv1(features)).relu()
        inner = self.bn2(self.conv2(inner))
        beside = features if self.downsample is None else self.downsample(features)
        result: Tensor = (inner + beside).relu()
        return result


def resnet8(width: int | None, channels: int, classes: int) -> StagedNetwork:
    """One block a stage, three stages of width, 2·width and 4·width channels (width 16 unless told)."""
    width = width or 16
    stages: dict[str, nn.Module] = {
        "stage1": BasicBlock(width, width, 1),
        "stage2": BasicBlock(width, 2 * width, 2),
        "stage3": BasicBlock(2 * width, 4 * width, 2),
    }
    return StagedNetwork(conv_bn_relu(channels, width), stages, 4 * width, classes)


def _torchvision_models() -> ModuleType:
    """torchvision.models, also where torchvision's compiled operators are for another build of torch.

    PyPI's torchvision for Linux is built for CUDA; beside a CPU build of torch its operators do not load and the
    package stops at the two it declares itself. The models need none of them, so their names alone will do.
    """
    try:
        from torchvision import models
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision import models
    return models  # type: ignore[no-any-return]


def resnet18(width: int | None, channels: int, classes: int) -> StagedNetwork:
    """torchvision's ResNet-18 with a 3×3 stem of stride 1, no max-pool and `width` channels first (64 unless told)."""
    block = _torchvision_models().resnet.BasicBlock
    channels_in = width or 64
    stages: dict[str, nn.Module] = {}
    stem = conv_bn_relu(channels, channels_in)
    for number in range(4):
        channels_out, stride = (width or 64) * 2**number, 1 if number == 0 else 2
        first = block(channels_in, channels_out, stride, shortcut(channels_in, channels_out, stride))
        stages[f"stage{number + 1}"] = Stage(first, block(channels_out, channels_out))
        channels_in = channels_out
    return StagedNetwork(stem, stages, channels_in, classes)


def vgg16(width: int | None, channels: int, classes: int) -> StagedNetwork:
    """torchvision's VGG-16 with batch normalisation, five stages and a one-layer classifier."""
    layers = _torchvision_models().vgg
    scale = (width or 64) / 64
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


BUILDERS: dict[str, Callable[[int | None, int, int], StagedNetwork]] = {
    "resnet8": resnet8,
    "resnet18": resnet18,
    "vgg16": vgg16,
}


def build_network(settings: NetworkSettings, channels: int, classes: int) -> StagedNetwork:
    """The network that `settings` name, for images of `channels` channels, with weights that are not yet drawn.

    Channels lie last in memory: a step of the small network took 12.0 ms in place of 17.5 on one core (AVX-512).
    """
    network = BUILDERS[settings.kind](settings.width, channels, classes)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


_BUILDING = threading.Lock()


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Let what a constructor draws from torch's global generator, such as a buffer, come from `seed` as well.

    The generator itself, which trainings in other threads share, is left as it was.
    """
    with _BUILDING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)
DRAWING = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)
"""Layers that draw from torch's global generator at every step."""


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights from `generator`: He et al. (2015) for convolutions, torch's default for the classifier.

    Embeddings are drawn from N(0, 1) and normalisations begin as the identity, both as torch has them.

    Raises:
        CollabpipeError: a part has parameters of its own and is of no kind that is known here, so that its constructor
            has drawn them from torch's global generator, which no recipe seeds; or it draws from that in training.
    """
    for name, part in module.named_modules():
        if isinstance(part, CONVOLUTIONS):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, NORMALISATIONS):
            # Absent where the layer has no affine part.
            for values, start in ((part.weight, 1.0), (part.bias, 0.0)):
                if values is not None:
                    nn.init.constant_(values, start)
        elif isinstance(part, nn.Linear):
            bound = 1.0 / math.sqrt(part.in_features)
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
            if part.bias is not None:
                nn.init.uniform_(part.bias, -bound, bound, generator=generator)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, generator=generator)
            if part.padding_idx is not None:
                nn.init.zeros_(part.weight[part.padding_idx])
        elif isinstance(part, DRAWING):
            raise CollabpipeError(
                f"{name} ({type(part).__name__}) draws from torch's global generator, which no recipe seeds. Leave it "
                "out of the network: a method's keys drop and channel_drop give dropout from the recipe's own seed."
            )
        elif own := [key for key, _ in part.named_parameters(recurse=False)]:
            known = ", ".join(kind.__name__ for kind in (*CONVOLUTIONS, *NORMALISATIONS, nn.Linear, nn.Embedding))
            raise CollabpipeError(
                f"{name or 'the module'} ({type(part).__name__}) has parameters of its own ({', '.join(own)}), drawn "
                f"by its constructor from torch's global generator. Known are {known}: build it of these, or add its "
                "kind to networks.initialise, which draws from the recipe's generator."
            )
