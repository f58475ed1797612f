"""Paired differences against values worked by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from collabpipe.statistics import Difference, paired_difference


def test_three_pairs_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1, t(0.975; 2) = 4.302653, half-width 4.302653/√3 = 2.484138.
    found = paired_difference({0: 11.0, 1: 22.0, 2: 33.0}, {0: 10.0, 1: 20.0, 2: 30.0})

    assert (found.mean, found.n) == (2.0, 3)
    assert found.low == pytest.approx(-0.484138, abs=1e-6)
    assert found.high == pytest.approx(4.484138, abs=1e-6)


@pytest.mark.parametrize(("n", "half"), [(3, 2.48), (5, 1.24), (10, 0.72)])
def test_half_widths_in_deviations_are_those_the_science_names(n: int, half: float) -> None:
    values = np.arange(n, dtype=float)
    found = paired_difference(dict(enumerate(values)), dict.fromkeys(range(n), 0.0))

    assert (found.high - found.low) / 2 / values.std(ddof=1) == pytest.approx(half, abs=0.005)


def test_equal_differences_have_an_interval_of_no_width() -> None:
    assert paired_difference({0: 3.0, 1: 4.0}, {0: 1.0, 1: 2.0}) == Difference(2.0, 2.0, 2.0, 2)


def test_only_replicates_that_both_hold_are_compared() -> None:
    found = paired_difference({0: 5.0, 1: 7.0, 9: 100.0}, {1: 6.0, 0: 3.0, 4: -100.0})

    assert (found.mean, found.n) == (1.5, 2)


def test_the_order_of_the_seeds_does_not_matter() -> None:
    first, second = {0: 1.0, 1: 5.0, 2: 2.0}, {2: 4.0, 0: 0.0, 1: 1.0}

    assert paired_difference(first, second) == paired_difference(dict(reversed(first.items())), second)


@pytest.mark.parametrize(("first", "second"), [({}, {}), ({0: 1.0}, {}), ({}, {0: 1.0}), ({0: 1.0}, {1: 1.0})], ids=str)
def test_without_a_pair_there_is_no_difference(first: dict[int, float], second: dict[int, float]) -> None:
    found = paired_difference(first, second)

    assert found.n == 0
    assert math.isnan(found.mean)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_one_pair_has_a_difference_and_no_interval() -> None:
    found = paired_difference({3: 5.0, 4: 1.0}, {3: 2.0})

    assert (found.mean, found.n) == (3.0, 1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@given(
    pairs=st.dictionaries(
        st.integers(0, 1000), st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=12
    )
)
@settings(max_examples=60, deadline=None)
def test_intervals_are_those_of_scipys_paired_t_test(pairs: dict[int, tuple[float, float]]) -> None:
    first = {seed: a for seed, (a, _) in pairs.items()}
    second = {seed: b for seed, (_, b) in pairs.items()}

    found = paired_difference(first, second)

    with np.errstate(all="ignore"):  # scipy divides by the deviation, which may be zero
        interval = ttest_rel(list(first.values()), list(second.values())).confidence_interval(0.95)
    assert found.n == len(pairs)
    if np.isfinite(interval.low):
        assert found.low == pytest.approx(interval.low, rel=1e-6, abs=1e-6)
        assert found.high == pytest.approx(interval.high, rel=1e-6, abs=1e-6)
    assert found.low <= found.mean <= found.high


@given(values=st.lists(st.floats(-50, 50), min_size=2, max_size=8))
@settings(max_examples=30, deadline=None)
def test_turned_round_the_difference_changes_its_sign(values: list[float]) -> None:
    first, second = dict(enumerate(values)), dict.fromkeys(range(len(values)), 1.0)
    there, back = paired_difference(first, second), paired_difference(second, first)

    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
