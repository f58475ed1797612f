"""What the tests of the terms share: small tensors with known values, and a loss's gradient."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import pytest
import torch
from torch import Tensor

from collabpipe.model.terms.base import EPSILON

Loss = Callable[..., Tensor]
Nested = list[float] | list[list[float]] | list[list[list[float]]]

# Tensors this small are slower on two threads than on one, by far where cores are shared.
torch.set_num_threads(1)

EPS = EPSILON
HALF = [0.5, 0.5]
QUARTER = [0.25, 0.75]
FIFTH = [0.2, 0.8]
# KL(p‖q) and KL(q‖p) of p = (1/2, 1/2), q = (1/4, 3/4).
KL_HALF_QUARTER = 0.5 * log(2.0) + 0.5 * log(2.0 / 3.0)
KL_QUARTER_HALF = 0.25 * log(0.5) + 0.75 * log(1.5)
KL_HALF_FIFTH = 0.5 * log(5.0 / 2.0) + 0.5 * log(5.0 / 8.0)
KL_FIFTH_HALF = 0.2 * log(2.0 / 5.0) + 0.8 * log(8.0 / 5.0)
KL_QUARTER_FIFTH = 0.25 * log(5.0 / 4.0) + 0.75 * log(15.0 / 16.0)
KL_FIFTH_QUARTER = 0.2 * log(4.0 / 5.0) + 0.8 * log(16.0 / 15.0)


def entropy(*probabilities: float) -> float:
    return -sum(p * log(p) for p in probabilities if p > 0.0)


def tensor(values: Nested) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logits_of(probabilities: Nested, temperature: float = 1.0) -> Tensor:
    """Logits whose softmax at `temperature` is `probabilities`."""
    return temperature * tensor(probabilities).log()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distributions(*shape: int, seed: int = 1) -> Tensor:
    return noise(*shape, seed=seed).softmax(-1)


def equals(value: Tensor, expected: float, tolerance: float = 1e-12) -> bool:
    assert value.shape == ()
    return value.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)


def gradient(loss: Loss, *inputs: Tensor) -> list[Tensor | None]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    loss(*leaves).backward()
    return [leaf.grad for leaf in leaves]


def maps_of(pooled: Tensor) -> Tensor:
    """Feature maps of 1×2 positions that differ from their mean, `pooled` (B, C)."""
    apart = noise(*pooled.shape, seed=3)
    return torch.stack([pooled + apart, pooled - apart], -1)[:, :, None]
