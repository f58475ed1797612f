"""Draws of images: their size, the classes' shares, and groups that are never cut."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from collabpipe.common.seeds import numpy_generator
from collabpipe.data.draws import grouped, nearest, stratified


def within_one_of_their_share(labels: np.ndarray, part: np.ndarray) -> bool:
    """Whether `part`, some of `labels`, holds each class in its share, to within one image."""
    share = np.bincount(labels, minlength=20) * len(part) / len(labels)
    return bool((np.abs(np.bincount(part, minlength=20) - share) < 1).all())


@given(
    labels=hnp.arrays(np.int64, st.integers(1, 150), elements=st.integers(0, 7)),
    data=st.data(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_a_stratified_draw_has_its_size_and_keeps_shares_within_one(
    labels: np.ndarray, data: st.DataObject, seed: int
) -> None:
    size = data.draw(st.integers(1, len(labels)))

    drawn = stratified(labels, size, numpy_generator(seed))

    assert len(drawn) == size
    assert (np.diff(drawn) > 0).all(), "sorted, and nothing twice"
    assert drawn.min() >= 0
    assert drawn.max() < len(labels)
    assert within_one_of_their_share(labels, labels[drawn])
    assert (stratified(labels, size, numpy_generator(seed)) == drawn).all()


def test_places_that_rounding_leaves_over_go_to_the_largest_remainders() -> None:
    labels = np.repeat([0, 1, 2], [5, 3, 2])

    drawn = stratified(labels, 4, numpy_generator(0))

    # Shares of 4 are 2.0, 1.2 and 0.8: the place left over after 2, 1 and 0 goes to the third class.
    assert np.bincount(labels[drawn]).tolist() == [2, 1, 1]


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8), wanted=st.fractions(-5, 60, max_denominator=7))
@settings(max_examples=300, deadline=None)
def test_the_chosen_groups_are_as_near_to_the_number_as_any_others(sizes: list[int], wanted: Fraction) -> None:
    taken = nearest(sizes, wanted)

    sums = [sum(s for s, t in zip(sizes, choice, strict=True) if t) for choice in product([0, 1], repeat=len(sizes))]
    found = sum(size for size, take in zip(sizes, taken, strict=True) if take)
    assert any(taken)
    assert abs(found - wanted) == min(abs(one - wanted) for one in sums if one)


@given(
    groups=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=40),
    mistaken=st.floats(0, 0.4),
    data=st.data(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=200, deadline=None)
def test_a_draw_of_groups_cuts_none_and_is_near_to_its_size_and_shares(
    groups: list[tuple[int, int]], mistaken: float, data: st.DataObject, seed: int
) -> None:
    generator = numpy_generator(seed)
    group = np.repeat(np.arange(len(groups)), [size for _, size in groups])
    true = np.repeat([label for label, _ in groups], [size for _, size in groups])
    labels = np.where(generator.random(len(true)) < mistaken, generator.integers(0, 4, len(true)), true)
    order = generator.permutation(len(labels))
    group, labels = group[order], labels[order]
    size = data.draw(st.integers(1, len(labels)))

    drawn = grouped(labels, group, size, numpy_generator(seed))

    assert (np.diff(drawn) > 0).all(), "sorted, and nothing twice"
    assert np.isin(group, group[drawn]).sum() == len(drawn), "whole groups"
    assert (grouped(labels, group, size, numpy_generator(seed)) == drawn).all()
    most = np.array([np.bincount(labels[group == one]).argmax() for one in range(len(groups))])
    of_image, largest = most[group], max(size for _, size in groups)
    shares = np.bincount(of_image) * size / len(labels)
    counts = np.bincount(of_image[drawn], minlength=len(shares))
    assert set(of_image) == set(of_image[drawn]), "at least one group of each class"
    if all(share >= largest for share in shares if share):
        assert abs(len(drawn) - size) <= largest / 2
        assert (np.abs(counts - shares) <= largest).all()


def test_groups_of_one_image_are_drawn_as_many_as_are_asked_for() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])

    drawn = grouped(labels, np.arange(100), 40, numpy_generator(0))

    assert np.bincount(labels[drawn]).tolist() == [20, 12, 8]


def test_what_one_class_lacks_the_next_makes_up_for() -> None:
    """Ten classes of two groups of ten images: five whole groups are the nearest to 50 beyond one of each class."""
    labels, groups = np.repeat(np.arange(10), 20), np.repeat(np.arange(20), 10)

    drawn = grouped(labels, groups, 150, numpy_generator(0))

    assert len(drawn) == 150
    assert sorted(np.bincount(labels[drawn])) == [10] * 5 + [20] * 5


def test_another_seed_draws_other_groups() -> None:
    labels, groups = np.repeat([0, 1], 100), np.repeat(np.arange(40), 5)

    assert (
        grouped(labels, groups, 50, numpy_generator(0)).tolist()
        != grouped(labels, groups, 50, numpy_generator(1)).tolist()
    )
