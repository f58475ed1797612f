"""Terms that remember a run's own predictions: functions of logits and remembered targets, and the terms.

Shapes: M heads, B images, K classes; logits (M, B, K), targets (B, K). Logarithms are natural (nats).
"""

from __future__ import annotations

import torch
from torch import Tensor

from collabpipe.methods.memory import ElrTerm, MemoryTerm, TemporalTerm
from collabpipe.model.networks import StagedNetwork
from collabpipe.model.terms.base import Step, TermLoss


def temporal_consistency(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Mean over heads and images of KL(target‖p) against averaged predictions (B, K); images not `known` (B,) count 0.

    After temporal ensembling (Laine and Aila, 2017), with KL instead of their squared error.
    """
    divergence = (torch.xlogy(targets, targets) - targets * logits.log_softmax(-1)).sum(-1)
    return (divergence * known).mean()


def early_learning(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over heads and images of log(1 - <target, p>) (ELR, Liu et al., 2020).

    1 - <target, p> is at least 1e-4, because the logarithm and its slope are infinite at 0.
    """
    return (1.0 - (targets * logits.softmax(-1)).sum(-1)).clamp_min(1e-4).log().mean()


class MemoryLoss(TermLoss[MemoryTerm]):
    """A term with a target of K numbers an image, moved towards each prediction: t ← β·t + (1-β)·p."""

    targets: Tensor
    visits: Tensor

    def __init__(self, term: MemoryTerm, network: StagedNetwork, images: int):
        super().__init__(term, network, images)
        self.register_buffer("targets", torch.zeros(images, network.classifier.out_features))
        self.register_buffer("visits", torch.zeros(images))

    def remember(self, step: Step) -> None:
        """Move the targets of the batch."""
        prediction = step.activations.logits.detach().softmax(-1).mean(0).clamp(1e-4, 1.0 - 1e-4)
        prediction = prediction / prediction.sum(-1, keepdim=True)
        beta = self.term.momentum
        self.targets[step.index] = beta * self.targets[step.index] + (1.0 - beta) * prediction
        self.visits[step.index] += 1


class TemporalLoss(MemoryLoss):
    """Agreement with predictions averaged over earlier epochs; an image that was never seen has no target yet."""

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        visits = self.visits[step.index]
        # As in Adam, an average that started from zero is divided by the weight it has gathered.
        # The floor is for an image that was never seen: 0 / 0.
        gathered = (1.0 - self.term.momentum**visits).clamp_min(1e-6)
        targets = self.targets[step.index] / gathered[:, None]
        loss = temporal_consistency(step.activations.logits, targets, (visits > 0).float())
        self.remember(step)
        return loss


class ElrLoss(MemoryLoss):
    """Early-learning regularisation; its target includes the prediction of this step, as in the authors' code."""

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        self.remember(step)
        return early_learning(step.activations.logits, self.targets[step.index])


TERMS = {TemporalTerm: TemporalLoss, ElrTerm: ElrLoss}
