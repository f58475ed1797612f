"""The residual networks that normalise before they convolve (He et al., 2016: Identity Mappings)."""

from __future__ import annotations

from torch import Tensor, nn

from collabpipe.model.networks.residual import conv_bn_relu
from collabpipe.model.networks.staged import Stage, StagedNetwork

WIDE_STEM = 16
"""Channels of the stem of a wide residual network, whatever its width."""


class PreActivationBlock(nn.Module):
    """Normalisation and ReLU before each of two 3×3 convolutions, beside a shortcut.

    A shortcut that changes the shape is a 1×1 convolution of the activated features. Any other adds the features as
    they came, or, with `activated`, after normalisation and ReLU.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, activated: bool = False):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        changes = stride != 1 or channels_in != channels_out
        self.downsample = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False) if changes else None
        self.activated = activated

    def forward(self, features: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        active = self.bn1(features).relu()
        if self.downsample is not None:
            features = self.downsample(active)
        elif self.activated:
            features = active
        result: Tensor = self.conv2(self.bn2(self.conv1(active)).relu()) + features
        return result


def _stage(channels_in: int, channels_out: int, stride: int, blocks: int, activated: bool) -> list[nn.Module]:
    first = PreActivationBlock(channels_in, channels_out, stride, activated)
    return [first, *(PreActivationBlock(channels_out, channels_out, 1, activated) for _ in range(blocks - 1))]


def preact_resnet18(width: int, channels: int, classes: int) -> StagedNetwork:
    """The PreAct ResNet-18 of DivideMix (Li et al., 2020) and ELR+ (Liu et al., 2020), as their code has it.

    There normalisation and ReLU follow the stem and not the last block, and every shortcut starts behind the block's
    first ReLU (PreResNet.py of github.com/LiJunnan1992/DivideMix and of github.com/shengliu66/ELR, ELR_plus).
    """
    stages: dict[str, nn.Module] = {}
    channels_in = width
    for number in range(4):
        channels_out, stride = width * 2**number, 1 if number == 0 else 2
        stages[f"stage{number + 1}"] = Stage(*_stage(channels_in, channels_out, stride, 2, activated=True))
        channels_in = channels_out
    return StagedNetwork(conv_bn_relu(channels, width), stages, channels_in, classes)


def wide_resnet28(width: int, channels: int, classes: int) -> StagedNetwork:
    """The wide residual network of 28 layers without dropout (Zagoruyko and Komodakis, 2016): WRN-28-10 at width 160.

    A stem of 16 channels and three stages of four blocks, of width, 2·width and 4·width channels. The normalisation
    and the ReLU behind the last block belong to the last stage.
    """
    stages: dict[str, nn.Module] = {}
    channels_in = WIDE_STEM
    for number in range(3):
        channels_out, stride = width * 2**number, 1 if number == 0 else 2
        end = [nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)] if number == 2 else []
        stages[f"stage{number + 1}"] = Stage(*_stage(channels_in, channels_out, stride, 4, activated=False), *end)
        channels_in = channels_out
    stem = nn.Conv2d(channels, WIDE_STEM, 3, 1, 1, bias=False)
    return StagedNetwork(stem, stages, channels_in, classes)
