"""Paired differences against values worked by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from collabpipe.statistics import (
    CONFIDENCE,
    Difference,
    bootstrap_interval,
    holm,
    intersection_union,
    p_value,
    paired_difference,
    relative_gain,
    sampling_error,
    simultaneous,
    t_interval,
)


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


# --- what claims are judged by ----------------------------------------------------------------------------------------


def test_a_wider_confidence_gives_a_wider_interval_by_hand() -> None:
    # Differences 1, 2, 3 again: t(0.995; 2) = 9.924843, half-width 9.924843/√3 = 5.730111.
    found = t_interval(np.array([1.0, 2.0, 3.0]), 0.99)

    assert (found.mean, found.n) == (2.0, 3)
    assert found.high - found.mean == pytest.approx(5.730111, abs=1e-6)
    assert simultaneous(5) == pytest.approx(0.99)
    assert simultaneous(1) == simultaneous(0) == CONFIDENCE


def test_p_by_hand_and_at_its_ends() -> None:
    # t = 2·√3 = 3.464102 with two degrees of freedom: p = 1 - t/√(t² + 2) = 1 - 3.464102/√14 = 0.074180.
    assert p_value(np.array([1.0, 2.0, 3.0])) == pytest.approx(0.074180, abs=1e-6)
    assert p_value(np.array([2.0, 2.0])) == 0.0
    assert p_value(np.array([0.0, 0.0])) == 1.0
    assert math.isnan(p_value(np.array([2.0])))
    assert math.isnan(p_value(np.array([])))


@given(values=st.lists(st.integers(-50, 50), min_size=2, max_size=10))
@settings(max_examples=60, deadline=None)
def test_p_is_below_five_percent_exactly_if_the_interval_leaves_zero_out(values: list[int]) -> None:
    differences = np.array(values, dtype=float)
    found, p = t_interval(differences), p_value(differences)

    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (found.low > 0 or found.high < 0)


def test_relative_gains_by_hand() -> None:
    first, second = np.array([80.0, 60.0]), np.array([75.0, 50.0])

    assert relative_gain(first, second, "error") == pytest.approx([20.0, 20.0])  # 5 of 25 and 10 of 50
    assert relative_gain(first, second, "accuracy") == pytest.approx([100 / 15, 20.0])  # 5 of 75 and 10 of 50


def test_where_there_is_no_error_there_is_no_relative_gain() -> None:
    gains = relative_gain(np.array([100.0, 90.0]), np.array([100.0, 80.0]), "error")
    found = t_interval(gains)

    assert not np.isfinite(gains[0])
    assert found.n == 2
    assert math.isnan(found.mean)
    assert math.isnan(found.low)
    assert math.isnan(p_value(gains))


def test_holm_by_hand() -> None:
    # Sorted: 0.01·4, 0.02·3, 0.03·2, 0.2·1, never below what came before.
    found = holm({"c": 0.03, "a": 0.01, "d": 0.2, "b": 0.02})

    assert list(found) == ["c", "a", "d", "b"]
    assert found == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.2})


def test_a_contrast_that_was_not_run_keeps_its_place_in_the_family() -> None:
    found = holm({"a": math.nan, "b": 0.02, "c": math.nan})

    assert found["b"] == pytest.approx(0.06)
    assert math.isnan(found["a"])
    assert math.isnan(found["c"])


@given(values=st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_holm_rejects_what_its_definition_rejects(values: list[float]) -> None:
    named = {str(position): p for position, p in enumerate(values)}
    adjusted = holm(named)
    known = {name: 1.0 if math.isnan(p) else p for name, p in named.items()}
    for name, p in named.items():
        if math.isnan(p):
            assert math.isnan(adjusted[name])
            continue
        # A p is adjusted to the largest of its own and of all smaller ones' (family - rank)-fold, by brute force.
        smaller = [other for other in known.values() if other <= p]
        folds = [min(1.0, sum(o >= other for o in known.values()) * other) for other in smaller]
        assert adjusted[name] == pytest.approx(max(folds))
        assert adjusted[name] >= p


def test_all_of_several_are_as_sure_as_the_least_sure() -> None:
    strong, weak = np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0])

    assert intersection_union([strong, weak]) == pytest.approx(p_value(weak))
    # However sure it is that a member is worse: that all are better has no support.
    assert intersection_union([strong, -strong]) == 1.0
    assert math.isnan(intersection_union([strong, np.array([])]))


@pytest.mark.parametrize(("share", "points"), [(0.05, 0.22), (0.20, 0.45)])
def test_the_test_sets_own_error_is_the_one_the_science_names(share: float, points: float) -> None:
    images, differ = 10_000, round(10_000 * share)
    first, second = np.zeros((1, images), dtype=bool), np.zeros((1, images), dtype=bool)
    first[0, : differ // 2] = True
    second[0, differ // 2 : differ] = True

    assert sampling_error(first, second) == pytest.approx(points, abs=0.005)


def test_the_same_images_in_each_replicate_average_nothing_out() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((1, 500)) < 0.8, generator.random((1, 500)) < 0.7

    once = sampling_error(first, second)

    assert sampling_error(np.repeat(first, 5, axis=0), np.repeat(second, 5, axis=0)) == pytest.approx(once)


def test_the_bootstrap_holds_the_difference_and_repeats_itself() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((10, 2000)) < 0.8, generator.random((10, 2000)) < 0.75
    low, high = bootstrap_interval(first, second)

    assert (low, high) == bootstrap_interval(first, second)
    assert low < 100 * (first.mean() - second.mean()) < high


def test_the_bootstrap_is_that_of_drawing_rows_and_columns() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.random((6, 300)) < 0.8, generator.random((6, 300)) < 0.7
    differences = first.astype(float) - second
    means = [
        100 * differences[generator.integers(6, size=6)][:, generator.integers(300, size=300)].mean()
        for _ in range(4000)
    ]

    assert bootstrap_interval(first, second, draws=4000) == pytest.approx(np.quantile(means, [0.025, 0.975]), rel=0.1)


def test_replicates_alone_spread_the_bootstrap_when_images_agree() -> None:
    # Two replicates that differ by 0 and by 100 points on every image: a draw gives 0, 50 or 100.
    first, second = np.array([[False] * 50, [True] * 50]), np.zeros((2, 50), dtype=bool)

    assert bootstrap_interval(first, second) == (0.0, 100.0)


def test_the_bootstrap_at_its_ends() -> None:
    hits = np.ones((3, 10), dtype=bool)

    assert bootstrap_interval(hits, hits) == (0.0, 0.0)
    assert all(math.isnan(limit) for limit in bootstrap_interval(hits[:1], ~hits[:1]))
