"""The terms of every method: pure functions of tensors that return a scalar.

The paper (Fang and Lin, 2021) states its four losses in words; the equations here are this project's
operationalisation of those words, each with the literature it comes from (docs/methods.md).

Shapes: M heads, B images, K classes, C channels; logits (M, B, K), targets (B, K) with rows that sum to 1, stage
features (R, C, H, W) with R rows (B, or M·B where a stage ran once per head). Logarithms are natural (nats).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from collabpipe.model.tensors import full, pool, through_gram

EPSILON = 1e-5
"""Variance that is added where a channel may be dead, as in batch normalisation."""


# --- the label -------------------------------------------------------------------------------------------------------


def soft_targets(labels: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Labels (B,) as rows (B, K): 1 - s + s/K for the label, s/K elsewhere (Szegedy et al., 2016)."""
    return F.one_hot(labels, classes).float() * (1.0 - smoothing) + smoothing / classes


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over heads and images of -Σ_k t_k log p_k."""
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


def generalised_cross_entropy(logits: Tensor, targets: Tensor, q: float) -> Tensor:
    """Mean of Σ_k t_k (1 - p_k^q) / q: cross-entropy for q → 0, absolute error at q = 1 (Zhang and Sabuncu, 2018)."""
    probabilities = logits.softmax(-1).clamp_min(1e-7)
    return (targets * (1.0 - probabilities**q) / q).sum(-1).mean()


def _entropy(probabilities: Tensor) -> Tensor:
    # The floor keeps the gradient finite where a certain prediction has rounded another class to 0.
    return -(probabilities * probabilities.clamp_min(1e-12).log()).sum(-1)


def _label_scale(pi: float) -> float:
    """Z of Englesson and Azizpour: the scaled loss is cross-entropy for pi → 0, absolute error for pi → 1."""
    return -(1.0 - pi) * math.log(1.0 - pi)


def jensen_shannon_label(logits: Tensor, targets: Tensor, pi: float) -> Tensor:
    """JS_pi(t, mean of the heads' predictions) / Z (Englesson and Azizpour, 2021): gjs without its agreement part."""
    mean = logits.softmax(-1).mean(0)
    mixture = pi * targets + (1.0 - pi) * mean
    divergence = _entropy(mixture) - pi * _entropy(targets) - (1.0 - pi) * _entropy(mean)
    return divergence.mean() / _label_scale(pi)


def generalised_jensen_shannon_label(logits: Tensor, targets: Tensor, pi: float) -> Tensor:
    """GJS over the label with weight pi and the M heads with (1 - pi)/M each, / Z (Englesson and Azizpour, 2021).

    Equals `jensen_shannon_label` plus (1 - pi)/Z times the heads' own Jensen-Shannon divergence.
    """
    agreement = (1.0 - pi) * jensen_shannon(logits) / _label_scale(pi)
    return jensen_shannon_label(logits, targets, pi) + agreement


# --- consistency of the output layer ---------------------------------------------------------------------------------


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


def jensen_shannon(logits: Tensor) -> Tensor:
    """H(mean of the heads' predictions) - mean of their H, a mean over images."""
    probabilities = logits.softmax(-1)
    return (_entropy(probabilities.mean(0)) - _entropy(probabilities).mean(0)).mean()


def song_chai(logits: Tensor, temperature: float, squared: bool) -> Tensor:
    """Mean over heads of CE(sg s(mean of the other heads' logits; T), s(z_h; T)) (Song and Chai, 2018, eq. 2 and 3).

    With `squared` times T², which keeps the gradient's scale (Hinton et al., 2015).
    """
    heads = len(logits)
    others = (logits.sum(0, keepdim=True) - logits) / (heads - 1)
    targets = (others / temperature).softmax(-1).detach()
    loss = -(targets * (logits / temperature).log_softmax(-1)).sum(-1).mean()
    return loss * temperature**2 if squared else loss


# --- consistency of the intermediate layers --------------------------------------------------------------------------


def virtual_consistency(pooled: Tensor) -> Tensor:
    """Mean over pairs of heads and images of ‖u_i - u_j‖², u the L2-normalised rows of `pooled` (M, B, C)."""
    unit = F.normalize(pooled, dim=-1, eps=EPSILON)
    pairs = [(unit[i] - unit[j]).square().sum(-1).mean() for i, j in combinations(range(len(unit)), 2)]
    return torch.stack(pairs).mean()


def centred_gram(rows: Tensor) -> Tensor:
    """Gram matrix (B, B) of rows (B, C) that are centred over the batch and L2-normalised."""
    unit = F.normalize(rows - rows.mean(0, keepdim=True), dim=-1, eps=EPSILON)
    return unit @ unit.T


def gram_difference(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of two Gram matrices (B, B) without their diagonals (after Tung and Mori, 2019)."""
    size = len(first)
    difference = (first - second).square()
    return (difference.sum() - difference.diagonal().sum()) / max(size * (size - 1), 1)


def partition_consistency(features: Tensor, permutation: Tensor) -> Tensor:
    """Two random halves of the channels shall see the same similarities between images.

    features (B, C, H, W) are pooled; `permutation` (C,) splits the channels into halves (an odd one is left out).
    """
    pooled = pool(features)[:, permutation]
    half = pooled.shape[1] // 2
    return gram_difference(centred_gram(pooled[:, :half]), centred_gram(pooled[:, half : 2 * half]))


def output_consistency(features: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """The similarities of pooled features (B, C, H, W) shall follow sg of those of s(z; T), logits z (B, K)."""
    target = centred_gram((logits / temperature).softmax(-1)).detach()
    return gram_difference(centred_gram(pool(features)), target)


# --- similarity of the intermediate representation -------------------------------------------------------------------


def _off_diagonal(gram: Tensor) -> Tensor:
    """Sum of squares off the diagonal, of (..., C, C)."""
    return gram.square().sum((-2, -1)) - gram.diagonal(dim1=-2, dim2=-1).square().sum(-1)


def _decorrelation(given: Tensor) -> Tensor:
    """‖R - I‖²_F / C, R the correlations between channels over samples (n, C) or positions of (B, C, H, W).

    A dead channel correlates with none.
    """
    samples, channels = given.numel() // given.shape[1], given.shape[1]

    def loss(gram: Tensor) -> Tensor:
        covariance = gram / samples
        scale = (covariance.diagonal() + EPSILON).rsqrt()
        return _off_diagonal(covariance * scale[:, None] * scale) / channels

    return through_gram(given, loss, centred=True)


def spatial_decorrelation(features: Tensor) -> Tensor:
    """Correlations between channels of (B, C, H, W) over all B·H·W positions (DeCov, Cogswell et al., 2016, scaled)."""
    return _decorrelation(features)


def pooled_decorrelation(features: Tensor) -> Tensor:
    """Correlations between channels over the B pooled vectors; chance alone gives about (C - 1)/(B - 1)."""
    return _decorrelation(pool(features))


def per_sample_decorrelation(features: Tensor) -> Tensor:
    """Cosines between the feature maps of one image, ‖G - I‖²_F / C, a mean over images."""
    unit = full(features).flatten(2)
    unit = unit / (unit.square().sum(-1, keepdim=True) + EPSILON).sqrt()
    return _off_diagonal(unit @ unit.transpose(1, 2)).mean() / features.shape[1]


# --- similarity of the convolution kernels ---------------------------------------------------------------------------


def _kernels(weight: Tensor) -> Tensor:
    """Kernels (C_out, C_in, k, k) as rows (C_out, C_in·k·k), their numbers in the order in which they lie: no copy."""
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return (weight.permute(0, 2, 3, 1) if last else weight).flatten(1)


def _cosines(gram: Tensor) -> Tensor:
    scale = gram.diagonal().clamp_min(1e-24).rsqrt()
    return gram * scale[:, None] * scale


def _orthogonality(rows: Tensor, cosines: Callable[[Tensor], Tensor], kernels: int) -> Tensor:
    def loss(gram: Tensor) -> Tensor:
        identity = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
        return F.mse_loss(cosines(gram), identity, reduction="sum") / kernels

    return through_gram(rows.T, loss, centred=False)


def kernel_rows(weight: Tensor, stride: int = 1) -> Tensor:  # noqa: ARG001 (one signature for all variants)
    """‖G - I‖²_F / C_out, G the cosines between kernels (C_out, C_in, k, k); soft orthogonality (Bansal et al., 2018).

    Where C_out > C_in·k·k kernels cannot be orthogonal: then G is that of the smaller side, the columns.
    """
    rows = _kernels(weight)
    return _orthogonality(rows if rows.shape[0] <= rows.shape[1] else rows.T, _cosines, weight.shape[0])


def kernel_one_sided(weight: Tensor, stride: int = 1) -> Tensor:  # noqa: ARG001
    """As `kernel_rows` with positive cosines alone: after a ReLU antipodal kernels are not redundant."""
    return _orthogonality(_kernels(weight), lambda gram: _cosines(gram).relu(), weight.shape[0])


def kernel_self_convolution(weight: Tensor, stride: int = 1) -> Tensor:
    """‖conv(K, K) - I‖²_F / C_out on normalised kernels (Wang et al., 2020): kernels orthogonal under every shift.

    The padding, (k - 1) // stride · stride, takes in every shift at which two kernels overlap.
    """
    unit = F.normalize(weight.flatten(1), dim=1).view_as(weight)
    padding = (weight.shape[-1] - 1) // stride * stride
    correlation = F.conv2d(unit, unit, stride=stride, padding=padding)
    centre = correlation.shape[-1] // 2
    self_terms = correlation[:, :, centre, centre].diagonal().square().sum()
    return (correlation.square().sum() - self_terms) / weight.shape[0]


# --- robust anchors --------------------------------------------------------------------------------------------------


def temporal_consistency(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Mean over heads and images of KL(target‖p) against averaged predictions (B, K); images not `known` (B,) count 0.

    After temporal ensembling (Laine and Aila, 2017), with KL in place of their squared error.
    """
    divergence = (torch.xlogy(targets, targets) - targets * logits.log_softmax(-1)).sum(-1)
    return (divergence * known).mean()


def early_learning(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over heads and images of log(1 - <target, p>) (ELR, Liu et al., 2020)."""
    return (1.0 - (targets * logits.softmax(-1)).sum(-1)).clamp_min(1e-4).log().mean()


AGREEMENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "symmetric_kl": symmetric_kl,
    "stop_gradient": stop_gradient_kl,
    "jensen_shannon": jensen_shannon,
}
REPRESENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "spatial": spatial_decorrelation,
    "pooled": pooled_decorrelation,
    "per_sample": per_sample_decorrelation,
}
KERNELS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "rows": kernel_rows,
    "one_sided": kernel_one_sided,
    "self_convolution": kernel_self_convolution,
}
