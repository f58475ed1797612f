"""Consistency of the intermediate layers: functions of stage features and logits, and the term that uses them.

Shapes: M heads, B images, C channels; R rows of a stage (`collabpipe.model.heads.Activations` says how many). sg stops
the gradient; s(z; T) is softmax(z / T).
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from collabpipe.methods.intermediate import IntermediateTerm
from collabpipe.model.tensors import pool
from collabpipe.model.terms.base import EPSILON, Step, TermLoss


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
    """Two random halves of the channels must see the same similarities between images.

    features (B, C, H, W) are pooled; `permutation` (C,) splits the channels into halves (an odd one is left out).
    """
    pooled = pool(features)[:, permutation]
    half = pooled.shape[1] // 2
    return gram_difference(centred_gram(pooled[:, :half]), centred_gram(pooled[:, half : 2 * half]))


def output_consistency(features: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """The similarities of pooled features (B, C, H, W) must follow sg of those of s(z; T), logits z (B, K)."""
    target = centred_gram((logits / temperature).softmax(-1)).detach()
    return gram_difference(centred_gram(pool(features)), target)


class IntermediateLoss(TermLoss[IntermediateTerm]):
    """Consistency of the intermediate layers, a mean over the tapped stages."""

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        taps = [self._tap(step, step.activations.stages[name]) for name in self.term.taps]
        return torch.stack(taps).mean()

    def _tap(self, step: Step, features: Tensor) -> Tensor:
        logits = step.activations.logits
        if self.term.variant == "virtual":
            pooled = pool(features).unflatten(0, (len(logits), -1))
            return virtual_consistency(pooled)
        if self.term.variant == "partition":
            permutation = torch.randperm(features.shape[1], generator=step.generator, device=step.generator.device)
            return partition_consistency(features, permutation)
        # A stage that ran once per head follows each head's predictions. One that ran fewer times follows the mean of
        # all heads, also where its branch leads to some of them alone: a branch is not told apart by its heads.
        heads, images = logits.shape[:2]
        rows = logits.mean(0).repeat(len(features) // images, 1)
        if len(features) == heads * images:
            rows = logits.flatten(0, 1)
        return output_consistency(features, rows, self.term.temperature)


TERMS = {IntermediateTerm: IntermediateLoss}
