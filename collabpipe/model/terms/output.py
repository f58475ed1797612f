"""Consistency of the output layer: functions of the heads' logits (M, B, K), and the term that uses them.

Shapes: M heads, B images, K classes. Logarithms are natural (nats). sg stops the gradient; s(z; T) is softmax(z / T).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations

import torch
from torch import Tensor

from collabpipe.methods.output import AgreementTerm
from collabpipe.model.terms.base import Step, TermLoss


def entropy(probabilities: Tensor) -> Tensor:
    """-Σ_k p_k log p_k of each distribution, (..., K) to (...)."""
    # The floor keeps the gradient finite where a certain prediction has rounded another class to 0.
    return -(probabilities * probabilities.clamp_min(1e-12).log()).sum(-1)


def symmetric_kl(logits: Tensor) -> Tensor:
    """Mean over pairs of heads and images of ½(KL(p_i‖p_j) + KL(p_j‖p_i)) (as R-Drop, Liang et al., 2021)."""
    log_p = logits.log_softmax(-1)
    pairs = [
        0.5 * ((log_p[i].exp() - log_p[j].exp()) * (log_p[i] - log_p[j])).sum(-1).mean()
        for i, j in combinations(range(len(logits)), 2)
    ]
    return torch.stack(pairs).mean()


def stop_gradient_kl(logits: Tensor) -> Tensor:
    """Mean over pairs of ½(KL(sg p_i‖p_j) + KL(sg p_j‖p_i)): each head follows the other, none is pulled as target."""
    log_p = logits.log_softmax(-1)
    fixed = log_p.detach()
    pairs = [
        0.5 * (fixed[i].exp() * (fixed[i] - log_p[j]) + fixed[j].exp() * (fixed[j] - log_p[i])).sum(-1).mean()
        for i, j in combinations(range(len(logits)), 2)
    ]
    return torch.stack(pairs).mean()


def confident_kl(logits: Tensor) -> Tensor:
    """As `stop_gradient_kl`, where each target counts by its largest probability, image by image.

    ½(c_i KL(sg p_i‖p_j) + c_j KL(sg p_j‖p_i)) with c_i = sg max_k p_ik: a target that is sure of nothing pulls less.
    """
    log_p = logits.log_softmax(-1)
    targets = log_p.detach()
    probabilities = targets.exp()
    confidence = probabilities.amax(-1)
    pulls = [
        (confidence[i] * (probabilities[i] * (targets[i] - log_p[j])).sum(-1)).mean()
        for i, j in permutations(range(len(logits)), 2)
    ]
    # Each pair of heads has two pulls, which count half.
    return torch.stack(pulls).mean()


def jensen_shannon(logits: Tensor) -> Tensor:
    """H(mean of the heads' predictions) - mean of their H, a mean over images."""
    probabilities = logits.softmax(-1)
    return (entropy(probabilities.mean(0)) - entropy(probabilities).mean(0)).mean()


def song_chai(logits: Tensor, temperature: float, squared: bool) -> Tensor:
    """Mean over heads of CE(sg s(mean of the other heads' logits; T), s(z_h; T)) (Song and Chai, 2018, eq. 2 and 3).

    With `squared` times T², which keeps the gradient's scale (Hinton et al., 2015).
    """
    heads = len(logits)
    others = (logits.sum(0, keepdim=True) - logits) / (heads - 1)
    targets = (others / temperature).softmax(-1).detach()
    loss = -(targets * (logits / temperature).log_softmax(-1)).sum(-1).mean()
    return loss * temperature**2 if squared else loss


AGREEMENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "symmetric_kl": symmetric_kl,
    "stop_gradient": stop_gradient_kl,
    "jensen_shannon": jensen_shannon,
    "confident": confident_kl,
}


class AgreementLoss(TermLoss[AgreementTerm]):
    """Consistency of the output layer."""

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        if self.term.form == "song_chai":
            return song_chai(step.activations.logits, self.term.temperature, self.term.temperature_squared)
        return AGREEMENTS[self.term.form](step.activations.logits)


TERMS = {AgreementTerm: AgreementLoss}
