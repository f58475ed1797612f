"""Consistency of the intermediate layers against values worked out by hand."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from collabpipe.model.terms import intermediate
from tests.model.terms.by_hand import equals, gradient, logits_of, maps_of, noise, tensor


def test_virtual_consistency_is_the_squared_distance_of_directions() -> None:
    # Unit vectors (0.6, 0.8) and (0.8, 0.6), whatever their lengths; the second image's heads agree in direction.
    pooled = tensor([[[3.0, 4.0], [1.0, 1.0]], [[8.0, 6.0], [5.0, 5.0]]])
    assert equals(intermediate.virtual_consistency(pooled), (0.2**2 + 0.2**2) / 2)


def test_virtual_consistency_averages_over_pairs_of_heads() -> None:
    pooled = tensor([[[3.0, 4.0]], [[4.0, 3.0]], [[-3.0, -4.0]]])
    assert equals(intermediate.virtual_consistency(pooled), (0.08 + 4.0 + (1.4**2 + 1.4**2)) / 3)


def test_centred_gram_holds_cosines_between_centred_rows() -> None:
    # Less their mean (1, 5) the rows are (2, 0), (-1, 1) and (-1, -1).
    gram = intermediate.centred_gram(tensor([[3.0, 5.0], [0.0, 6.0], [0.0, 4.0]]))
    c = -1 / sqrt(2.0)
    torch.testing.assert_close(gram, tensor([[1.0, c, c], [c, 1.0, 0.0], [c, 0.0, 1.0]]))


def test_gram_difference_leaves_the_diagonal_out() -> None:
    first = tensor([[9.0, 1.0, 2.0], [3.0, 9.0, 4.0], [5.0, 6.0, 9.0]])
    second = tensor([[7.0, 0.0, 0.0], [0.0, -7.0, 1.0], [0.0, 0.0, 0.0]])
    assert equals(intermediate.gram_difference(first, second), (1 + 4 + 9 + 9 + 25 + 36) / 6)


def test_gram_difference_of_one_image_is_zero() -> None:
    assert equals(intermediate.gram_difference(tensor([[1.0]]), tensor([[0.0]])), 0.0)


# Pooled rows (2, 0), (-1, 1), (-1, -1): Gram entries -1/√2, -1/√2, 0 (01, 02, 12).
FIRST_HALF = [[2.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]]
# Pooled rows along one line: Gram entries 1, -1, -1.
SECOND_HALF = [[1.0, 2.0], [1.0, 2.0], [-2.0, -4.0]]
HALVES_DIFFER = 2 * ((-1 / sqrt(2.0) - 1) ** 2 + (-1 / sqrt(2.0) + 1) ** 2 + (0.0 + 1.0) ** 2) / 6


def test_partition_consistency_compares_the_halves_that_the_permutation_makes() -> None:
    first, second, odd = tensor(FIRST_HALF), tensor(SECOND_HALF), noise(3, 1)
    # Channels stand as first, second, odd, first, second; the odd one is left out, whatever it holds.
    channels = torch.stack([first[:, 0], second[:, 0], odd[:, 0], first[:, 1], second[:, 1]], 1)
    value = intermediate.partition_consistency(maps_of(channels + 7.0), torch.tensor([0, 3, 1, 4, 2]))
    assert equals(value, HALVES_DIFFER)


def test_partition_consistency_is_zero_for_halves_that_repeat_each_other() -> None:
    channels = noise(5, 3)
    value = intermediate.partition_consistency(maps_of(torch.cat([channels, 2.0 * channels], 1)), torch.arange(6))
    assert equals(value, 0.0)


def test_partition_consistency_leaves_the_odd_channel_without_gradient() -> None:
    (grad,) = gradient(
        lambda x: intermediate.partition_consistency(x, torch.tensor([0, 3, 1, 4, 2])), noise(4, 5, 2, 2)
    )
    assert grad is not None
    assert grad[:, 2].eq(0.0).all()
    assert grad[:, [0, 1, 3, 4]].ne(0.0).any(0).flatten(1).all(1).all()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_output_consistency_compares_features_with_predictions_at_the_temperature(temperature: float) -> None:
    # Centred predictions lie along one line: Gram entries 1, -1, -1.
    logits = logits_of([[0.6, 0.4], [0.6, 0.4], [0.3, 0.7]], temperature)
    value = intermediate.output_consistency(maps_of(tensor(FIRST_HALF)), logits, temperature)
    assert equals(value, HALVES_DIFFER)


def test_output_consistency_uses_its_temperature() -> None:
    # Three classes: the predictions do not lie along one line, so that their angles hang on the temperature.
    features, logits = noise(4, 3, 1, 1), 3.0 * noise(4, 3, seed=5)
    values = [intermediate.output_consistency(features, logits, t).item() for t in (1.0, 4.0)]
    rescaled = intermediate.output_consistency(features, 4.0 * logits, 4.0).item()
    assert rescaled == pytest.approx(values[0], rel=1e-9)
    assert abs(values[1] - values[0]) > 1e-3


def test_output_consistency_moves_the_features_alone() -> None:
    features, logits = gradient(lambda f, z: intermediate.output_consistency(f, z, 1.0), noise(4, 3, 2, 2), noise(4, 3))
    assert logits is None
    assert features is not None
    assert features.ne(0.0).all()
