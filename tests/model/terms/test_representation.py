"""Similarity of the intermediate representation against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from collabpipe.model.terms import representation
from tests.model.terms.by_hand import EPS, Loss, equals, gradient, maps_of, noise, tensor

VARIANTS = representation.REPRESENTATIONS

# Three channels at four positions: variances 1, 5, 1; the first two covary by (3 + 1 + 1 + 3)/4, the third with none.
CHANNELS = [[1.0, 1.0, -1.0, -1.0], [3.0, 1.0, -1.0, -3.0], [1.0, -1.0, -1.0, 1.0]]
SQUARED_CORRELATION = 2.0**2 / ((1 + EPS) * (5 + EPS))


def test_spatial_decorrelation_takes_all_positions_as_samples() -> None:
    # Two images of 1×2 positions; each channel has an offset, as correlations are about the mean.
    features = (tensor(CHANNELS) + tensor([[10.0], [-4.0], [0.5]])).view(3, 2, 1, 2).transpose(0, 1)
    assert equals(representation.spatial_decorrelation(features), 2 * SQUARED_CORRELATION / 3, 1e-9)


def test_pooled_decorrelation_takes_images_as_samples() -> None:
    features = maps_of(tensor(CHANNELS).T + tensor([10.0, -4.0, 0.5]))
    assert equals(representation.pooled_decorrelation(features), 2 * SQUARED_CORRELATION / 3, 1e-9)
    # Maps that pooling hides count for the spatial variant.
    assert representation.spatial_decorrelation(features).item() != pytest.approx(2 * SQUARED_CORRELATION / 3, rel=1e-3)


def test_per_sample_decorrelation_takes_cosines_within_an_image() -> None:
    # Maps (3, 4) and (4, 3) in the first image, without centring; orthogonal maps in the second.
    features = tensor([[3.0, 4.0], [4.0, 3.0], [3.0, 4.0], [-4.0, 3.0]]).view(2, 2, 1, 2)
    first = 2 * (24 / (25 + EPS)) ** 2 / 2
    assert equals(representation.per_sample_decorrelation(features), (first + 0.0) / 2, 1e-9)


@pytest.mark.parametrize("loss", VARIANTS.values(), ids=VARIANTS)
def test_decorrelation_counts_repeated_and_inverted_channels_alike(loss: Loss) -> None:
    one = noise(6, 1, 3, 3)
    # C identical channels: C(C - 1) correlations of 1, over C; the guard of dead channels takes a little.
    assert loss(torch.cat([one, one, -one], 1)).item() == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("loss", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 3.0])
def test_dead_channels_correlate_with_none_and_give_finite_gradients(
    loss: Loss, dtype: torch.dtype, level: float
) -> None:
    features = noise(4, 3, 2, 2).to(dtype)
    alive = torch.cat([features[:, :1], features[:, 2:]], 1)
    features[:, 1] = level
    if level > 0.0 and loss is representation.per_sample_decorrelation:
        # Cosines are not centred: there a channel is dead at zero alone.
        features[:, 1] = 0.0
    (grad,) = gradient(loss, features)
    assert grad is not None
    assert grad.isfinite().all()
    # Only the divisor tells that the channel is there.
    torch.testing.assert_close(loss(features) * 3, loss(alive) * 2)


@pytest.mark.parametrize("loss", VARIANTS.values(), ids=VARIANTS)
def test_features_that_are_all_dead_give_zero_and_finite_gradients(loss: Loss) -> None:
    (grad,) = gradient(loss, torch.zeros(4, 3, 2, 2))
    assert grad is not None
    assert grad.isfinite().all()
    assert loss(torch.zeros(4, 3, 2, 2)).item() == 0.0


def test_pooled_decorrelation_of_pure_noise_stands_at_its_floor() -> None:
    # The squared correlation of B independent normal pairs has mean 1/(B - 1).
    images, channels = 16, 8
    values = [representation.pooled_decorrelation(noise(images, channels, 1, 1, seed=s)).item() for s in range(200)]
    assert sum(values) / len(values) == pytest.approx((channels - 1) / (images - 1), rel=0.05)
