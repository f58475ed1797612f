"""Label noise: one function a kind, each exact and seeded.

A generator maps clean labels (N,) int64, a rate in [0, 1), the number of classes K and a numpy generator to noisy
labels (N,) int64. What it did is measured afterwards: the true flip rate and the transition counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Generator = Callable[[Labels, float, int, np.random.Generator], Labels]


def none(labels: Labels, rate: float, classes: int, generator: np.random.Generator) -> Labels:  # noqa: ARG001
    """The labels as they are."""
    return labels.copy()


def _chosen(labels: Labels, rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Exactly round(rate·N) samples, without replacement."""
    return generator.permutation(len(labels))[: round(rate * len(labels))]


def symmetric(labels: Labels, rate: float, classes: int, generator: np.random.Generator) -> Labels:
    """Exactly round(rate·N) samples get a label uniform over the other K-1 classes: the true rate is `rate`.

    The transition matrix of Co-teaching (Han et al., 2018) with P_ii = 1 - rate, made exact.
    """
    noisy = labels.copy()
    chosen = _chosen(labels, rate, generator)
    noisy[chosen] = (labels[chosen] + generator.integers(1, classes, len(chosen))) % classes
    return noisy


def symmetric_inclusive(labels: Labels, rate: float, classes: int, generator: np.random.Generator) -> Labels:
    """Exactly round(rate·N) samples get a label uniform over all K classes: the true rate is about rate·(K-1)/K.

    As DivideMix (Li et al., 2020) and ELR (Liu et al., 2020) corrupt CIFAR.
    """
    noisy = labels.copy()
    chosen = _chosen(labels, rate, generator)
    noisy[chosen] = generator.integers(0, classes, len(chosen))
    return noisy


def pair(labels: Labels, rate: float, classes: int, generator: np.random.Generator) -> Labels:
    """Exactly round(rate·N) samples of class i become class i+1 mod K (pair flip of Co-teaching, made exact)."""
    noisy = labels.copy()
    chosen = _chosen(labels, rate, generator)
    noisy[chosen] = (labels[chosen] + 1) % classes
    return noisy


NOISE: dict[str, Generator] = {
    "none": none,
    "symmetric": symmetric,
    "symmetric_inclusive": symmetric_inclusive,
    "pair": pair,
}


def transition_counts(clean: Labels, noisy: Labels, classes: int) -> NDArray[np.int64]:
    """(K, K): how many samples of clean class i carry label j."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (clean, noisy), 1)
    return counts
