"""Differences that are paired over replicates: intervals, tests, their correction, and what the test set adds.

Scipy is imported where it is needed: it takes longer to load than most callers to compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, stdtr, stdtrit

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 1000
NO_SPREAD = 1e-9
"""A standard deviation that rounding alone causes: far below what one test image makes of an accuracy in percent."""
LUCK = 0.05
"""Chance of a spread that is called too small for the test set, if it came from the test images alone."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A mean difference with its interval; the limits are nan below two pairs and where all pairs are equal."""

    mean: float
    low: float
    high: float
    n: int


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float], confidence: float = CONFIDENCE
) -> Difference:
    """Mean of first - second over the replicates that both hold, with Student's t interval of the differences."""
    return t_interval(
        np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]), confidence
    )


def t_interval(differences: Values, confidence: float = CONFIDENCE) -> Difference:
    """Mean of paired differences with Student's t interval; one that is not finite makes mean and limits nan.

    Equal differences have no interval: how far they would spread cannot be told from them.
    """
    n = len(differences)
    if n == 0 or not np.isfinite(differences).all():
        return Difference(np.nan, np.nan, np.nan, n)
    mean = float(differences.mean())
    error = _standard_error(differences)
    half = float(stdtrit(n - 1, 0.5 + confidence / 2) * error) if n > 1 else np.nan
    return Difference(mean, mean - half, mean + half, n)


def _standard_error(differences: Values) -> float:
    """Of the mean; nan below two differences and where they are equal or not finite."""
    if len(differences) < 2 or not np.isfinite(differences).all():
        return float("nan")
    spread = float(differences.std(ddof=1))
    return spread / float(np.sqrt(len(differences))) if spread > NO_SPREAD else float("nan")


def p_value(differences: Values) -> float:
    """Two-sided p of Student's paired t test for no difference; nan below two pairs and where all are equal."""
    error = _standard_error(differences)
    if np.isnan(error):
        return error
    return float(2 * stdtr(len(differences) - 1, -abs(differences.mean()) / error))


def equivalence_p(differences: Values, margin: float) -> float:
    """p of the mean difference being `margin` or more away from zero, by two one-sided t tests (Schuirmann, 1987).

    A small p says that the difference is smaller than the margin; nan below two pairs and where all are equal.
    """
    error = _standard_error(differences)
    if np.isnan(error):
        return error
    return float(stdtr(len(differences) - 1, (abs(differences.mean()) - margin) / error))


def relative_gain(first: Values, second: Values, of: Literal["accuracy", "error"]) -> Values:
    """Gain of `first` over `second`, accuracies in percent, in percent of second's accuracy or error, per replicate.

    A replicate whose second has nothing to gain from (no error) has no relative gain: it is not finite.
    """
    base = second if of == "accuracy" else 100.0 - second
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100.0 * (first - second) / base, dtype=np.float64)


def simultaneous(size: int, confidence: float = CONFIDENCE) -> float:
    """The confidence of each of `size` intervals that hold all together with `confidence` (Bonferroni)."""
    return 1.0 - (1.0 - confidence) / max(size, 1)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p values.

    A contrast without a p (nan) keeps its place in the family, as if its p were 1: what was declared and not run makes
    the others no more significant.
    """
    adjusted, largest = {}, 0.0
    ordered = sorted(p_values, key=lambda name: 1.0 if np.isnan(p_values[name]) else p_values[name])
    for rank, name in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - rank) * p_values[name]))
        adjusted[name] = p_values[name] if np.isnan(p_values[name]) else largest
    return {name: adjusted[name] for name in p_values}


def intersection_union(members: Sequence[tuple[float, float]]) -> float:
    """The p of 'all of these differences are above zero': that of the weakest (Berger, 1982).

    `members` are two-sided p values with their mean differences. It is the largest p, where a member on the wrong side
    counts as 1; nan if a member has none.
    """
    return float(np.max([p if np.isnan(p) or mean > 0 else 1.0 for p, mean in members]))


def grid_spread(images: int) -> float:
    """The spread, in points, that a difference of two accuracies has because each is rounded to 1 of `images`."""
    return float(100.0 / images / np.sqrt(6.0))


def resolvable_spread(hits: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """The smallest standard deviation of paired differences of accuracies, in points, that a test set can show.

    `hits` and `other` (replicates, images) say which images were classified correctly. If images are right or wrong
    independently of each other, which networks with other seeds come close to (Jordan, 2023), the differences spread by
    what their variances over replicates add up to. A spread below the 5% quantile of that is luck, not precision;
    one below the grid's is rounding.
    """
    replicates, images = hits.shape
    if replicates < 2:
        return grid_spread(images)
    differences = hits.astype(np.float32) - other
    expected = 100.0 * np.sqrt(differences.var(axis=0, ddof=1, dtype=np.float64).sum()) / images
    luck = np.sqrt(chdtri(replicates - 1, 1.0 - LUCK) / (replicates - 1))
    return max(grid_spread(images), float(expected * luck))


def sampling_error(hits: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Standard error of a difference of accuracies, in points, that the finite test set alone causes.

    `hits` and `other` (replicates, images) say which images were classified correctly. The images are the same in
    each replicate, so an image's difference is first averaged over replicates.
    """
    differences = hits.mean(axis=0) - other.mean(axis=0)
    return float(100.0 * differences.std(ddof=1) / np.sqrt(len(differences)))


def bootstrap_interval(
    hits: NDArray[np.bool_], other: NDArray[np.bool_], draws: int = BOOTSTRAP_DRAWS, seed: int = 0
) -> tuple[float, float]:
    """95% percentile interval of a difference of accuracies, in points, over replicates and test images alike.

    Both are drawn with replacement, the images alike for all replicates; nan below two replicates.
    """
    replicates, images = hits.shape
    if replicates < 2:
        return float("nan"), float("nan")
    differences = hits.astype(np.float32) - other
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(replicates, np.full(replicates, 1 / replicates), size=draws).astype(np.float32)
    # Summed over drawn replicates an image has one of few values: drawing images is drawing how often each occurs.
    values = np.arange(-replicates, replicates + 1)
    means = np.empty(draws)
    for draw, weight in enumerate(weights):
        sums = (weight @ differences).astype(np.intp)
        shares = np.bincount(sums + replicates, minlength=len(values)) / images
        means[draw] = generator.multinomial(images, shares) @ values
    low, high = np.quantile(100.0 * means / (replicates * images), [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)
