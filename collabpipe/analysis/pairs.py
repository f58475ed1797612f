"""What a method's differences to another say of a claim: the verdicts and the rules behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from collabpipe.analysis.intervals import equivalence_p

WORST_FIRST = ("not run", "not reproduced", "no effect", "inconclusive", "direction only", "reproduced")
NAN = float("nan")


@dataclass(frozen=True)
class Criterion:
    """What a gain is compared with."""

    expected: float = 0.0
    """The number that is claimed; 0: any gain."""
    margin: float = 0.0
    """A gain smaller than this is none; 0: not declared."""
    ratio: bool = False
    """Whether it is a ratio of costs, which is claimed to be below 1."""


ANY_GAIN = Criterion()


def verdict(n: int, low: float, high: float, criterion: Criterion = ANY_GAIN, equivalent: bool = False) -> str:
    """What an interval says of a claimed gain. Limits that equal a number contain it.

    `equivalent`: the gain was shown to be smaller than the margin.
    """
    if n == 0:
        return "not run"
    if criterion.ratio:
        return "reproduced" if high < 1.0 else "not reproduced" if low >= 1.0 else "inconclusive"
    if np.isnan(low) or np.isnan(high):
        return "inconclusive"
    if equivalent:
        return "no effect"
    if high < 0.0 or (low <= 0.0 and high < (criterion.expected or criterion.margin)):
        return "not reproduced"
    if low <= 0.0:
        return "inconclusive"
    return "reproduced" if high >= criterion.expected else "direction only"


@dataclass(frozen=True)
class Pair:
    """Two methods compared at one place under one reading: their differences per replicate, with interval and p."""

    method: str
    other: str
    estimate: float = NAN
    low: float = NAN
    high: float = NAN
    n: int = 0
    p: float = NAN
    runs: str = ""
    differences: dict[int, float] = field(default_factory=dict)
    confidence: float = NAN
    unresolved: str = ""
    """Why there is no interval."""
    diverged: tuple[int, int] = (0, 0)
    """How many of the compared runs, of the method and of the other, diverged."""
    finished: Pair | None = None
    """The pairs of which both runs finished, where some did not."""

    @property
    def values(self) -> NDArray[np.float64]:
        """The differences in the order of the replicates."""
        return np.array(list(self.differences.values()))

    def judge(self, criterion: Criterion = ANY_GAIN) -> tuple[str, str]:
        """The verdict, and the reason where the interval does not say it.

        A diverged run makes no verdict better: where the finished pairs alone give a worse one, that one stands.
        """
        resolved = criterion.margin > 0.0 and not self.unresolved
        equivalent = resolved and equivalence_p(self.values, criterion.margin) < 1.0 - self.confidence
        own = verdict(self.n, self.low, self.high, criterion, equivalent), self.unresolved
        if self.finished is None:
            return own
        without = ("inconclusive", "no pair without a diverged run")
        if self.finished.n:
            without = self.finished.judge(criterion)[0], "without the diverged runs"
        return min(own, without, key=lambda judged: WORST_FIRST.index(judged[0]))

    @property
    def divergence(self) -> str:
        """Which of the compared runs diverged, for a table."""
        return ", ".join(f"{name} {n}" for name, n in zip((self.method, self.other), self.diverged, strict=True) if n)


def weakest(pairs: Sequence[Pair], criterion: Criterion = ANY_GAIN) -> Pair:
    """The pair that decides whether all hold: the one with the worst verdict, of several that with the worst limit."""

    def strength(pair: Pair) -> tuple[int, float]:
        limit = -pair.high if criterion.ratio else pair.low
        return WORST_FIRST.index(pair.judge(criterion)[0]), 0.0 if np.isnan(limit) else limit

    return min(pairs, key=strength)
