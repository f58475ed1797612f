"""Runs a `Composition`: its passes, its label loss and its weighted terms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from collabpipe.catalogue.stages import LAYOUTS
from collabpipe.common.global_draws import without_global_draws
from collabpipe.methods.composition import Branches, Composition, Passes, Term
from collabpipe.model.heads import Activations, BranchedHeadsRunner, Runner, VirtualHeadsRunner
from collabpipe.model.networks import StagedNetwork, build_network
from collabpipe.model.terms import build_term
from collabpipe.model.terms.base import Step
from collabpipe.model.terms.label import label_loss, soft_targets
from collabpipe.settings.training import NetworkSettings


class Method(nn.Module):
    """A composition at work: parameters, buffers and the loss of a step.

    `network` is what inference keeps; `extra` and `terms` hold what only training needs.

    Args:
        composition: what to run.
        network: the network, which is trained in place.
        runner: runs views of a batch through it.
        images: number of training images.
        bfloat16: run the network in mixed precision; losses are always computed in float32.
    """

    def __init__(self, composition: Composition, network: StagedNetwork, runner: Runner, images: int, bfloat16: bool):
        super().__init__()
        self.mixed = bfloat16
        self.composition = composition
        self.network = network
        self.runner: Callable[[Tensor, torch.Generator], Activations] = runner
        self.extra = runner.extra
        self.terms = nn.ModuleList(build_term(term, network, images) for term in composition.terms)

    @property
    def views(self) -> int:
        """Differently augmented copies of the batch that a step needs."""
        passes = self.composition.passes
        return passes.heads if isinstance(passes, Passes) and passes.views == "independent" else 1

    @property
    def term_names(self) -> tuple[str, ...]:
        """What `forward` returns, in order: the whole loss, the label's, and each term's before its weight."""
        names = [term.term for term in self.composition.terms]
        numbered = [f"{n}_{names[:i].count(n) + 1}" if n in names[:i] else n for i, n in enumerate(names)]
        return ("loss", "label", *numbered)

    def forward(
        self, images: Tensor, labels: Tensor, index: Tensor, progress: float | Tensor, generators: Generators
    ) -> Tensor:
        """The step's losses, a vector in the order of `term_names`; the first is to be minimised.

        Args:
            images: (views·B, C, H, W), normalised.
            labels: (B,).
            index: (B,) positions in the training set.
            progress: share of training done, in [0, 1]; a tensor () where the step is captured for replay.
            generators: of masks and of the method's other randomness.
        """
        label = self.composition.label
        targets = soft_targets(labels, self.network.classifier.out_features, label.smoothing)
        if label.mixup > 0.0:
            images, targets = mix(images, targets, label.mixup, generators.method)
        with torch.autocast(images.device.type, torch.bfloat16) if self.mixed else nullcontext():
            activations = self.runner(images, generators.dropout)
        step = Step(activations, index, generators.method)
        values = [label_loss(label, step.activations.logits, targets)]
        total = label.scale * values[0]
        for spec, term in zip(self.composition.terms, self.terms, strict=True):
            value = term(step)
            values.append(value)
            total = total + spec.weight * ramp(spec, progress) * value
        return torch.stack([total, *values])


@dataclass(frozen=True)
class Generators:
    """The randomness of a step: dropout has its own, so that methods share everything else within a replicate."""

    dropout: torch.Generator
    method: torch.Generator


def ramp(term: Term, progress: float | Tensor) -> float | Tensor:
    """Rises linearly from 0 to 1 over the term's share of training."""
    if term.ramp == 0.0:
        return 1.0
    share = progress / term.ramp
    return share.clamp_max(1.0) if isinstance(share, Tensor) else min(1.0, share)


def mix(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup: λ·x + (1-λ)·x', λ ~ Beta(alpha, alpha) once a batch, x' the batch in another order, view by view."""
    # Beta as a ratio of Gammas: torch's own Beta takes no generator.
    gamma = torch._standard_gamma(torch.full((2,), alpha, device=generator.device), generator=generator)
    share = (gamma[0] / gamma.sum().clamp_min(1e-30)).to(images.device)
    order = torch.randperm(len(targets), generator=generator, device=generator.device).to(images.device)
    partners = images.unflatten(0, (-1, len(targets)))[:, order].flatten(0, 1)
    return images.lerp(partners, 1.0 - share), targets.lerp(targets[order], 1.0 - share)


def build_method(
    composition: Composition,
    settings: NetworkSettings,
    images: int,
    channels: int,
    classes: int,
    bfloat16: bool = False,
) -> Method:
    """The method that `composition` describes, with a new network, for `images` training images."""
    passes = composition.passes
    network = build_network(settings, channels, classes)
    runner: Runner
    if isinstance(passes, Branches):
        spares = [build_network(settings, channels, classes) for _ in range(passes.heads - 1)]
        runner = BranchedHeadsRunner(network, passes, spares)
    else:
        runner = VirtualHeadsRunner(network, passes)
    method = Method(composition, network, runner, images, bfloat16)
    if build := LAYOUTS[settings.kind].build:
        method.runner = without_global_draws(method.runner, build)
    return method
