"""The networks as torchvision builds them: the lines of plain PyTorch, and the names of their weights there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor

from collabpipe.catalogue.stages import LAYOUTS
from collabpipe.common.counts import counted
from collabpipe.settings.training import NetworkSettings

BLOCKS = {"resnet8": 1, "resnet18": 2}
"""Blocks of a stage."""
RESNET = {
    r"^stem\.0\.": "conv1.",
    r"^stem\.1\.": "bn1.",
    r"^stages\.stage(\d)\.": r"layer\1.",
    r"^classifier\.": "fc.",
}
ONE_BLOCK = {r"^layer(\d)\.": r"layer\1.0."}
"""A stage of one block is the block itself here, and a list of one in torchvision."""
VGG = {r"^stages\.stage\d\.": "features."}


@dataclass(frozen=True)
class TorchvisionForm:
    """A network in torchvision's classes.

    name: what it is there; base: torchvision's own network that it is a form of; imports: of torchvision's classes;
    lines: what builds `network`; differs: from `base`, in words; renames: patterns of our weights' names, and what
    replaces them.
    """

    name: str
    base: str
    imports: str
    lines: tuple[str, ...]
    differs: tuple[str, ...]
    renames: dict[str, str]

    def weights(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights by the names that they have in torchvision."""
        return {self._renamed(name): value for name, value in ours.items()}

    def _renamed(self, name: str) -> str:
        for pattern, replacement in self.renames.items():
            name = re.sub(pattern, replacement, name)
        return name


def torchvision_form(network: NetworkSettings, channels: int, classes: int) -> TorchvisionForm | None:
    """How torchvision builds `network` for images of `channels` channels; None for one that it cannot build."""
    if network.kind in BLOCKS:
        return _resnet(network, channels, classes)
    return _vgg(network, channels, classes) if network.kind == "vgg16" else None


def _resnet(network: NetworkSettings, channels: int, classes: int) -> TorchvisionForm:
    layout, blocks = LAYOUTS[network.kind], BLOCKS[network.kind]
    width = network.width or layout.width
    stem = f"network.conv1 = nn.Conv2d({channels}, {width}, 3, 1, 1, bias=False)"
    no_pool = "network.maxpool = nn.Identity()"
    differs = ["`conv1` is a 3×3 convolution of stride 1, not 7×7 of stride 2", "there is no max-pool"]
    if channels != 3:
        differs.append(f"the images have {counted(channels, 'channel', 'channels')}, not 3")
    if network.kind == "resnet18" and width == 64:
        lines = (f"network = resnet18(num_classes={classes})", stem, no_pool)
        imports = "from torchvision.models import resnet18"
        return TorchvisionForm("ResNet-18 of torchvision", "ResNet-18", imports, lines, tuple(differs), RESNET)
    built = [f"network = ResNet(BasicBlock, [{', '.join(4 * [str(blocks)])}], num_classes={classes})"]
    built += [stem, f"network.bn1 = nn.BatchNorm2d({width})", no_pool, f"network.inplanes = {width}"]
    for number, (factor, stride) in enumerate(zip(layout.channels, layout.strides, strict=True), start=1):
        layer = f"network._make_layer(BasicBlock, {factor * width}, {blocks}, stride={stride})"
        built.append(f"network.layer{number} = {layer}")
    for number in range(len(layout.names) + 1, 5):
        built.append(f"network.layer{number} = nn.Identity()")
        differs.append(f"there is no `layer{number}`")
    built.append(f"network.fc = nn.Linear({layout.channels[-1] * width}, {classes})")
    if blocks == 1:
        differs.append("a layer has one block, not two")
    if width != 64:
        differs.append(f"`layer1` has {width} channels, not 64, and the others accordingly")
    imports = "from torchvision.models.resnet import BasicBlock, ResNet"
    renames = RESNET if blocks > 1 else RESNET | ONE_BLOCK
    return TorchvisionForm("ResNet of torchvision", "ResNet-18", imports, tuple(built), tuple(differs), renames)


def _vgg(network: NetworkSettings, channels: int, classes: int) -> TorchvisionForm:
    width = network.width or LAYOUTS["vgg16"].width
    plan = "cfgs['D']" if width == 64 else f"[c if c == 'M' else c * {width} // 64 for c in cfgs['D']]"
    lines = (
        f"network = VGG(make_layers({plan}, batch_norm=True), num_classes={classes})",
        f"network.features[0] = nn.Conv2d({channels}, {width}, 3, padding=1)",
        "for layer in network.features:",
        "    if isinstance(layer, nn.MaxPool2d):",
        "        layer.ceil_mode = True",
        "network.avgpool = nn.AdaptiveAvgPool2d(1)",
        f"network.classifier = nn.Linear({8 * width}, {classes})",
    )
    differs = [
        "the pools round sizes up (`ceil_mode`), so that images of fewer than 32 pixels pass through them",
        "`avgpool` leaves one position, not 7×7",
        "`classifier` is one linear layer, not three",
    ]
    if channels != 3:
        differs.append(f"the images have {counted(channels, 'channel', 'channels')}, not 3")
    if width != 64:
        differs.append(f"`features.0` has {width} channels, not 64, and the others accordingly")
    imports = "from torchvision.models.vgg import VGG, cfgs, make_layers"
    base = "VGG-16 with batch normalisation (`vgg16_bn`)"
    return TorchvisionForm("VGG of torchvision", base, imports, lines, tuple(differs), VGG)
