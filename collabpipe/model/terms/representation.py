"""Similarity of the intermediate representation: functions of stage features, and the term that uses them.

Shapes: features (R, C, H, W) of R rows, written as B images below, and C channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from collabpipe.methods.representation import RepresentationTerm
from collabpipe.model.tensors import full, pool, through_gram
from collabpipe.model.terms.base import EPSILON, Step, TermLoss


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


REPRESENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "spatial": spatial_decorrelation,
    "pooled": pooled_decorrelation,
    "per_sample": per_sample_decorrelation,
}


class RepresentationLoss(TermLoss[RepresentationTerm]):
    """Similarity of the intermediate representation, a mean over the tapped stages."""

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        loss = REPRESENTATIONS[self.term.variant]
        return torch.stack([loss(step.activations.stages[name]) for name in self.term.taps]).mean()


TERMS = {RepresentationTerm: RepresentationLoss}
