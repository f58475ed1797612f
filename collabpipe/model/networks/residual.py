"""The residual networks whose blocks end in a ReLU (He et al., 2016)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from collabpipe.model.networks.staged import Stage, StagedNetwork
from collabpipe.model.networks.torchvision_models import torchvision_models


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

    def __init__(self, channels_in: int, channels_out: int, stride: int, beside: nn.Module | None = None):
        """`beside` is the shortcut; None: the usual one."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample = beside or shortcut(channels_in, channels_out, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        inner = self.bn1(self.conv1(features)).relu()
        inner = self.bn2(self.conv2(inner))
        beside = features if self.downsample is None else self.downsample(features)
        result: Tensor = (inner + beside).relu()
        return result


def resnet8(width: int, channels: int, classes: int) -> StagedNetwork:
    """One block a stage, three stages of width, 2·width and 4·width channels."""
    stages: dict[str, nn.Module] = {
        "stage1": BasicBlock(width, width, 1),
        "stage2": BasicBlock(width, 2 * width, 2),
        "stage3": BasicBlock(2 * width, 4 * width, 2),
    }
    return StagedNetwork(conv_bn_relu(channels, width), stages, 4 * width, classes)


class PaddedShortcut(nn.Module):
    """Every `stride`-th position of the features, with channels of zeros around them: it has no parameters.

    Option A of He et al. (2016), which their networks for CIFAR have.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.stride = stride
        self.before = (channels_out - channels_in) // 2
        self.after = channels_out - channels_in - self.before

    def forward(self, features: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        return F.pad(features[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _cifar_resnet(blocks: int, width: int, channels: int, classes: int) -> StagedNetwork:
    """Three stages of `blocks` blocks, of width, 2·width and 4·width channels, with shortcuts without parameters."""
    stages: dict[str, nn.Module] = {}
    channels_in = width
    for number in range(3):
        channels_out, stride = width * 2**number, 1 if number == 0 else 2
        beside = PaddedShortcut(channels_in, channels_out, stride) if number else None
        rest = (BasicBlock(channels_out, channels_out, 1) for _ in range(blocks - 1))
        stages[f"stage{number + 1}"] = Stage(BasicBlock(channels_in, channels_out, stride, beside), *rest)
        channels_in = channels_out
    return StagedNetwork(conv_bn_relu(channels, width), stages, channels_in, classes)


def resnet32(width: int, channels: int, classes: int) -> StagedNetwork:
    """He et al.'s ResNet-32 for CIFAR (section 4.2 of their paper): five blocks a stage."""
    return _cifar_resnet(5, width, channels, classes)


def resnet110(width: int, channels: int, classes: int) -> StagedNetwork:
    """He et al.'s ResNet-110 for CIFAR: eighteen blocks a stage."""
    return _cifar_resnet(18, width, channels, classes)


def resnet18(width: int, channels: int, classes: int) -> StagedNetwork:
    """torchvision's ResNet-18 with a 3×3 stem of stride 1, no max-pool and `width` channels first."""
    block = torchvision_models().resnet.BasicBlock
    channels_in = width
    stages: dict[str, nn.Module] = {}
    stem = conv_bn_relu(channels, channels_in)
    for number in range(4):
        channels_out, stride = width * 2**number, 1 if number == 0 else 2
        first = block(channels_in, channels_out, stride, shortcut(channels_in, channels_out, stride))
        stages[f"stage{number + 1}"] = Stage(first, block(channels_out, channels_out))
        channels_in = channels_out
    return StagedNetwork(stem, stages, channels_in, classes)
