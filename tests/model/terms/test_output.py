"""Consistency of the output layer against values worked out by hand."""

from __future__ import annotations

from math import log

import pytest
import torch

from collabpipe.model.terms import output
from tests.model.terms.by_hand import (
    FIFTH,
    HALF,
    KL_FIFTH_HALF,
    KL_FIFTH_QUARTER,
    KL_HALF_FIFTH,
    KL_HALF_QUARTER,
    KL_QUARTER_FIFTH,
    KL_QUARTER_HALF,
    QUARTER,
    Loss,
    entropy,
    equals,
    gradient,
    logits_of,
    tensor,
)


def test_symmetric_kl_is_half_the_sum_of_both_directions() -> None:
    value = output.symmetric_kl(logits_of([[HALF], [QUARTER]]))
    assert equals(value, 0.5 * (KL_HALF_QUARTER + KL_QUARTER_HALF))


@pytest.mark.parametrize("loss", [output.symmetric_kl, output.stop_gradient_kl])
def test_divergences_average_over_images_and_pairs_of_heads(loss: Loss) -> None:
    # The second image's heads agree; three heads make three pairs.
    value = loss(logits_of([[HALF, FIFTH], [QUARTER, FIFTH], [FIFTH, FIFTH]]))
    pairs = (
        0.5 * (KL_HALF_QUARTER + KL_QUARTER_HALF),
        0.5 * (KL_HALF_FIFTH + KL_FIFTH_HALF),
        0.5 * (KL_QUARTER_FIFTH + KL_FIFTH_QUARTER),
    )
    assert equals(value, sum(pairs) / 3 / 2)


def test_stop_gradient_kl_moves_each_head_towards_the_other_and_no_target() -> None:
    # d/dz_j of KL(sg p_i‖p_j) is p_j - p_i, and nothing reaches z_i: for two heads and one image ½(p_j - p_i).
    (grad,) = gradient(output.stop_gradient_kl, logits_of([[HALF], [QUARTER]]))
    torch.testing.assert_close(grad, tensor([[[0.125, -0.125]], [[-0.125, 0.125]]]))


def test_stop_gradient_kl_of_three_heads_moves_each_towards_the_others_mean() -> None:
    (grad,) = gradient(output.stop_gradient_kl, logits_of([[HALF], [QUARTER], [FIFTH]]))
    first = 0.5 * ((0.5 - 0.25) + (0.5 - 0.2)) / 3
    second = 0.5 * ((0.25 - 0.5) + (0.25 - 0.2)) / 3
    third = 0.5 * ((0.2 - 0.5) + (0.2 - 0.25)) / 3
    torch.testing.assert_close(grad, tensor([[[first, -first]], [[second, -second]], [[third, -third]]]))


def test_confident_kl_weighs_each_target_by_its_largest_probability() -> None:
    # The second image's heads agree.
    value = output.confident_kl(logits_of([[HALF, FIFTH], [QUARTER, FIFTH]]))
    assert equals(value, 0.5 * (0.5 * KL_HALF_QUARTER + 0.75 * KL_QUARTER_HALF) / 2)


def test_confident_kl_of_three_heads_averages_over_pairs() -> None:
    value = output.confident_kl(logits_of([[HALF], [QUARTER], [FIFTH]]))
    pairs = (
        0.5 * (0.5 * KL_HALF_QUARTER + 0.75 * KL_QUARTER_HALF),
        0.5 * (0.5 * KL_HALF_FIFTH + 0.8 * KL_FIFTH_HALF),
        0.5 * (0.75 * KL_QUARTER_FIFTH + 0.8 * KL_FIFTH_QUARTER),
    )
    assert equals(value, sum(pairs) / 3)


def test_confident_kl_moves_each_head_by_its_targets_confidence_and_no_target() -> None:
    # d/dz_j of c_i KL(sg p_i‖p_j) is c_i (p_j - p_i); no gradient comes through c_i, nor back to z_i.
    (grad,) = gradient(output.confident_kl, logits_of([[HALF], [QUARTER]]))
    first, second = 0.5 * 0.75 * (0.5 - 0.25), 0.5 * 0.5 * (0.25 - 0.5)
    torch.testing.assert_close(grad, tensor([[[first, -first]], [[second, -second]]]))


def test_symmetric_kl_also_pulls_the_targets() -> None:
    # With A = ½ Σ_k (p_k - q_k)(log p_k - log q_k): dA/dz_k = ½ (p_k (l_k - Σ_j p_j l_j) + p_k - q_k), l = log p/q.
    (grad,) = gradient(output.symmetric_kl, logits_of([[HALF], [QUARTER]]))
    ratio = log(2.0), log(2.0 / 3.0)
    head0 = 0.5 * (0.5 * (ratio[0] - (0.5 * ratio[0] + 0.5 * ratio[1])) + 0.5 - 0.25)
    head1 = 0.5 * (0.25 * (-ratio[0] + (0.25 * ratio[0] + 0.75 * ratio[1])) + 0.25 - 0.5)
    torch.testing.assert_close(grad, tensor([[[head0, -head0]], [[head1, -head1]]]))


def test_jensen_shannon_is_the_entropy_of_the_mean_less_the_mean_entropy() -> None:
    value = output.jensen_shannon(logits_of([[HALF, FIFTH], [QUARTER, FIFTH]]))
    disagreeing = entropy(3 / 8, 5 / 8) - (entropy(0.5, 0.5) + entropy(0.25, 0.75)) / 2
    assert equals(value, disagreeing / 2)


def test_jensen_shannon_of_three_disjoint_heads_is_log_three() -> None:
    logits = 60.0 * torch.eye(3, dtype=torch.float64)[:, None]
    assert equals(output.jensen_shannon(logits), log(3.0))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("squared", [False, True])
def test_song_chai_of_two_heads_is_the_cross_entropy_with_the_other(temperature: float, squared: bool) -> None:
    value = output.song_chai(logits_of([[HALF], [QUARTER]], temperature), temperature, squared)
    follows_quarter = -(0.25 * log(0.5) + 0.75 * log(0.5))
    follows_half = -(0.5 * log(0.25) + 0.5 * log(0.75))
    assert equals(value, (follows_quarter + follows_half) / 2 * (temperature**2 if squared else 1.0))


@pytest.mark.parametrize("squared", [False, True])
def test_song_chai_of_three_heads_targets_the_mean_of_the_others_logits(squared: bool) -> None:
    # Odds 1:1, 1:4 and 4:1; the mean of two logits is the geometric mean of their odds: 1:1, 2:1 and 1:2.
    value = output.song_chai(logits_of([[HALF], [FIFTH], [[0.8, 0.2]]], 2.0), 2.0, squared)
    of_first = -(0.5 * log(0.5) + 0.5 * log(0.5))
    of_second = -(2 / 3 * log(0.2) + 1 / 3 * log(0.8))
    of_third = -(1 / 3 * log(0.8) + 2 / 3 * log(0.2))
    assert equals(value, (of_first + of_second + of_third) / 3 * (4.0 if squared else 1.0))


@pytest.mark.parametrize(("squared", "scale"), [(False, 1 / 2), (True, 2.0)])
def test_song_chai_moves_each_head_towards_its_target_and_no_target(squared: bool, scale: float) -> None:
    # d/dz_h of CE(sg t, s(z_h; T)) is (s_h - t_h)/T: nothing comes back from the targets of the other heads.
    logits = logits_of([[HALF], [FIFTH], [[0.8, 0.2]]], 2.0)
    (grad,) = gradient(lambda z: output.song_chai(z, 2.0, squared), logits)
    gaps = 0.5 - 0.5, 0.2 - 2 / 3, 0.8 - 1 / 3
    torch.testing.assert_close(grad, tensor([[[g * scale / 3, -g * scale / 3]] for g in gaps]))
