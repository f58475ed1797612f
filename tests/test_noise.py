"""Label noise: exact counts, the labels that each kind allows, and nothing but its own seed behind it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chisquare

from collabpipe.noise import NOISE, Labels, transition_counts
from collabpipe.seeds import numpy_generator
from collabpipe.settings import NOISE_KINDS

KINDS = sorted(NOISE)
NOISY = [kind for kind in KINDS if kind != "none"]
RATES = st.floats(0.0, 1.0, exclude_max=True)
SEEDS = st.integers(0, 2**63 - 1)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Labels, int]:
    """Clean labels of up to 120 images, and the number of classes."""
    classes = draw(st.integers(2, 12))
    size = draw(st.integers(1, 120))
    return draw(hnp.arrays(np.int64, size, elements=st.integers(0, classes - 1))), classes


def noisy(kind: str, clean: Labels, rate: float, classes: int, seed: int) -> Labels:
    return NOISE[kind](clean, rate, classes, numpy_generator(seed))


def test_every_kind_of_a_configuration_has_its_generator() -> None:
    assert set(NOISE) == set(NOISE_KINDS)


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
@given(given_labels=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_exactly_the_asked_number_of_labels_is_wrong(
    kind: str, given_labels: tuple[Labels, int], rate: float, seed: int
) -> None:
    clean, classes = given_labels

    found = noisy(kind, clean, rate, classes, seed)

    assert (found != clean).sum() == round(rate * len(clean))


@given(given_labels=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_inclusive_noise_draws_for_the_same_images_as_exclusive_and_may_hit_the_truth(
    given_labels: tuple[Labels, int], rate: float, seed: int
) -> None:
    clean, classes = given_labels

    chosen = noisy("symmetric", clean, rate, classes, seed) != clean
    wrong = noisy("symmetric_inclusive", clean, rate, classes, seed) != clean

    assert wrong.sum() <= round(rate * len(clean))
    assert not (wrong & ~chosen).any()


@pytest.mark.parametrize("kind", KINDS)
@given(given_labels=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_noise_is_labels_of_the_same_images_and_leaves_the_clean_ones_alone(
    kind: str, given_labels: tuple[Labels, int], rate: float, seed: int
) -> None:
    clean, classes = given_labels
    before = clean.copy()
    clean.flags.writeable = False  # as the memory-mapped labels are

    found = noisy(kind, clean, rate, classes, seed)

    assert found.shape == clean.shape
    assert found.dtype == np.int64
    assert found.min() >= 0
    assert found.max() < classes
    assert not np.shares_memory(found, clean)
    assert (clean == before).all()


@given(given_labels=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_pair_noise_goes_to_the_next_class(given_labels: tuple[Labels, int], rate: float, seed: int) -> None:
    clean, classes = given_labels

    found = noisy("pair", clean, rate, classes, seed)

    assert set((found - clean) % classes) <= {0, 1}


@pytest.mark.parametrize("kind", KINDS)
@given(given_labels=labelled(), rate=RATES, seed=SEEDS, other=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_only_its_own_seed_matters(
    kind: str, given_labels: tuple[Labels, int], rate: float, seed: int, other: int
) -> None:
    clean, classes = given_labels
    first = noisy(kind, clean, rate, classes, seed)
    np.random.seed(other)  # the global stream, which must neither matter nor move
    expected = np.random.RandomState(other).random()

    second = noisy(kind, clean, rate, classes, seed)

    assert (first == second).all()
    assert np.random.random() == expected


@pytest.mark.parametrize("kind", NOISY)
def test_another_seed_gives_other_labels(kind: str) -> None:
    clean = np.arange(1000) % 10

    assert (noisy(kind, clean, 0.5, 10, 0) != noisy(kind, clean, 0.5, 10, 1)).any()


@pytest.mark.parametrize("kind", KINDS)
@given(given_labels=labelled(), seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_rate_zero_and_no_noise_change_nothing(kind: str, given_labels: tuple[Labels, int], seed: int) -> None:
    clean, classes = given_labels
    rate = 0.9 if kind == "none" else 0.0

    assert (noisy(kind, clean, rate, classes, seed) == clean).all()


@pytest.mark.parametrize("kind", KINDS)
@given(given_labels=labelled(), rate=RATES, seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_transition_counts_sum_to_classes_images_and_flips(
    kind: str, given_labels: tuple[Labels, int], rate: float, seed: int
) -> None:
    clean, classes = given_labels
    found = noisy(kind, clean, rate, classes, seed)

    counts = transition_counts(clean, found, classes)

    assert counts.shape == (classes, classes)
    assert (counts.sum(1) == np.bincount(clean, minlength=classes)).all()
    assert (counts.sum(0) == np.bincount(found, minlength=classes)).all()
    assert counts.sum() - np.trace(counts) == (clean != found).sum()


def test_transition_counts_on_a_hand_worked_example() -> None:
    counts = transition_counts(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 2]), 3)

    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]


def test_wrong_labels_are_uniform_over_the_other_classes() -> None:
    clean = np.repeat(np.arange(10), 3000)

    counts = transition_counts(clean, noisy("symmetric", clean, 0.5, 10, 7), 10)

    for true in range(10):
        assert chisquare(np.delete(counts[true], true)).pvalue > 1e-4
    assert (clean != noisy("symmetric", clean, 0.5, 10, 7)).mean() == 0.5


def test_inclusive_labels_are_uniform_over_all_classes_and_the_true_rate_is_lower() -> None:
    clean = np.repeat(np.arange(10), 3000)
    chosen = noisy("symmetric", clean, 0.5, 10, 7) != clean

    found = noisy("symmetric_inclusive", clean, 0.5, 10, 7)

    for true in range(10):
        assert chisquare(np.bincount(found[chosen & (clean == true)], minlength=10)).pvalue > 1e-4
    # 50% on 10 classes is 45%; the standard error of this share is 0.12 points.
    assert (found != clean).mean() == pytest.approx(0.45, abs=0.006)


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_every_image_is_as_likely_to_be_hit(kind: str) -> None:
    clean = np.zeros(50, dtype=np.int64)

    hits = sum((noisy(kind, clean, 0.3, 3, seed) != clean).astype(int) for seed in range(600))

    # Counts without replacement vary less than independent ones: a low statistic is expected, a high one is bias.
    assert chisquare(hits).pvalue > 1e-4
