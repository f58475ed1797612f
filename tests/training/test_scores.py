"""Scores against values worked by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from collabpipe.training.scores import calibration_error, class_entropy, is_collapsed
from collabpipe.training.scores import score as score_or_none


def score(logits: NDArray[np.float32], labels: NDArray[np.int64], groups: list[str] | None = None) -> dict[str, float]:
    """The scores of logits that have some."""
    found = score_or_none(logits, labels, groups)
    assert found is not None
    return found


def rows(*logits: list[float]) -> NDArray[np.float32]:
    return np.array(logits, dtype=np.float32)


def logits_of(*probabilities: list[float]) -> NDArray[np.float32]:
    return np.log(rows(*probabilities))


def one_hot(predictions: list[int], classes: int) -> NDArray[np.float32]:
    return np.eye(classes, dtype=np.float32)[predictions]


def random_predictions(
    seed: int, size: int, classes: int, spread: float = 3
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, (size, classes)).astype(np.float32)
    return logits, generator.integers(0, classes, size)


def test_accuracy_and_likelihood_by_hand() -> None:
    found = score(logits_of([0.5, 0.25, 0.25], [0.125, 0.5, 0.375], [0.25, 0.5, 0.25]), np.array([0, 1, 2]))

    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["negative_log_likelihood"] == pytest.approx((math.log(2) + math.log(2) + math.log(4)) / 3)
    # Class 0 is named once and class 1 twice.
    assert found["class_entropy"] == pytest.approx(math.log(3) / 3 + 2 / 3 * math.log(1.5))
    assert set(found) == {
        "accuracy", "negative_log_likelihood", "expected_calibration_error", "class_entropy"
    }  # fmt: skip


@pytest.mark.parametrize("margin", [30.0, 100.0, 1e4, 3e38])
def test_a_certain_mistake_costs_its_margin_and_has_no_ceiling(margin: float) -> None:
    found = score(rows([margin, 0.0], [0.0, margin]), np.array([1, 1]))

    assert found["accuracy"] == 0.5
    assert found["negative_log_likelihood"] == pytest.approx(margin / 2)


def test_a_common_shift_of_the_logits_changes_nothing() -> None:
    logits, labels = random_predictions(0, 20, 3)

    assert score(logits.round() + 1000, labels) == score(logits.round(), labels)


def test_ranks_and_likelihood_of_saturated_probabilities_are_those_of_the_margins() -> None:
    # As float32 all three probabilities of the second class are 1.0, which made the area 0.5.
    found = score(rows([-10, 10], [-9, 9], [-11, 11]), np.array([1, 0, 1]))

    assert found["auc"] == 1.0
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["negative_log_likelihood"] == pytest.approx(
        (math.log1p(math.exp(-20)) + 18 + math.log1p(math.exp(-18)) + math.log1p(math.exp(-22))) / 3, rel=1e-12
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_a_logit_that_is_not_finite_leaves_no_score(value: float, classes: int) -> None:
    logits, labels = random_predictions(0, 20, classes)
    logits[7, 1] = value

    assert score_or_none(logits, labels) is None
    assert score_or_none(logits[:0], labels[:0]) is None


def calibration_error_of(probabilities: NDArray[np.float32], labels: list[int]) -> float:
    return calibration_error(probabilities.max(1).astype(np.float64), probabilities.argmax(1) == np.array(labels))


def test_calibration_error_by_hand() -> None:
    # Two predictions at 0.9, one of them right: a gap of 0.4. Two at 0.6, both right: a gap of 0.4.
    probabilities = rows([0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6])

    assert calibration_error_of(probabilities, [0, 0, 0, 1]) == pytest.approx(0.4)
    # All right at 0.9 and 0.6: gaps of 0.1 and 0.4, weighed by two of four each.
    assert calibration_error_of(probabilities, [0, 1, 0, 1]) == pytest.approx(0.25)
    found = score(np.log(probabilities), np.array([0, 1, 0, 1]))
    assert found["expected_calibration_error"] == pytest.approx(0.25)


def test_gaps_within_a_bin_cancel_and_those_of_two_bins_do_not() -> None:
    # 0.95 and 0.99 share the last of 15 bins: one right, one wrong, mean confidence 0.97, share right 0.5.
    shared = rows([0.95, 0.05], [0.99, 0.01])
    assert calibration_error_of(shared, [0, 1]) == pytest.approx(0.47, abs=1e-6)
    # 0.55 and 0.95 do not: gaps of 0.45 (right) and 0.95 (wrong), half the images each.
    apart = rows([0.55, 0.45], [0.95, 0.05])
    assert calibration_error_of(apart, [0, 1]) == pytest.approx(0.7, abs=1e-6)


def test_certainty_is_in_the_last_bin() -> None:
    assert calibration_error_of(one_hot([0, 1, 1], 3), [0, 1, 1]) == 0.0
    assert calibration_error_of(one_hot([0, 1, 1], 3), [0, 1, 2]) == pytest.approx(1 / 3)
    assert score(1000 * one_hot([0, 1, 1], 3), np.array([0, 1, 2]))["expected_calibration_error"] == pytest.approx(
        1 / 3
    )


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_entropy_of_the_named_classes_is_log_k_at_most_and_zero_for_one(classes: int) -> None:
    every = np.repeat(np.arange(classes), 3)

    assert class_entropy(every, classes) == pytest.approx(math.log(classes))
    assert class_entropy(np.zeros(7, dtype=np.int64), classes) == 0.0
    assert class_entropy(np.array([0, 0, 0, 1]), classes) == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )


@pytest.mark.parametrize("classes", [2, 4, 6, 10, 20, 50, 100])
def test_half_of_the_classes_in_equal_use_is_no_collapse(classes: int) -> None:
    # Fewer than half is one: exactly half must not be called so by rounding.
    assert not is_collapsed(one_hot(list(range(classes // 2)), classes))


def test_fewer_than_half_of_the_classes_in_use_is_a_collapse() -> None:
    assert is_collapsed(one_hot([3] * 50, 10))
    assert is_collapsed(one_hot([0, 1, 2, 3] * 5, 10))
    # Nine classes are named, but nearly all images are called one thing: exp(entropy) is 1.7.
    assert is_collapsed(one_hot([0] * 92 + list(range(1, 9)), 10))
    assert not is_collapsed(one_hot(list(range(10)), 10))


def test_the_five_best_of_a_hundred_classes_by_hand() -> None:
    ranked = np.arange(100, 0, -1, dtype=np.float32)  # class 0 first

    found = score(np.tile(ranked, (4, 1)), np.array([0, 4, 5, 99]))

    assert found["top5_accuracy"] == 0.5
    assert found["accuracy"] == 0.25


def test_the_five_best_are_counted_from_a_hundred_classes_on() -> None:
    assert "top5_accuracy" not in score(*random_predictions(0, 20, 99))
    assert "top5_accuracy" in score(*random_predictions(0, 20, 100))


def test_the_area_under_the_curve_by_hand() -> None:
    # Of the four pairs of a negative and a positive three are in order.
    positive = [0.1, 0.4, 0.35, 0.8]
    found = score(logits_of(*([1 - p, p] for p in positive)), np.array([0, 0, 1, 1]))

    assert found["auc"] == pytest.approx(3 / 4)
    # A tie is half a pair.
    assert score(rows([1, 1], [2, 2], [0, 8]), np.array([0, 1, 1]))["auc"] == pytest.approx(3 / 4)


def test_the_second_class_is_the_positive_one() -> None:
    labels = np.array([0, 0, 1, 1])

    assert score(one_hot([0, 0, 1, 1], 2), labels)["auc"] == 1.0
    assert score(one_hot([1, 1, 0, 0], 2), labels)["auc"] == 0.0


def test_the_area_is_that_of_two_classes_which_both_occur() -> None:
    assert "auc" not in score(*random_predictions(0, 20, 3))
    logits, labels = random_predictions(0, 20, 2)
    assert "auc" in score(logits, labels)
    for only in (0, 1):
        assert "auc" not in score(logits, np.full_like(labels, only))


def test_a_group_is_judged_by_the_mean_of_its_images_probabilities() -> None:
    # Group a: (0.9 + 0.4) / 2 = 0.65 for its class 0, although one of its two images is wrong. Group b: (0.6 + 0.55 +
    # 0.1) / 3 = 0.417 for its class 1, although two of its three images are right. Group c: 0.8 for its class 1.
    logits = logits_of([0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [0.45, 0.55], [0.9, 0.1], [0.2, 0.8])
    labels = np.array([0, 0, 1, 1, 1, 1])
    groups = ["a", "a", "b", "b", "b", "c"]

    found = score(logits, labels, groups)

    assert found["groups"] == 3
    assert found["group_accuracy"] == pytest.approx(2 / 3)
    # Class 1 has 0.35 in a, 0.417 in b and 0.8 in c: both pairs are in order.
    assert found["group_auc"] == 1.0
    alone = score(logits, labels)
    assert {name: value for name, value in found.items() if not name.startswith("group")} == alone
    several = score(logits, labels, ["a", "b", "b", "b", "b", "c"])
    assert several == alone, "a group of two classes has no label"


def test_groups_of_one_image_have_the_images_scores() -> None:
    logits, labels = random_predictions(3, 30, 2, spread=100)

    found = score(logits, labels, [f"image {number}" for number in range(30)])

    assert (found["groups"], found["group_accuracy"]) == (30, found["accuracy"])
    assert found["group_auc"] == pytest.approx(found["auc"], abs=0.05), "equal but for what a double cannot hold"


@given(seed=st.integers(0, 10_000), size=st.integers(2, 40), spread=st.sampled_from([1, 100]))
@settings(max_examples=30, deadline=None)
def test_the_area_is_the_share_of_pairs_in_order(seed: int, size: int, spread: float) -> None:
    logits, labels = random_predictions(seed, size, 2, spread)
    labels[:2] = (0, 1)
    logits = logits.round()  # with ties
    found = score(logits, labels)["auc"]

    margins = logits[:, 1] - logits[:, 0]
    gaps = margins[labels == 1][:, None] - margins[labels == 0][None, :]
    assert found == pytest.approx(((gaps > 0) + 0.5 * (gaps == 0)).mean())


@given(seed=st.integers(0, 10_000), size=st.integers(1, 60), classes=st.sampled_from([2, 3, 10, 100, 120]))
@settings(max_examples=40, deadline=None)
def test_scores_agree_with_scikit_learn(seed: int, size: int, classes: int) -> None:
    logits, labels = random_predictions(seed, size, classes)
    names = list(range(classes))

    found = score(logits, labels)

    assert found["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    # In double precision: scikit-learn cuts off at the precision of what it is given.
    exact = scipy.special.softmax(logits.astype(np.float64), axis=1)
    assert found["negative_log_likelihood"] == pytest.approx(log_loss(labels, exact, labels=names), rel=1e-9)
    assert found["expected_calibration_error"] == pytest.approx(
        calibration_error(exact.max(1), exact.argmax(1) == labels), abs=1e-9
    )
    assert 0.0 <= found["expected_calibration_error"] <= 1.0
    if classes >= 100:
        assert found["top5_accuracy"] == pytest.approx(top_k_accuracy_score(labels, logits, k=5, labels=names))
