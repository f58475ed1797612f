"""Runs a `Composition`: passes, the loss of the label, weighted terms. One class a kind of term, in `TERMS`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from collabpipe.methods.composition import (
    AgreementTerm,
    Branches,
    Composition,
    ElrTerm,
    IntermediateTerm,
    KernelTerm,
    Label,
    Passes,
    RepresentationTerm,
    TemporalTerm,
    Weighted,
)
from collabpipe.model import losses
from collabpipe.model.heads import Activations, BranchedHeads, Runner, VirtualHeads
from collabpipe.model.networks import StagedNetwork, build_network
from collabpipe.model.tensors import pool
from collabpipe.settings.study import NetworkSettings


@dataclass(frozen=True)
class Step:
    """What a term may look at: activations, the batch's positions (B,) in the training set, and randomness."""

    activations: Activations
    index: Tensor
    generator: torch.Generator


class Agreement(nn.Module):
    """Consistency of the output layer."""

    def __init__(self, term: AgreementTerm, network: StagedNetwork, images: int):
        super().__init__()
        self.term = term

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        if self.term.form == "song_chai":
            return losses.song_chai(step.activations.logits, self.term.temperature, self.term.temperature_squared)
        return losses.AGREEMENTS[self.term.form](step.activations.logits)


class Intermediate(nn.Module):
    """Consistency of the intermediate layers, a mean over the tapped stages."""

    def __init__(self, term: IntermediateTerm, network: StagedNetwork, images: int):
        super().__init__()
        self.term = term

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        taps = [self._tap(step, step.activations.stages[name]) for name in self.term.taps]
        return torch.stack(taps).mean()

    def _tap(self, step: Step, features: Tensor) -> Tensor:
        logits = step.activations.logits
        if self.term.variant == "virtual":
            pooled = pool(features).unflatten(0, (len(logits), -1))
            return losses.virtual_consistency(pooled)
        if self.term.variant == "partition":
            permutation = torch.randperm(features.shape[1], generator=step.generator, device=step.generator.device)
            return losses.partition_consistency(features, permutation)
        # A stage that ran once for all heads follows their mean.
        heads, images = logits.shape[:2]
        rows = logits.mean(0).repeat(len(features) // images, 1)
        if len(features) == heads * images:
            rows = logits.flatten(0, 1)
        return losses.output_consistency(features, rows, self.term.temperature)


class Representation(nn.Module):
    """Similarity of the intermediate representation, a mean over the tapped stages."""

    def __init__(self, term: RepresentationTerm, network: StagedNetwork, images: int):
        super().__init__()
        self.term = term

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        loss = losses.REPRESENTATIONS[self.term.variant]
        return torch.stack([loss(step.activations.stages[name]) for name in self.term.taps]).mean()


class Kernel(nn.Module):
    """Similarity of the convolution kernels, a mean over the network's convolutions."""

    def __init__(self, term: KernelTerm, network: StagedNetwork, images: int):
        super().__init__()
        self.loss = losses.KERNELS[term.variant]
        # A plain tuple: the layers are the network's, not this module's.
        self.layers = tuple(part for part in network.modules() if isinstance(part, nn.Conv2d))

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        values = [self.loss(layer.weight.float(), layer.stride[0]) for layer in self.layers]
        return torch.stack(values).mean()


class Remembering(nn.Module):
    """A term with a target of K numbers an image, moved towards each prediction: t ← β·t + (1-β)·p."""

    targets: Tensor
    visits: Tensor

    def __init__(self, term: TemporalTerm | ElrTerm, network: StagedNetwork, images: int):
        super().__init__()
        self.term = term
        self.register_buffer("targets", torch.zeros(images, network.classifier.out_features))
        self.register_buffer("visits", torch.zeros(images))

    def remember(self, step: Step) -> None:
        """Move the targets of the batch."""
        prediction = step.activations.logits.detach().softmax(-1).mean(0).clamp(1e-4, 1.0 - 1e-4)
        prediction = prediction / prediction.sum(-1, keepdim=True)
        beta = self.term.momentum
        self.targets[step.index] = beta * self.targets[step.index] + (1.0 - beta) * prediction
        self.visits[step.index] += 1


class Temporal(Remembering):
    """Agreement with predictions averaged over earlier epochs; an image that was never seen has no target yet."""

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        visits = self.visits[step.index]
        # As in Adam, an average that started from zero is divided by the weight it has gathered.
        gathered = (1.0 - self.term.momentum**visits).clamp_min(1e-6)
        targets = self.targets[step.index] / gathered[:, None]
        loss = losses.temporal_consistency(step.activations.logits, targets, (visits > 0).float())
        self.remember(step)
        return loss


class Elr(Remembering):
    """Early-learning regularisation; its target includes the prediction of this step, as in the authors' code."""

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        self.remember(step)
        return losses.early_learning(step.activations.logits, self.targets[step.index])


TERMS: dict[str, type[nn.Module]] = {
    "agreement": Agreement,
    "intermediate": Intermediate,
    "representation": Representation,
    "kernel": Kernel,
    "temporal": Temporal,
    "elr": Elr,
}


def label_loss(label: Label, logits: Tensor, targets: Tensor) -> Tensor:
    """The loss of the label for logits (M, B, K) and targets (B, K), without its scale."""
    if label.loss == "gce":
        return losses.generalised_cross_entropy(logits, targets, label.q)
    if label.loss == "js":
        return losses.jensen_shannon_label(logits, targets, label.pi)
    if label.loss == "gjs":
        return losses.generalised_jensen_shannon_label(logits, targets, label.pi)
    return losses.cross_entropy(logits, targets)


class Method(nn.Module):
    """A composition at work: parameters, buffers and the loss of a step.

    `network` is what inference keeps; what training needs beside it lies in `extra` and `terms`.

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
        self.runner = runner
        self.extra = runner.extra
        self.terms = nn.ModuleList(TERMS[term.term](term, network, images) for term in composition.terms)

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
        targets = losses.soft_targets(labels, self.network.classifier.out_features, label.smoothing)
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


def ramp(term: Weighted, progress: float | Tensor) -> float | Tensor:
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
        runner = BranchedHeads(network, passes, spares)
    else:
        runner = VirtualHeads(network, passes)
    return Method(composition, network, runner, images, bfloat16)
