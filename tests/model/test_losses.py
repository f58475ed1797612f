"""The terms against values worked out by hand, and their gradients against finite differences or hand-worked ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import permutations
from math import log, sqrt

import pytest
import torch
from torch import Tensor

from collabpipe.model import losses

Loss = Callable[..., Tensor]
Nested = list[float] | list[list[float]] | list[list[list[float]]]

# Tensors this small are slower on two threads than on one, by far where cores are shared.
torch.set_num_threads(1)

EPS = losses.EPSILON
HALF = [0.5, 0.5]
QUARTER = [0.25, 0.75]
FIFTH = [0.2, 0.8]
# KL(p‖q) and KL(q‖p) of p = (1/2, 1/2), q = (1/4, 3/4).
KL_HALF_QUARTER = 0.5 * log(2.0) + 0.5 * log(2.0 / 3.0)
KL_QUARTER_HALF = 0.25 * log(0.5) + 0.75 * log(1.5)
KL_HALF_FIFTH = 0.5 * log(5.0 / 2.0) + 0.5 * log(5.0 / 8.0)
KL_FIFTH_HALF = 0.2 * log(2.0 / 5.0) + 0.8 * log(8.0 / 5.0)
KL_QUARTER_FIFTH = 0.25 * log(5.0 / 4.0) + 0.75 * log(15.0 / 16.0)
KL_FIFTH_QUARTER = 0.2 * log(4.0 / 5.0) + 0.8 * log(16.0 / 15.0)


def entropy(*probabilities: float) -> float:
    return -sum(p * log(p) for p in probabilities if p > 0.0)


def tensor(values: Nested) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logits_of(probabilities: Nested, temperature: float = 1.0) -> Tensor:
    """Logits whose softmax at `temperature` is `probabilities`."""
    return temperature * tensor(probabilities).log()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distributions(*shape: int, seed: int = 1) -> Tensor:
    return noise(*shape, seed=seed).softmax(-1)


def equals(value: Tensor, expected: float, tolerance: float = 1e-12) -> bool:
    assert value.shape == ()
    return value.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)


def gradient(loss: Loss, *inputs: Tensor) -> list[Tensor | None]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    loss(*leaves).backward()
    return [leaf.grad for leaf in leaves]


# --- the label -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smoothing", "expected"),
    [
        (0.0, [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]),
        (0.2, [[0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05]]),
    ],
)
def test_soft_targets_give_the_smoothed_share_to_every_class(smoothing: float, expected: list[list[float]]) -> None:
    targets = losses.soft_targets(torch.tensor([1, 0]), 4, smoothing)
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, torch.tensor(expected))
    # Labels are integers: there is nothing to differentiate.
    assert not targets.requires_grad


def test_cross_entropy_is_the_mean_over_heads_and_images() -> None:
    logits = logits_of([[HALF, QUARTER], [FIFTH, HALF]])
    targets = tensor([[1.0, 0.0], [0.25, 0.75]])
    head0 = -log(0.5), -(0.25 * log(0.25) + 0.75 * log(0.75))
    head1 = -log(0.2), -(0.25 * log(0.5) + 0.75 * log(0.5))
    assert equals(losses.cross_entropy(logits, targets), (sum(head0) + sum(head1)) / 4)


def test_cross_entropy_pulls_each_head_by_prediction_minus_target() -> None:
    targets = tensor([[1.0, 0.0], [0.25, 0.75]])
    (grad,) = gradient(lambda z: losses.cross_entropy(z, targets), logits_of([[HALF, QUARTER], [FIFTH, HALF]]))
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
    value = losses.generalised_cross_entropy(logits_of([[QUARTER], [HALF]]), targets, q)
    assert equals(value, (of_quarter + of_half) / 2)


def test_generalised_cross_entropy_weighs_classes_of_a_soft_target() -> None:
    value = losses.generalised_cross_entropy(logits_of([[QUARTER]]), tensor([[0.4, 0.6]]), 0.5)
    assert equals(value, 0.4 * (1 - 0.5) / 0.5 + 0.6 * (1 - sqrt(0.75)) / 0.5)


def test_generalised_cross_entropy_approaches_cross_entropy_for_small_q() -> None:
    logits, targets = noise(2, 5, 3), distributions(5, 3)
    plain = losses.cross_entropy(logits, targets).item()
    gaps = [abs(losses.generalised_cross_entropy(logits, targets, q).item() - plain) for q in (1e-2, 1e-3, 1e-4)]
    # The next term of the expansion is linear in q.
    assert gaps[1] == pytest.approx(gaps[0] / 10, rel=0.05)
    assert gaps[2] == pytest.approx(gaps[1] / 10, rel=0.05)
    assert gaps[2] < 1e-3


def test_generalised_cross_entropy_of_a_hopeless_image_is_finite() -> None:
    logits = tensor([[[1000.0, -1000.0]]])
    targets = tensor([[0.0, 1.0]])
    (grad,) = gradient(lambda z: losses.generalised_cross_entropy(z, targets, 0.7), logits)
    assert grad is not None
    assert grad.isfinite().all()
    assert losses.generalised_cross_entropy(logits, targets, 0.7).item() == pytest.approx(1 / 0.7, rel=1e-4)


@pytest.mark.parametrize("pi", [0.5, 0.3, 0.9])
def test_jensen_shannon_label_of_two_heads(pi: float) -> None:
    # The heads' mean is (3/8, 5/8).
    value = losses.jensen_shannon_label(logits_of([[HALF], [QUARTER]]), tensor([[1.0, 0.0]]), pi)
    mixture = pi + (1 - pi) * 3 / 8, (1 - pi) * 5 / 8
    divergence = entropy(*mixture) - pi * 0.0 - (1 - pi) * entropy(3 / 8, 5 / 8)
    assert equals(value, divergence / (-(1 - pi) * log(1 - pi)))


def test_jensen_shannon_label_subtracts_the_entropy_of_a_soft_target_and_averages_images() -> None:
    value = losses.jensen_shannon_label(logits_of([[HALF, FIFTH]]), tensor([[0.9, 0.1], [0.2, 0.8]]), 0.4)
    first = entropy(0.4 * 0.9 + 0.6 * 0.5, 0.4 * 0.1 + 0.6 * 0.5) - 0.4 * entropy(0.9, 0.1) - 0.6 * entropy(0.5, 0.5)
    second = 0.0  # the prediction is the target
    assert equals(value, (first + second) / 2 / (-0.6 * log(0.6)))


@pytest.mark.parametrize("pi", [0.5, 0.3])
def test_generalised_jensen_shannon_label_of_two_heads(pi: float) -> None:
    value = losses.generalised_jensen_shannon_label(logits_of([[HALF], [QUARTER]]), tensor([[1.0, 0.0]]), pi)
    mixture = pi + (1 - pi) * 3 / 8, (1 - pi) * 5 / 8
    share = (1 - pi) / 2
    divergence = entropy(*mixture) - share * entropy(0.5, 0.5) - share * entropy(0.25, 0.75)
    assert equals(value, divergence / (-(1 - pi) * log(1 - pi)))


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("pi", [0.1, 0.5, 0.9])
def test_generalised_jensen_shannon_is_its_label_part_and_the_heads_own_divergence(heads: int, pi: float) -> None:
    logits, targets = noise(heads, 4, 3), distributions(4, 3)
    whole = losses.generalised_jensen_shannon_label(logits, targets, pi)
    label = losses.jensen_shannon_label(logits, targets, pi)
    own = losses.jensen_shannon(logits)
    assert equals(whole - label, (1 - pi) / (-(1 - pi) * log(1 - pi)) * own.item())
    assert own.item() > 1e-3 or heads == 1


@pytest.mark.parametrize("pi", [0.1, 0.5, 0.9])
def test_jensen_shannon_label_of_a_certain_wrong_prediction_is_the_entropy_of_the_weights(pi: float) -> None:
    # The loss is bounded: between a label and a disjoint prediction the divergence is the entropy of (pi, 1 - pi).
    value = losses.jensen_shannon_label(tensor([[[0.0, 60.0]]]), tensor([[1.0, 0.0]]), pi)
    assert equals(value, entropy(pi, 1 - pi) / (-(1 - pi) * log(1 - pi)))


def test_jensen_shannon_label_approaches_cross_entropy_for_small_pi() -> None:
    # Proposition 1 of Englesson and Azizpour: what the division by Z is for.
    value = losses.jensen_shannon_label(logits_of([[FIFTH]]), tensor([[1.0, 0.0]]), 1e-6)
    assert equals(value, log(5.0), 1e-4)


def test_jensen_shannon_label_approaches_absolute_error_for_large_pi() -> None:
    # The approach is logarithmic in 1 - pi: at 1 - 1e-12 about one part in thirty is left.
    value = losses.jensen_shannon_label(logits_of([[FIFTH]]), tensor([[1.0, 0.0]]), 1 - 1e-12)
    assert value.item() == pytest.approx(1 - 0.2, rel=0.05)


# --- consistency of the output layer ---------------------------------------------------------------------------------


def test_symmetric_kl_is_half_the_sum_of_both_directions() -> None:
    value = losses.symmetric_kl(logits_of([[HALF], [QUARTER]]))
    assert equals(value, 0.5 * (KL_HALF_QUARTER + KL_QUARTER_HALF))


@pytest.mark.parametrize("loss", [losses.symmetric_kl, losses.stop_gradient_kl])
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
    (grad,) = gradient(losses.stop_gradient_kl, logits_of([[HALF], [QUARTER]]))
    torch.testing.assert_close(grad, tensor([[[0.125, -0.125]], [[-0.125, 0.125]]]))


def test_stop_gradient_kl_of_three_heads_moves_each_towards_the_others_mean() -> None:
    (grad,) = gradient(losses.stop_gradient_kl, logits_of([[HALF], [QUARTER], [FIFTH]]))
    first = 0.5 * ((0.5 - 0.25) + (0.5 - 0.2)) / 3
    second = 0.5 * ((0.25 - 0.5) + (0.25 - 0.2)) / 3
    third = 0.5 * ((0.2 - 0.5) + (0.2 - 0.25)) / 3
    torch.testing.assert_close(grad, tensor([[[first, -first]], [[second, -second]], [[third, -third]]]))


def test_symmetric_kl_also_pulls_the_targets() -> None:
    # With A = ½ Σ_k (p_k - q_k)(log p_k - log q_k): dA/dz_k = ½ (p_k (l_k - Σ_j p_j l_j) + p_k - q_k), l = log p/q.
    (grad,) = gradient(losses.symmetric_kl, logits_of([[HALF], [QUARTER]]))
    ratio = log(2.0), log(2.0 / 3.0)
    head0 = 0.5 * (0.5 * (ratio[0] - (0.5 * ratio[0] + 0.5 * ratio[1])) + 0.5 - 0.25)
    head1 = 0.5 * (0.25 * (-ratio[0] + (0.25 * ratio[0] + 0.75 * ratio[1])) + 0.25 - 0.5)
    torch.testing.assert_close(grad, tensor([[[head0, -head0]], [[head1, -head1]]]))


def test_jensen_shannon_is_the_entropy_of_the_mean_less_the_mean_entropy() -> None:
    value = losses.jensen_shannon(logits_of([[HALF, FIFTH], [QUARTER, FIFTH]]))
    disagreeing = entropy(3 / 8, 5 / 8) - (entropy(0.5, 0.5) + entropy(0.25, 0.75)) / 2
    assert equals(value, disagreeing / 2)


def test_jensen_shannon_of_three_disjoint_heads_is_log_three() -> None:
    logits = 60.0 * torch.eye(3, dtype=torch.float64)[:, None]
    assert equals(losses.jensen_shannon(logits), log(3.0))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("squared", [False, True])
def test_song_chai_of_two_heads_is_the_cross_entropy_with_the_other(temperature: float, squared: bool) -> None:
    value = losses.song_chai(logits_of([[HALF], [QUARTER]], temperature), temperature, squared)
    follows_quarter = -(0.25 * log(0.5) + 0.75 * log(0.5))
    follows_half = -(0.5 * log(0.25) + 0.5 * log(0.75))
    assert equals(value, (follows_quarter + follows_half) / 2 * (temperature**2 if squared else 1.0))


@pytest.mark.parametrize("squared", [False, True])
def test_song_chai_of_three_heads_targets_the_mean_of_the_others_logits(squared: bool) -> None:
    # Odds 1:1, 1:4 and 4:1; the mean of two logits is the geometric mean of their odds: 1:1, 2:1 and 1:2.
    value = losses.song_chai(logits_of([[HALF], [FIFTH], [[0.8, 0.2]]], 2.0), 2.0, squared)
    of_first = -(0.5 * log(0.5) + 0.5 * log(0.5))
    of_second = -(2 / 3 * log(0.2) + 1 / 3 * log(0.8))
    of_third = -(1 / 3 * log(0.8) + 2 / 3 * log(0.2))
    assert equals(value, (of_first + of_second + of_third) / 3 * (4.0 if squared else 1.0))


@pytest.mark.parametrize(("squared", "scale"), [(False, 1 / 2), (True, 2.0)])
def test_song_chai_moves_each_head_towards_its_target_and_no_target(squared: bool, scale: float) -> None:
    # d/dz_h of CE(sg t, s(z_h; T)) is (s_h - t_h)/T: nothing comes back from the targets of the other heads.
    logits = logits_of([[HALF], [FIFTH], [[0.8, 0.2]]], 2.0)
    (grad,) = gradient(lambda z: losses.song_chai(z, 2.0, squared), logits)
    gaps = 0.5 - 0.5, 0.2 - 2 / 3, 0.8 - 1 / 3
    torch.testing.assert_close(grad, tensor([[[g * scale / 3, -g * scale / 3]] for g in gaps]))


# --- consistency of the intermediate layers --------------------------------------------------------------------------


def test_virtual_consistency_is_the_squared_distance_of_directions() -> None:
    # Unit vectors (0.6, 0.8) and (0.8, 0.6), whatever their lengths; the second image's heads agree in direction.
    pooled = tensor([[[3.0, 4.0], [1.0, 1.0]], [[8.0, 6.0], [5.0, 5.0]]])
    assert equals(losses.virtual_consistency(pooled), (0.2**2 + 0.2**2) / 2)


def test_virtual_consistency_averages_over_pairs_of_heads() -> None:
    pooled = tensor([[[3.0, 4.0]], [[4.0, 3.0]], [[-3.0, -4.0]]])
    assert equals(losses.virtual_consistency(pooled), (0.08 + 4.0 + (1.4**2 + 1.4**2)) / 3)


def test_centred_gram_holds_cosines_between_centred_rows() -> None:
    # Less their mean (1, 5) the rows are (2, 0), (-1, 1) and (-1, -1).
    gram = losses.centred_gram(tensor([[3.0, 5.0], [0.0, 6.0], [0.0, 4.0]]))
    c = -1 / sqrt(2.0)
    torch.testing.assert_close(gram, tensor([[1.0, c, c], [c, 1.0, 0.0], [c, 0.0, 1.0]]))


def test_gram_difference_leaves_the_diagonal_out() -> None:
    first = tensor([[9.0, 1.0, 2.0], [3.0, 9.0, 4.0], [5.0, 6.0, 9.0]])
    second = tensor([[7.0, 0.0, 0.0], [0.0, -7.0, 1.0], [0.0, 0.0, 0.0]])
    assert equals(losses.gram_difference(first, second), (1 + 4 + 9 + 9 + 25 + 36) / 6)


def test_gram_difference_of_one_image_is_zero() -> None:
    assert equals(losses.gram_difference(tensor([[1.0]]), tensor([[0.0]])), 0.0)


# Pooled rows (2, 0), (-1, 1), (-1, -1): Gram entries -1/√2, -1/√2, 0 (01, 02, 12).
FIRST_HALF = [[2.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]]
# Pooled rows along one line: Gram entries 1, -1, -1.
SECOND_HALF = [[1.0, 2.0], [1.0, 2.0], [-2.0, -4.0]]
HALVES_DIFFER = 2 * ((-1 / sqrt(2.0) - 1) ** 2 + (-1 / sqrt(2.0) + 1) ** 2 + (0.0 + 1.0) ** 2) / 6


def maps_of(pooled: Tensor) -> Tensor:
    """Feature maps of 1×2 positions that differ from their mean, `pooled` (B, C)."""
    apart = noise(*pooled.shape, seed=3)
    return torch.stack([pooled + apart, pooled - apart], -1)[:, :, None]


def test_partition_consistency_compares_the_halves_that_the_permutation_makes() -> None:
    first, second, odd = tensor(FIRST_HALF), tensor(SECOND_HALF), noise(3, 1)
    # Channels stand as first, second, odd, first, second; the odd one is left out, whatever it holds.
    channels = torch.stack([first[:, 0], second[:, 0], odd[:, 0], first[:, 1], second[:, 1]], 1)
    value = losses.partition_consistency(maps_of(channels + 7.0), torch.tensor([0, 3, 1, 4, 2]))
    assert equals(value, HALVES_DIFFER)


def test_partition_consistency_is_zero_for_halves_that_repeat_each_other() -> None:
    channels = noise(5, 3)
    value = losses.partition_consistency(maps_of(torch.cat([channels, 2.0 * channels], 1)), torch.arange(6))
    assert equals(value, 0.0)


def test_partition_consistency_leaves_the_odd_channel_without_gradient() -> None:
    (grad,) = gradient(lambda x: losses.partition_consistency(x, torch.tensor([0, 3, 1, 4, 2])), noise(4, 5, 2, 2))
    assert grad is not None
    assert grad[:, 2].eq(0.0).all()
    assert grad[:, [0, 1, 3, 4]].ne(0.0).any(0).flatten(1).all(1).all()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_output_consistency_compares_features_with_predictions_at_the_temperature(temperature: float) -> None:
    # Centred predictions lie along one line: Gram entries 1, -1, -1.
    logits = logits_of([[0.6, 0.4], [0.6, 0.4], [0.3, 0.7]], temperature)
    value = losses.output_consistency(maps_of(tensor(FIRST_HALF)), logits, temperature)
    assert equals(value, HALVES_DIFFER)


def test_output_consistency_uses_its_temperature() -> None:
    # Three classes: the predictions do not lie along one line, so that their angles hang on the temperature.
    features, logits = noise(4, 3, 1, 1), 3.0 * noise(4, 3, seed=5)
    values = [losses.output_consistency(features, logits, t).item() for t in (1.0, 4.0)]
    rescaled = losses.output_consistency(features, 4.0 * logits, 4.0).item()
    assert rescaled == pytest.approx(values[0], rel=1e-9)
    assert abs(values[1] - values[0]) > 1e-3


def test_output_consistency_moves_the_features_alone() -> None:
    features, logits = gradient(lambda f, z: losses.output_consistency(f, z, 1.0), noise(4, 3, 2, 2), noise(4, 3))
    assert logits is None
    assert features is not None
    assert features.ne(0.0).all()


# --- similarity of the intermediate representation -------------------------------------------------------------------

# Three channels at four positions: variances 1, 5, 1; the first two covary by (3 + 1 + 1 + 3)/4, the third with none.
CHANNELS = [[1.0, 1.0, -1.0, -1.0], [3.0, 1.0, -1.0, -3.0], [1.0, -1.0, -1.0, 1.0]]
SQUARED_CORRELATION = 2.0**2 / ((1 + EPS) * (5 + EPS))


def test_spatial_decorrelation_takes_all_positions_as_samples() -> None:
    # Two images of 1×2 positions; each channel has an offset, as correlations are about the mean.
    features = (tensor(CHANNELS) + tensor([[10.0], [-4.0], [0.5]])).view(3, 2, 1, 2).transpose(0, 1)
    assert equals(losses.spatial_decorrelation(features), 2 * SQUARED_CORRELATION / 3, 1e-9)


def test_pooled_decorrelation_takes_images_as_samples() -> None:
    features = maps_of(tensor(CHANNELS).T + tensor([10.0, -4.0, 0.5]))
    assert equals(losses.pooled_decorrelation(features), 2 * SQUARED_CORRELATION / 3, 1e-9)
    # Maps that pooling hides count for the spatial variant.
    assert losses.spatial_decorrelation(features).item() != pytest.approx(2 * SQUARED_CORRELATION / 3, rel=1e-3)


def test_per_sample_decorrelation_takes_cosines_within_an_image() -> None:
    # Maps (3, 4) and (4, 3) in the first image, without centring; orthogonal maps in the second.
    features = tensor([[3.0, 4.0], [4.0, 3.0], [3.0, 4.0], [-4.0, 3.0]]).view(2, 2, 1, 2)
    first = 2 * (24 / (25 + EPS)) ** 2 / 2
    assert equals(losses.per_sample_decorrelation(features), (first + 0.0) / 2, 1e-9)


@pytest.mark.parametrize("loss", list(losses.REPRESENTATIONS.values()), ids=list(losses.REPRESENTATIONS))
def test_decorrelation_counts_repeated_and_inverted_channels_alike(loss: Loss) -> None:
    one = noise(6, 1, 3, 3)
    # C identical channels: C(C - 1) correlations of 1, over C; the guard of dead channels takes a little.
    assert loss(torch.cat([one, one, -one], 1)).item() == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("loss", list(losses.REPRESENTATIONS.values()), ids=list(losses.REPRESENTATIONS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_dead_channels_correlate_with_none_and_give_finite_gradients(
    loss: Loss, dtype: torch.dtype, level: float
) -> None:
    features = noise(4, 3, 2, 2).to(dtype)
    alive = torch.cat([features[:, :1], features[:, 2:]], 1)
    features[:, 1] = level
    if level > 0.0 and loss is losses.per_sample_decorrelation:
        # Cosines are not centred: there a channel is dead at zero alone.
        features[:, 1] = 0.0
    (grad,) = gradient(loss, features)
    assert grad is not None
    assert grad.isfinite().all()
    # Only the divisor tells that the channel is there.
    torch.testing.assert_close(loss(features) * 3, loss(alive) * 2)


@pytest.mark.parametrize("loss", list(losses.REPRESENTATIONS.values()), ids=list(losses.REPRESENTATIONS))
def test_features_that_are_all_dead_give_zero_and_finite_gradients(loss: Loss) -> None:
    (grad,) = gradient(loss, torch.zeros(4, 3, 2, 2))
    assert grad is not None
    assert grad.isfinite().all()
    assert loss(torch.zeros(4, 3, 2, 2)).item() == 0.0


def test_pooled_decorrelation_of_pure_noise_stands_at_its_floor() -> None:
    # The squared correlation of B independent normal pairs has mean 1/(B - 1).
    images, channels = 16, 8
    values = [losses.pooled_decorrelation(noise(images, channels, 1, 1, seed=s)).item() for s in range(200)]
    assert sum(values) / len(values) == pytest.approx((channels - 1) / (images - 1), rel=0.05)


# --- similarity of the convolution kernels ---------------------------------------------------------------------------


def kernels(rows: list[list[float]], *shape: int) -> Tensor:
    return tensor(rows).view(len(rows), *shape)


def test_kernel_rows_is_the_squared_cosine_between_kernels() -> None:
    weight = kernels([[3.0, 4.0, 0.0, 0.0], [8.0, 6.0, 0.0, 0.0], [0.0, 0.0, 0.0, 5.0]], 1, 2, 2)
    assert equals(losses.kernel_rows(weight), 2 * (24 / 25) ** 2 / 3)


def test_kernel_rows_counts_antipodal_kernels() -> None:
    assert equals(losses.kernel_rows(kernels([[3.0, 4.0], [-3.0, -4.0]], 2, 1, 1)), 2 * 1.0 / 2)


def test_kernel_rows_takes_the_columns_where_kernels_outnumber_their_entries() -> None:
    # Three kernels of two entries: columns (1, 1, 1) and (1, 0, 0) have cosine 1/√3; the sum is still over C_out.
    weight = kernels([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]], 2, 1, 1)
    assert equals(losses.kernel_rows(weight), 2 * (1 / 3) / 3)


def test_kernel_rows_can_reach_zero_where_kernels_outnumber_their_entries() -> None:
    # Among four kernels of two entries some must share a direction; their columns can be orthogonal all the same.
    weight = kernels([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], 2, 1, 1)
    assert equals(losses.kernel_rows(weight), 0.0)


def test_kernel_rows_of_a_square_weight_takes_the_rows() -> None:
    weight = kernels([[3.0, 4.0], [0.0, 1.0]], 2, 1, 1)
    assert equals(losses.kernel_rows(weight), 2 * 0.8**2 / 2)


def test_kernel_one_sided_ignores_antipodal_kernels() -> None:
    # Cosines 24/25 (first and third), -1 and -24/25: the positive one alone counts.
    weight = kernels([[3.0, 4.0], [-3.0, -4.0], [4.0, 3.0]], 2, 1, 1)
    assert equals(losses.kernel_one_sided(weight), 2 * (24 / 25) ** 2 / 3)


def test_kernel_one_sided_leaves_antipodal_kernels_without_gradient() -> None:
    (grad,) = gradient(losses.kernel_one_sided, kernels([[3.0, 4.0], [-3.0, -4.1]], 2, 1, 1))
    assert grad is not None
    assert grad.abs().max() < 1e-12


def test_kernel_self_convolution_counts_every_shift() -> None:
    # Normalised (1, 1, 0)/√2 in the middle row overlaps itself by ½ at the shifts of one to the left and right.
    weight = kernels([[0, 0, 0, 1.0, 1.0, 0, 0, 0, 0]], 1, 3, 3)
    assert equals(losses.kernel_self_convolution(weight), 2 * 0.5**2)


@pytest.mark.parametrize(("stride", "expected"), [(1, 2 * 0.5**2), (2, 2 * 0.5**2), (3, 0.0)])
def test_kernel_self_convolution_counts_the_shifts_of_the_stride_alone(stride: int, expected: float) -> None:
    # (1, 0, 1)/√2 overlaps itself at shifts of two: at strides 1 and 2, and at no multiple of 3.
    weight = kernels([[0, 0, 0, 1.0, 0, 1.0, 0, 0, 0]], 1, 3, 3)
    assert equals(losses.kernel_self_convolution(weight, stride), expected)


def test_kernel_self_convolution_skips_shifts_between_strides() -> None:
    weight = kernels([[0, 0, 0, 1.0, 1.0, 0, 0, 0, 0]], 1, 3, 3)
    assert equals(losses.kernel_self_convolution(weight, 2), 0.0)


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [
        # A kernel of ones overlaps itself at a shift of d along one axis by the share (size - d)/size.
        (3, 3, 0.0),
        # A multiple of the stride inside the kernel: 3 of 5 in each direction, alone and with one of the other axis.
        (5, 3, 4 * (2 / 5) ** 2 + 4 * (2 / 5 * 2 / 5) ** 2),
        (2, 1, 4 * (1 / 2) ** 2 + 4 * (1 / 4) ** 2),
        (4, 2, 4 * (2 / 4) ** 2 + 4 * (2 / 4 * 2 / 4) ** 2),
    ],
)
def test_kernel_self_convolution_of_ones(size: int, stride: int, expected: float) -> None:
    assert equals(losses.kernel_self_convolution(torch.ones(1, 1, size, size).double(), stride), expected)


def test_kernel_self_convolution_counts_kernels_that_are_shifted_copies() -> None:
    # Two deltas in one channel, a step apart: orthogonal as rows, equal under a shift, once in each order.
    weight = kernels([[0, 0, 0, 0, 1.0, 0, 0, 0, 0], [0, 0, 0, 1.0, 0, 0, 0, 0, 0]], 1, 3, 3)
    assert equals(losses.kernel_rows(weight), 0.0)
    assert equals(losses.kernel_self_convolution(weight), 2 * 1.0 / 2)


def test_kernel_self_convolution_of_deltas_in_their_own_channels_is_zero() -> None:
    weight = torch.zeros(4, 4, 3, 3, dtype=torch.float64)
    weight[range(4), range(4), 1, 1] = tensor([1.0, 2.0, -3.0, 0.5])
    assert equals(losses.kernel_self_convolution(weight), 0.0)


@pytest.mark.parametrize("stride", [1, 2])
def test_kernel_self_convolution_of_pointwise_kernels_is_that_of_rows(stride: int) -> None:
    weight = noise(4, 6, 1, 1)
    value = losses.kernel_self_convolution(weight, stride)
    assert equals(value, losses.kernel_rows(weight).item(), 1e-9)
    assert value.item() > 0.1


@pytest.mark.parametrize("loss", list(losses.KERNELS.values()), ids=list(losses.KERNELS))
def test_kernel_terms_do_not_see_the_kernels_lengths(loss: Callable[[Tensor, int], Tensor]) -> None:
    weight = noise(4, 3, 3, 3)
    longer = weight * tensor([1.0, 10.0, 0.1, 3.0])[:, None, None, None]
    assert equals(loss(longer, 1), loss(weight, 1).item(), 1e-9)


@pytest.mark.parametrize("loss", list(losses.KERNELS.values()), ids=list(losses.KERNELS))
def test_kernel_terms_of_a_dead_kernel_have_finite_gradients(loss: Callable[[Tensor, int], Tensor]) -> None:
    weight = noise(4, 3, 3, 3).float()
    weight[2] = 0.0
    (grad,) = gradient(lambda w: loss(w, 1), weight)
    assert grad is not None
    assert grad.isfinite().all()
    assert loss(weight, 1).isfinite()


# --- robust anchors --------------------------------------------------------------------------------------------------


def test_temporal_consistency_counts_unknown_images_as_zero() -> None:
    logits = logits_of([[QUARTER, FIFTH], [FIFTH, FIFTH]])
    value = losses.temporal_consistency(logits, tensor([HALF, HALF]), tensor([1.0, 0.0]))
    assert equals(value, (KL_HALF_QUARTER + KL_HALF_FIFTH + 0.0 + 0.0) / 4)


def test_temporal_consistency_admits_targets_with_zeros() -> None:
    value = losses.temporal_consistency(logits_of([[QUARTER]]), tensor([[1.0, 0.0]]), tensor([1.0]))
    assert equals(value, log(4.0))


def test_temporal_consistency_moves_known_images_towards_their_targets() -> None:
    targets, known = tensor([HALF, HALF]), tensor([1.0, 0.0])
    (grad,) = gradient(lambda z: losses.temporal_consistency(z, targets, known), logits_of([[QUARTER, FIFTH]]))
    torch.testing.assert_close(grad, tensor([[[0.25 - 0.5, 0.75 - 0.5], [0.0, 0.0]]]) / 2)


def test_early_learning_is_the_log_of_one_less_the_overlap() -> None:
    value = losses.early_learning(logits_of([[QUARTER], [HALF]]), tensor([[0.1, 0.6]]))
    overlaps = 0.1 * 0.25 + 0.6 * 0.75, 0.1 * 0.5 + 0.6 * 0.5
    assert equals(value, (log(1 - overlaps[0]) + log(1 - overlaps[1])) / 2)


def test_early_learning_raises_the_class_that_its_target_prefers() -> None:
    # d/dz_k of log(1 - <t, p>) is -p_k (t_k - <t, p>)/(1 - <t, p>).
    targets = tensor([[0.1, 0.6]])
    (grad,) = gradient(lambda z: losses.early_learning(z, targets), logits_of([[QUARTER]]))
    overlap = 0.1 * 0.25 + 0.6 * 0.75
    expected = [-0.25 * (0.1 - overlap) / (1 - overlap), -0.75 * (0.6 - overlap) / (1 - overlap)]
    torch.testing.assert_close(grad, tensor([[expected]]))


def test_early_learning_of_a_certain_image_is_finite() -> None:
    logits, targets = tensor([[[80.0, 0.0]]]), tensor([[1.0, 0.0]])
    (grad,) = gradient(lambda z: losses.early_learning(z, targets), logits)
    assert equals(losses.early_learning(logits, targets), log(1e-4))
    assert grad is not None
    assert grad.eq(0.0).all()


# --- gradients, and what holds for all -------------------------------------------------------------------------------

TARGETS = distributions(4, 3)
PERMUTATION = torch.tensor([4, 1, 0, 3, 2])
DIFFERENTIABLE: dict[str, tuple[Loss, tuple[int, ...]]] = {
    "cross_entropy": (lambda z: losses.cross_entropy(z, TARGETS), (2, 4, 3)),
    "generalised_cross_entropy": (lambda z: losses.generalised_cross_entropy(z, TARGETS, 0.7), (2, 4, 3)),
    "jensen_shannon_label": (lambda z: losses.jensen_shannon_label(z, TARGETS, 0.3), (2, 4, 3)),
    "generalised_jensen_shannon_label": (
        lambda z: losses.generalised_jensen_shannon_label(z, TARGETS, 0.3),
        (3, 4, 3),
    ),
    "symmetric_kl": (losses.symmetric_kl, (3, 4, 3)),
    "jensen_shannon": (losses.jensen_shannon, (3, 4, 3)),
    "virtual_consistency": (losses.virtual_consistency, (3, 4, 3)),
    "centred_gram": (losses.centred_gram, (4, 3)),
    "gram_difference": (lambda g: losses.gram_difference(g, TARGETS @ TARGETS.T), (4, 4)),
    "partition_consistency": (lambda f: losses.partition_consistency(f, PERMUTATION), (4, 5, 2, 2)),
    "output_consistency": (lambda f: losses.output_consistency(f, TARGETS.log(), 2.0), (4, 5, 2, 2)),
    "spatial_decorrelation": (losses.spatial_decorrelation, (3, 4, 2, 2)),
    "pooled_decorrelation": (losses.pooled_decorrelation, (4, 3, 2, 2)),
    "per_sample_decorrelation": (losses.per_sample_decorrelation, (3, 4, 2, 2)),
    "kernel_rows": (losses.kernel_rows, (3, 2, 3, 3)),
    "kernel_rows_columns": (losses.kernel_rows, (5, 3, 1, 1)),
    "kernel_one_sided": (losses.kernel_one_sided, (3, 2, 3, 3)),
    "kernel_self_convolution": (losses.kernel_self_convolution, (3, 2, 3, 3)),
    "kernel_self_convolution_stride": (lambda w: losses.kernel_self_convolution(w, 2), (3, 2, 3, 3)),
    "temporal_consistency": (
        lambda z: losses.temporal_consistency(z, TARGETS, torch.tensor([1.0, 0.0, 1.0, 1.0])),
        (2, 4, 3),
    ),
    "early_learning": (lambda z: losses.early_learning(z, TARGETS), (2, 4, 3)),
}
# Finite differences see the target that the gradient is cut from: their gradients are worked out by hand above.
BY_HAND = {"song_chai", "stop_gradient_kl", "soft_targets"}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    loss, shape = DIFFERENTIABLE[name]
    assert torch.autograd.gradcheck(loss, (noise(*shape, seed=7).requires_grad_(),))


def test_every_public_function_has_its_gradient_checked() -> None:
    public = {
        name
        for name, part in vars(losses).items()
        if inspect.isfunction(part) and part.__module__ == losses.__name__ and not name.startswith("_")
    }
    assert public - BY_HAND <= set(DIFFERENTIABLE)


HEADS_AGREE: dict[str, Loss] = {
    "symmetric_kl": losses.symmetric_kl,
    "stop_gradient": losses.stop_gradient_kl,
    "jensen_shannon": losses.jensen_shannon,
    "virtual_consistency": losses.virtual_consistency,
}


@pytest.mark.parametrize("heads", [2, 3])
@pytest.mark.parametrize("name", HEADS_AGREE)
def test_agreement_is_zero_with_zero_gradient_where_heads_agree_and_positive_elsewhere(name: str, heads: int) -> None:
    same = noise(1, 4, 3).repeat(heads, 1, 1)
    (grad,) = gradient(HEADS_AGREE[name], same)
    assert equals(HEADS_AGREE[name](same), 0.0)
    torch.testing.assert_close(grad, torch.zeros_like(same))
    assert HEADS_AGREE[name](noise(heads, 4, 3)).item() > 1e-3


def test_song_chai_where_heads_agree_is_their_entropy_with_zero_gradient() -> None:
    same = logits_of([[QUARTER], [QUARTER], [QUARTER]], 2.0)
    (grad,) = gradient(lambda z: losses.song_chai(z, 2.0, False), same)
    assert equals(losses.song_chai(same, 2.0, False), entropy(0.25, 0.75))
    torch.testing.assert_close(grad, torch.zeros_like(same))


def test_label_terms_are_zero_where_every_head_predicts_the_target() -> None:
    logits, known = TARGETS.log().expand(2, 4, 3), torch.ones(4)
    assert equals(losses.jensen_shannon_label(logits, TARGETS, 0.3), 0.0)
    assert equals(losses.generalised_jensen_shannon_label(logits, TARGETS, 0.3), 0.0)
    assert equals(losses.temporal_consistency(logits, TARGETS, known), 0.0)


SEVERAL_HEADS: dict[str, Loss] = {
    **HEADS_AGREE,
    "song_chai": lambda z: losses.song_chai(z, 2.0, False),
    "cross_entropy": DIFFERENTIABLE["cross_entropy"][0],
    "generalised_cross_entropy": DIFFERENTIABLE["generalised_cross_entropy"][0],
    "jensen_shannon_label": DIFFERENTIABLE["jensen_shannon_label"][0],
    "generalised_jensen_shannon_label": DIFFERENTIABLE["generalised_jensen_shannon_label"][0],
    "temporal_consistency": DIFFERENTIABLE["temporal_consistency"][0],
    "early_learning": DIFFERENTIABLE["early_learning"][0],
}


@pytest.mark.parametrize("name", SEVERAL_HEADS)
def test_heads_may_stand_in_any_order(name: str) -> None:
    loss, logits = SEVERAL_HEADS[name], noise(3, 4, 3)
    values = [loss(logits[list(order)]).item() for order in permutations(range(3))]
    assert values == pytest.approx([values[0]] * 6, rel=1e-12)


@pytest.mark.parametrize("name", SEVERAL_HEADS)
@pytest.mark.parametrize("gap", [30.0, 80.0, 110.0, 1000.0])
def test_certain_predictions_have_finite_values_and_gradients(name: str, gap: float) -> None:
    # In float32 a softmax is exactly 0 from a gap of 104 on: what takes its logarithm must guard.
    logits = torch.zeros(2, 4, 3)
    logits[0, :, 0] = gap
    logits[1, ::2, 0] = gap
    logits[1, 1::2, 2] = gap
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    hard: dict[str, Loss] = {
        "cross_entropy": lambda z: losses.cross_entropy(z, targets),
        "generalised_cross_entropy": lambda z: losses.generalised_cross_entropy(z, targets, 0.7),
        "jensen_shannon_label": lambda z: losses.jensen_shannon_label(z, targets, 0.5),
        "generalised_jensen_shannon_label": lambda z: losses.generalised_jensen_shannon_label(z, targets, 0.5),
        "temporal_consistency": lambda z: losses.temporal_consistency(z, targets, torch.ones(4)),
        "early_learning": lambda z: losses.early_learning(z, targets),
    }
    loss = hard.get(name, SEVERAL_HEADS[name])
    (grad,) = gradient(loss, logits)
    assert loss(logits).isfinite()
    assert grad is not None
    assert grad.isfinite().all()
