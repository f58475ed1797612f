"""The losses of the label: pure functions of tensors that return a scalar.

Shapes: M heads, B images, K classes; logits (M, B, K), targets (B, K) with rows that sum to 1. Logarithms are natural.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from collabpipe.methods.composition import Label
from collabpipe.model.terms.output import entropy, jensen_shannon


def soft_targets(labels: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Labels (B,) as rows (B, K): 1 - s + s/K for the label, s/K elsewhere (Szegedy et al., 2016)."""
    return F.one_hot(labels, classes).float() * (1.0 - smoothing) + smoothing / classes


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over heads and images of -Σ_k t_k log p_k."""
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


def generalised_cross_entropy(logits: Tensor, targets: Tensor, q: float) -> Tensor:
    """Mean of Σ_k t_k (1 - p_k^q) / q: cross-entropy for q → 0, absolute error at q = 1 (Zhang and Sabuncu, 2018)."""
    probabilities = logits.softmax(-1).clamp_min(1e-7)  # the slope of p^q is infinite at 0
    return (targets * (1.0 - probabilities**q) / q).sum(-1).mean()


def _label_scale(pi: float) -> float:
    """Z of Englesson and Azizpour: the scaled loss is cross-entropy for pi → 0, absolute error for pi → 1."""
    return -(1.0 - pi) * math.log(1.0 - pi)


def jensen_shannon_label(logits: Tensor, targets: Tensor, pi: float) -> Tensor:
    """JS_pi(t, mean of the heads' predictions) / Z (Englesson and Azizpour, 2021): gjs without its agreement part."""
    mean = logits.softmax(-1).mean(0)
    mixture = pi * targets + (1.0 - pi) * mean
    divergence = entropy(mixture) - pi * entropy(targets) - (1.0 - pi) * entropy(mean)
    return divergence.mean() / _label_scale(pi)


def generalised_jensen_shannon_label(logits: Tensor, targets: Tensor, pi: float) -> Tensor:
    """GJS over the label with weight pi and the M heads with (1 - pi)/M each, / Z (Englesson and Azizpour, 2021).

    Equals `jensen_shannon_label` plus (1 - pi)/Z times the heads' own Jensen-Shannon divergence.
    """
    agreement = (1.0 - pi) * jensen_shannon(logits) / _label_scale(pi)
    return jensen_shannon_label(logits, targets, pi) + agreement


def label_loss(label: Label, logits: Tensor, targets: Tensor) -> Tensor:
    """The loss of the label for logits (M, B, K) and targets (B, K), without its scale."""
    if label.loss == "gce":
        return generalised_cross_entropy(logits, targets, label.q)
    if label.loss == "js":
        return jensen_shannon_label(logits, targets, label.pi)
    if label.loss == "gjs":
        return generalised_jensen_shannon_label(logits, targets, label.pi)
    return cross_entropy(logits, targets)
