"""Paired differences against values worked by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from collabpipe.analysis.intervals import (
    CONFIDENCE,
    bootstrap_interval,
    equivalence_p,
    grid_spread,
    holm,
    intersection_union,
    p_value,
    paired_difference,
    relative_gain,
    resolvable_spread,
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


@pytest.mark.parametrize(("first", "second"), [((3.0, 4.0), (1.0, 2.0)), ((64.1, 75.3), (62.1, 73.3))], ids=str)
def test_equal_differences_have_no_interval(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    found = paired_difference(dict(enumerate(first)), dict(enumerate(second)))

    assert found.mean == pytest.approx(2.0)
    assert found.n == 2
    assert math.isnan(found.low)
    assert math.isnan(found.high), "also where the computer's numbers differ in their last digits"


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
    if np.std([a - b for a, b in pairs.values()]) > 1e-6:
        assert found.low == pytest.approx(interval.low, rel=1e-6, abs=1e-6)
        assert found.high == pytest.approx(interval.high, rel=1e-6, abs=1e-6)
        assert found.low <= found.mean <= found.high


@given(values=st.lists(st.floats(-50, 50), min_size=2, max_size=8))
@settings(max_examples=30, deadline=None)
def test_turned_round_the_difference_changes_its_sign(values: list[float]) -> None:
    first, second = dict(enumerate(values)), dict.fromkeys(range(len(values)), 1.0)
    there, back = paired_difference(first, second), paired_difference(second, first)

    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low), nan_ok=True)


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
    assert math.isnan(p_value(np.array([2.0, 2.0])))
    assert math.isnan(p_value(np.array([0.0, 0.0])))
    assert math.isnan(p_value(np.array([2.0])))
    assert math.isnan(p_value(np.array([])))


@given(values=st.lists(st.integers(-50, 50), min_size=2, max_size=10))
@settings(max_examples=60, deadline=None)
def test_p_is_below_five_percent_exactly_if_the_interval_leaves_zero_out(values: list[int]) -> None:
    differences = np.array(values, dtype=float)
    found, p = t_interval(differences), p_value(differences)

    assert math.isnan(p) == math.isnan(found.low) == (len(set(values)) == 1)
    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (found.low > 0 or found.high < 0)


def test_two_one_sided_tests_by_hand() -> None:
    # Mean 0, deviation 1, n = 3: t = 5·√3 with two degrees of freedom, one-sided p = (1 - t/√(t² + 2))/2 = 0.006536.
    assert equivalence_p(np.array([-1.0, 0.0, 1.0]), 5.0) == pytest.approx(0.006536, abs=1e-6)
    # A mean on the margin is a coin's throw, one beyond it no equivalence.
    assert equivalence_p(np.array([1.0, 2.0, 3.0]), 2.0) == pytest.approx(0.5)
    assert equivalence_p(np.array([1.0, 2.0, 3.0]), 1.0) > 0.5
    assert math.isnan(equivalence_p(np.array([0.0, 0.0]), 5.0))


@given(values=st.lists(st.integers(-50, 50), min_size=2, max_size=10), margin=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_equivalence_is_a_ninety_percent_interval_within_the_margin(values: list[int], margin: int) -> None:
    differences = np.array(values, dtype=float)
    found, p = t_interval(differences, 0.9), equivalence_p(differences, margin)

    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (found.low > -margin and found.high < margin)


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

    members = {name: (p_value(values), float(values.mean())) for name, values in (("s", strong), ("w", weak))}
    assert intersection_union([members["s"], members["w"]]) == pytest.approx(p_value(weak))
    # However sure it is that a member is worse: that all are better has no support.
    assert intersection_union([members["s"], (p_value(-strong), -5.0)]) == 1.0
    assert math.isnan(intersection_union([members["s"], (math.nan, math.nan)]))


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


# --- what a test set can show -----------------------------------------------------------------------------------------


def test_the_grid_of_accuracies_by_hand() -> None:
    # Steps of 0.2 points, each accuracy uniform within one: variances of 0.04/12, twice.
    assert grid_spread(500) == pytest.approx(math.sqrt(2 * 0.04 / 12))


def test_the_spread_that_independent_images_bring_by_hand() -> None:
    # Two replicates, 100 images; on 8 of them the second replicate alone has one hit more: each has variance 1/2.
    first, second = np.zeros((2, 100), dtype=bool), np.zeros((2, 100), dtype=bool)
    first[1, :8] = True

    # √(8/2) images are 2 points; the chance of less than 0.0627 of that (the 5% quantile of |N(0, 1)|) is 5%.
    assert grid_spread(100) > 2 * 0.0627, "here the grid is the coarser"
    assert resolvable_spread(first, second) == grid_spread(100)
    many = np.repeat(first, 100, axis=1), np.repeat(second, 100, axis=1)
    assert resolvable_spread(*many) == pytest.approx(100 * math.sqrt(400) / 10_000 * 0.062707, rel=1e-4)
    assert resolvable_spread(first[:1], second[:1]) == grid_spread(100)


def test_of_independent_images_one_family_in_twenty_spreads_too_little() -> None:
    generator = np.random.default_rng(0)
    families, replicates, images = 400, 5, 2000
    hits = generator.random((2, families, replicates, images)) < 0.8
    spreads = 100 * (hits[0].mean(-1) - hits[1].mean(-1)).std(axis=1, ddof=1)
    too_small = [s < resolvable_spread(a, b) for s, a, b in zip(spreads, hits[0], hits[1], strict=True)]

    assert 0.02 < np.mean(too_small) < 0.09
