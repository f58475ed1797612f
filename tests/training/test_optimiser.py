"""The optimiser against torch's own, and the learning rate against values worked out by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor

from collabpipe.model.networks import StagedNetwork, build_network, initialise
from collabpipe.settings.training import NetworkSettings, TrainingSettings
from collabpipe.training.optimiser import Sgd, learning_rate

# Tensors this small are slower on two threads than on one, by far where cores are shared.
torch.set_num_threads(1)

Schedule = Literal["cosine", "steps"]
SHAPES = [(3,), (2, 3), (4, 2, 3, 3)]


def parameters(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*s, generator=generator, dtype=dtype).requires_grad_() for s in SHAPES]


def loss_of(weights: list[Tensor]) -> Tensor:
    """Neither quadratic nor separable, so that gradients change with every step."""
    total = torch.stack([w.square().sum() for w in weights]).sum()
    return total.sqrt() + torch.stack([w.sin().sum() for w in weights]).sum()


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.5, True), (0.0, False)])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-4, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_torch(momentum: float, nesterov: bool, weight_decay: float, dtype: torch.dtype) -> None:
    settings = TrainingSettings(epochs=1, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    ours, theirs = parameters(dtype), parameters(dtype)
    sgd = Sgd(ours, settings)
    torchs = torch.optim.SGD(theirs, lr=1.0, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    # The rate changes from step to step, as a schedule's does.
    for rate in (0.1, 0.3, 0.02, 0.2, 0.05, 0.1):
        for weights in (ours, theirs):
            loss_of(weights).backward()
        sgd.step(rate)
        torchs.param_groups[0]["lr"] = rate
        torchs.step()
        torchs.zero_grad()
        tolerance = 1e-6 if dtype == torch.float32 else 1e-14
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    # The weights have gone somewhere.
    assert all((a - b).abs().max() > 0.05 for a, b in zip(ours, parameters(dtype), strict=True))


@pytest.mark.parametrize(
    ("momentum", "nesterov", "expected"),
    [
        # Weight 1, gradient 2 each time, decay 0.5, rate 0.1: the direction is the gradient plus half the weight.
        (0.0, False, [1 - 0.1 * 2.5, 0.75 - 0.1 * (2 + 0.375)]),
        # Momentum 2.5, then 0.8·2.5 + 2.375 = 4.375.
        (0.8, False, [1 - 0.1 * 2.5, 0.75 - 0.1 * 4.375]),
        # Nesterov looks ahead: 2.5 + 0.8·2.5 = 4.5 gives 0.55; then g = 2.275, m = 4.275, g + 0.8·m = 5.695.
        (0.8, True, [1 - 0.1 * 4.5, 0.55 - 0.1 * 5.695]),
    ],
)
def test_two_steps_by_hand(momentum: float, nesterov: bool, expected: list[float]) -> None:
    weight = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    sgd = Sgd([weight], TrainingSettings(epochs=1, momentum=momentum, nesterov=nesterov, weight_decay=0.5))
    for value in expected:
        (2.0 * weight).sum().backward()
        sgd.step(0.1)
        assert weight.item() == pytest.approx(value, rel=1e-12)


def small_network() -> StagedNetwork:
    network = build_network(NetworkSettings(kind="resnet8", width=4), 1, 3)
    initialise(network, torch.Generator().manual_seed(1))
    return network


def test_a_network_trains_as_under_torch() -> None:
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    ours, theirs = small_network(), small_network()
    sgd = Sgd(ours.parameters(), TrainingSettings(epochs=1))
    torchs = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for _ in range(4):
        for network in (ours, theirs):
            torch.nn.functional.cross_entropy(network(images), labels).backward()
        sgd.step(0.05)
        torchs.step()
        torchs.zero_grad()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-6)


def test_gradients_are_dropped_after_a_step() -> None:
    weights = parameters(torch.float32)
    loss_of(weights).backward()
    Sgd(weights, TrainingSettings(epochs=1)).step(0.1)
    assert all(weight.grad is None for weight in weights)


def test_a_parameter_without_gradient_stays_as_under_torch() -> None:
    settings = TrainingSettings(epochs=1)
    ours, theirs = parameters(torch.float64), parameters(torch.float64)
    sgd = Sgd(ours, settings)
    torchs = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    # The last parameter takes part in the second and the fourth step alone; meanwhile its momentum rests.
    for used in (2, 3, 2, 3):
        rest = ours[-1].detach().clone()
        for weights in (ours, theirs):
            loss_of(weights[:used]).backward()
        sgd.step(0.1)
        torchs.step()
        torchs.zero_grad()
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14)
        assert ours[-1].equal(rest) == (used == 2)


def test_a_frozen_parameter_is_left_alone() -> None:
    frozen, free = torch.ones(2), torch.ones(2, requires_grad=True)
    sgd = Sgd([frozen, free], TrainingSettings(epochs=1))
    free.sum().backward()
    sgd.step(0.1)
    assert frozen.eq(1.0).all()
    assert free.ne(1.0).all()


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 0.1),
        (1, 0.1 * (1 + 1 / math.sqrt(2)) / 2),
        (2, 0.05),
        (3, 0.1 * (1 - 1 / math.sqrt(2)) / 2),
    ],
)
def test_cosine_falls_over_half_a_period(epoch: int, expected: float) -> None:
    settings = TrainingSettings(epochs=4, learning_rate=0.1, schedule="cosine")
    assert learning_rate(settings, epoch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0.1), (59, 0.1), (60, 0.02), (119, 0.02), (120, 0.004), (159, 0.004), (160, 0.0008), (199, 0.0008)],
)
def test_steps_divide_by_five_at_60_120_and_160_of_200_epochs(epoch: int, expected: float) -> None:
    settings = TrainingSettings(epochs=200, learning_rate=0.1, schedule="steps")
    assert learning_rate(settings, epoch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("epochs", [10, 20, 30, 100, 300])
def test_milestones_are_shares_of_training(epochs: int) -> None:
    settings = TrainingSettings(epochs=epochs, learning_rate=1.0, schedule="steps", milestones=(0.3, 0.7))
    changes = [e for e in range(1, epochs) if learning_rate(settings, e) != learning_rate(settings, e - 1)]
    # No rounding error may shift a milestone by an epoch.
    assert changes == [epochs * 3 // 10, epochs * 7 // 10]


@pytest.mark.parametrize("schedule", ["cosine", "steps"])
@pytest.mark.parametrize("epochs", [1, 7, 200])
def test_rate_starts_at_the_settings_value_and_never_rises(schedule: Schedule, epochs: int) -> None:
    settings = TrainingSettings(epochs=epochs, learning_rate=0.3, schedule=schedule)
    rates = [learning_rate(settings, epoch) for epoch in range(epochs)]
    assert rates[0] == 0.3
    assert all(after <= before for before, after in pairwise(rates))
    assert rates[-1] > 0.0
