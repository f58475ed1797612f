"""How a batch runs through the network in training: once, as virtual heads, or as Song and Chai's branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from collabpipe.methods.composition import Branches, Passes
from collabpipe.model.networks import StagedNetwork
from collabpipe.model.tensors import pool


@dataclass(frozen=True)
class Activations:
    """What a training pass leaves for the losses.

    stages: each stage's output (R, C, H, W) before the dropout behind it, with a block of B rows, in the batch's order,
    for each time that the stage ran. Virtual heads run it once up to the split, R = B, and once per head behind it,
    R = M·B. Branches run it once per branch: R is B times the fan-outs of all splits up to the stage, such as 2·B at
    stage2 of a binary tree of four heads that splits at stage2 and stage3.
    logits: (M, B, K), one slice per head.
    """

    stages: dict[str, Tensor]
    logits: Tensor


class Runner(Protocol):
    """Runs views of a batch through a network that it does not own."""

    extra: nn.ModuleDict
    """Modules that training needs in addition to the network."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Activations:
        """Images (V·B, C, H, W), V views of the batch, to activations; masks are drawn from `generator`."""
        ...


def drop_channels(features: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Channel dropout: whole maps (or, for (B, D), single features) of an image are zeroed, the rest scaled up."""
    if rate == 0.0:
        return features
    shape = (*features.shape[:2], *(1 for _ in features.shape[2:]))
    kept = torch.rand(shape, generator=generator, device=features.device) >= rate
    if features.dtype == torch.bfloat16:
        # A mask that holds 1/(1 - rate) would round it to 8 bits; a number beside the tensor is float32.
        return features * kept * (1.0 / (1.0 - rate))
    return features * (kept / (1.0 - rate)).to(features.dtype)


class VirtualHeadsRunner:
    """The one network; from the split on, the same weights run once a head in one concatenated call.

    One call means one set of batch statistics and one update of the running ones, whatever the number of heads.
    """

    def __init__(self, network: StagedNetwork, passes: Passes):
        self.network = network
        self.passes = passes
        self.extra = nn.ModuleDict()

    def __call__(self, images: Tensor, generator: torch.Generator) -> Activations:
        """Images are (B, …), or (heads·B, …) where each head has its own view."""
        passes, network = self.passes, self.network
        independent = passes.views == "independent"

        def fork(features: Tensor, place: str) -> Tensor:
            if passes.split != place or independent or passes.heads == 1:
                return features
            # Not repeat, which forgets that channels lie last in memory.
            return torch.cat([features] * passes.heads)

        features = network.stem(fork(images, "input"))
        stages: dict[str, Tensor] = {}
        for position, (name, stage) in enumerate(network.stages.items()):
            features = fork(features, name)
            if position > 0:
                features = drop_channels(features, passes.channel_drop, generator)
            features = stages[name] = stage(features)
        pooled = fork(pool(features), "classifier")
        logits: Tensor = network.classifier(drop_channels(pooled, passes.drop, generator))
        return Activations(stages, logits.float().unflatten(0, (passes.heads, -1)))


class BranchedHeadsRunner:
    """Song and Chai's (2018) heads: from each split on every branch has weights of its own.

    The network is the path of head 0; `extra` holds the other branches' parts. At a split the gradient that the
    branches send into their trunk is divided by the fan-out (backpropagation rescaling, their section 3.3).
    """

    def __init__(self, network: StagedNetwork, passes: Branches, spares: Sequence[StagedNetwork]):
        """`spares` are heads - 1 further networks; what no branch needs of them is dropped."""
        self.network = network
        self.passes = passes
        self.extra = nn.ModuleDict()
        branches = 1
        for place in ("input", *network.stages, "classifier"):
            branches *= passes.splits.get(place, 1)
            self.extra[place] = nn.ModuleList(_part(spare, place) for spare in spares[: branches - 1])

    def __call__(self, images: Tensor, generator: torch.Generator) -> Activations:
        """Images are (B, …)."""
        passes = self.passes
        paths = [images]
        stages: dict[str, Tensor] = {}
        for position, (place, copies) in enumerate(self.extra.items()):
            fan_out = passes.splits.get(place, 1)
            if fan_out > 1:
                paths = [path for trunk in paths for path in _fork(trunk, fan_out)]
            if place == "classifier":
                paths = [drop_channels(pool(path), passes.drop, generator) for path in paths]
            elif position > 1:
                paths = [drop_channels(path, passes.channel_drop, generator) for path in paths]
            parts = [_part(self.network, place), *copies.children()]
            paths = [part(path) for part, path in zip(parts, paths, strict=True)]
            if place in self.network.stages:
                stages[place] = torch.cat(paths)
        return Activations(stages, torch.stack(paths).float())


def _part(network: StagedNetwork, place: str) -> nn.Module:
    if place == "input":
        return network.stem
    return network.classifier if place == "classifier" else network.stages[place]


def _fork(features: Tensor, fan_out: int) -> list[Tensor]:
    """The same tensor for each branch; the gradient that comes back is divided by the fan-out."""
    if features.requires_grad:
        features = features.view_as(features)
        features.register_hook(lambda gradient: gradient / fan_out)
    return [features] * fan_out
