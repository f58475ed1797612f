"""Intervals for paired differences over replicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A mean difference with its 95% interval; the limits are nan below two pairs."""

    mean: float
    low: float
    high: float
    n: int


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Mean of first - second over the replicates that both hold, with Student's t interval of the differences."""
    from scipy.stats import t

    pairs = np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])
    if len(pairs) == 0:
        return Difference(np.nan, np.nan, np.nan, 0)
    mean = float(pairs.mean())
    if len(pairs) == 1:
        return Difference(mean, np.nan, np.nan, 1)
    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(pairs) - 1) * pairs.std(ddof=1) / np.sqrt(len(pairs)))
    return Difference(mean, mean - half, mean + half, len(pairs))
