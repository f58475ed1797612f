"""The losses of the label against values worked out by hand."""

from __future__ import annotations

from math import log, sqrt

import pytest
import torch

from collabpipe.model.terms import label, output
from tests.model.terms.by_hand import (
    FIFTH,
    HALF,
    QUARTER,
    distributions,
    entropy,
    equals,
    gradient,
    logits_of,
    noise,
    tensor,
)


@pytest.mark.parametrize(
    ("smoothing", "expected"),
    [
        (0.0, [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]),
        (0.2, [[0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05]]),
    ],
)
def test_soft_targets_give_the_smoothed_share_to_every_class(smoothing: float, expected: list[list[float]]) -> None:
    targets = label.soft_targets(torch.tensor([1, 0]), 4, smoothing)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, torch.tensor(expected))
    # Labels are integers: there is nothing to differentiate.
    assert not targets.requires_grad


def test_cross_entropy_is_the_mean_over_heads_and_images() -> None:
    logits = logits_of([[HALF, QUARTER], [FIFTH, HALF]])
    targets = tensor([[1.0, 0.0], [0.25, 0.75]])
    head0 = -log(0.5), -(0.25 * log(0.25) + 0.75 * log(0.75))
    head1 = -log(0.2), -(0.25 * log(0.5) + 0.75 * log(0.5))
    assert equals(label.cross_entropy(logits, targets), (sum(head0) + sum(head1)) / 4)


def test_cross_entropy_pulls_each_head_by_prediction_minus_target() -> None:
    targets = tensor([[1.0, 0.0], [0.25, 0.75]])
    (grad,) = gradient(lambda z: label.cross_entropy(z, targets), logits_of([[HALF, QUARTER], [FIFTH, HALF]]))
    torch.testing.assert_close(grad, tensor([[[0.5 - 1.0, 0.5], [0.0, 0.0]], [[0.2 - 1.0, 0.8], [0.25, -0.25]]]) / 4)


@pytest.mark.parametrize(
    ("q", "of_quarter", "of_half"),
    [
        (0.5, (1 - 0.5) / 0.5, (1 - sqrt(0.5)) / 0.5),
        (1.0, 1 - 0.25, 1 - 0.5),
    ],
)
def test_generalised_cross_entropy_of_known_probabilities(q: float, of_quarter: float, of_half: float) -> None:
    targets = tensor([[1.0, 0.0]])
    value = label.generalised_cross_entropy(logits_of([[QUARTER], [HALF]]), targets, q)
    assert equals(value, (of_quarter + of_half) / 2)


def test_generalised_cross_entropy_weighs_classes_of_a_soft_target() -> None:
    value = label.generalised_cross_entropy(logits_of([[QUARTER]]), tensor([[0.4, 0.6]]), 0.5)
    assert equals(value, 0.4 * (1 - 0.5) / 0.5 + 0.6 * (1 - sqrt(0.75)) / 0.5)


def test_generalised_cross_entropy_approaches_cross_entropy_for_small_q() -> None:
    logits, targets = noise(2, 5, 3), distributions(5, 3)
    plain = label.cross_entropy(logits, targets).item()
    gaps = [abs(label.generalised_cross_entropy(logits, targets, q).item() - plain) for q in (1e-2, 1e-3, 1e-4)]
    # The next term of the expansion is linear in q.
    assert gaps[1] == pytest.approx(gaps[0] / 10, rel=0.05)
    assert gaps[2] == pytest.approx(gaps[1] / 10, rel=0.05)
    assert gaps[2] < 1e-3


def test_generalised_cross_entropy_of_a_hopeless_image_is_finite() -> None:
    logits = tensor([[[1000.0, -1000.0]]])
    targets = tensor([[0.0, 1.0]])
    (grad,) = gradient(lambda z: label.generalised_cross_entropy(z, targets, 0.7), logits)
    assert grad is not None
    assert grad.isfinite().all()
    assert label.generalised_cross_entropy(logits, targets, 0.7).item() == pytest.approx(1 / 0.7, rel=1e-4)


@pytest.mark.parametrize("pi", [0.5, 0.3, 0.9])
def test_jensen_shannon_label_of_two_heads(pi: float) -> None:
    # The heads' mean is (3/8, 5/8).
    value = label.jensen_shannon_label(logits_of([[HALF], [QUARTER]]), tensor([[1.0, 0.0]]), pi)
    mixture = pi + (1 - pi) * 3 / 8, (1 - pi) * 5 / 8
    divergence = entropy(*mixture) - pi * 0.0 - (1 - pi) * entropy(3 / 8, 5 / 8)
    assert equals(value, divergence / (-(1 - pi) * log(1 - pi)))


def test_jensen_shannon_label_subtracts_the_entropy_of_a_soft_target_and_averages_images() -> None:
    value = label.jensen_shannon_label(logits_of([[HALF, FIFTH]]), tensor([[0.9, 0.1], [0.2, 0.8]]), 0.4)
    first = entropy(0.4 * 0.9 + 0.6 * 0.5, 0.4 * 0.1 + 0.6 * 0.5) - 0.4 * entropy(0.9, 0.1) - 0.6 * entropy(0.5, 0.5)
    second = 0.0  # the prediction is the target
    assert equals(value, (first + second) / 2 / (-0.6 * log(0.6)))


@pytest.mark.parametrize("pi", [0.5, 0.3])
def test_generalised_jensen_shannon_label_of_two_heads(pi: float) -> None:
    value = label.generalised_jensen_shannon_label(logits_of([[HALF], [QUARTER]]), tensor([[1.0, 0.0]]), pi)
    mixture = pi + (1 - pi) * 3 / 8, (1 - pi) * 5 / 8
    share = (1 - pi) / 2
    divergence = entropy(*mixture) - share * entropy(0.5, 0.5) - share * entropy(0.25, 0.75)
    assert equals(value, divergence / (-(1 - pi) * log(1 - pi)))


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("pi", [0.1, 0.5, 0.9])
def test_generalised_jensen_shannon_is_its_label_part_and_the_heads_own_divergence(heads: int, pi: float) -> None:
    logits, targets = noise(heads, 4, 3), distributions(4, 3)
    whole = label.generalised_jensen_shannon_label(logits, targets, pi)
    part = label.jensen_shannon_label(logits, targets, pi)
    own = output.jensen_shannon(logits)
    assert equals(whole - part, (1 - pi) / (-(1 - pi) * log(1 - pi)) * own.item())
    assert own.item() > 1e-3 or heads == 1


@pytest.mark.parametrize("pi", [0.1, 0.5, 0.9])
def test_jensen_shannon_label_of_a_certain_wrong_prediction_is_the_entropy_of_the_weights(pi: float) -> None:
    # The loss is bounded: between a label and a disjoint prediction the divergence is the entropy of (pi, 1 - pi).
    value = label.jensen_shannon_label(tensor([[[0.0, 60.0]]]), tensor([[1.0, 0.0]]), pi)
    assert equals(value, entropy(pi, 1 - pi) / (-(1 - pi) * log(1 - pi)))


def test_jensen_shannon_label_approaches_cross_entropy_for_small_pi() -> None:
    # Proposition 1 of Englesson and Azizpour: what the division by Z is for.
    value = label.jensen_shannon_label(logits_of([[FIFTH]]), tensor([[1.0, 0.0]]), 1e-6)
    assert equals(value, log(5.0), 1e-4)


def test_jensen_shannon_label_approaches_absolute_error_for_large_pi() -> None:
    # The approach is logarithmic in 1 - pi: at 1 - 1e-12 about one part in thirty is left.
    value = label.jensen_shannon_label(logits_of([[FIFTH]]), tensor([[1.0, 0.0]]), 1 - 1e-12)
    assert value.item() == pytest.approx(1 - 0.2, rel=0.05)
