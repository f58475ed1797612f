"""The losses that remember predictions against values worked out by hand."""

from __future__ import annotations

import math
from math import log

import pytest
import torch

from collabpipe.methods.memory import ElrTerm, MemoryTerm, TemporalTerm
from collabpipe.model.heads import Activations
from collabpipe.model.networks import build_network
from collabpipe.model.terms import memory
from collabpipe.model.terms.base import Step
from collabpipe.model.terms.memory import ElrLoss, MemoryLoss, TemporalLoss
from collabpipe.settings.training import NetworkSettings
from tests.model.terms.by_hand import (
    FIFTH,
    HALF,
    KL_HALF_FIFTH,
    KL_HALF_QUARTER,
    QUARTER,
    equals,
    gradient,
    logits_of,
    tensor,
)


def test_temporal_consistency_counts_unknown_images_as_zero() -> None:
    logits = logits_of([[QUARTER, FIFTH], [FIFTH, FIFTH]])
    value = memory.temporal_consistency(logits, tensor([HALF, HALF]), tensor([1.0, 0.0]))
    assert equals(value, (KL_HALF_QUARTER + KL_HALF_FIFTH + 0.0 + 0.0) / 4)


def test_temporal_consistency_admits_targets_with_zeros() -> None:
    value = memory.temporal_consistency(logits_of([[QUARTER]]), tensor([[1.0, 0.0]]), tensor([1.0]))
    assert equals(value, log(4.0))


def test_temporal_consistency_moves_known_images_towards_their_targets() -> None:
    targets, known = tensor([HALF, HALF]), tensor([1.0, 0.0])
    (grad,) = gradient(lambda z: memory.temporal_consistency(z, targets, known), logits_of([[QUARTER, FIFTH]]))
    torch.testing.assert_close(grad, tensor([[[0.25 - 0.5, 0.75 - 0.5], [0.0, 0.0]]]) / 2)


def test_early_learning_is_the_log_of_one_less_the_overlap() -> None:
    value = memory.early_learning(logits_of([[QUARTER], [HALF]]), tensor([[0.1, 0.6]]))
    overlaps = 0.1 * 0.25 + 0.6 * 0.75, 0.1 * 0.5 + 0.6 * 0.5
    assert equals(value, (log(1 - overlaps[0]) + log(1 - overlaps[1])) / 2)


def test_early_learning_raises_the_class_that_its_target_prefers() -> None:
    # d/dz_k of log(1 - <t, p>) is -p_k (t_k - <t, p>)/(1 - <t, p>).
    targets = tensor([[0.1, 0.6]])
    (grad,) = gradient(lambda z: memory.early_learning(z, targets), logits_of([[QUARTER]]))
    overlap = 0.1 * 0.25 + 0.6 * 0.75
    expected = [-0.25 * (0.1 - overlap) / (1 - overlap), -0.75 * (0.6 - overlap) / (1 - overlap)]
    torch.testing.assert_close(grad, tensor([[expected]]))


def test_early_learning_of_a_certain_image_is_finite() -> None:
    logits, targets = tensor([[[80.0, 0.0]]]), tensor([[1.0, 0.0]])
    (grad,) = gradient(lambda z: memory.early_learning(z, targets), logits)
    assert equals(memory.early_learning(logits, targets), log(1e-4))
    assert grad is not None
    assert grad.eq(0.0).all()


# --- the terms -------------------------------------------------------------------------------------------------------


def remembering(model: type[MemoryLoss], term: MemoryTerm) -> MemoryLoss:
    """The term for four images of two classes."""
    return model(term, build_network(NetworkSettings(kind="resnet8", width=4), 1, 2), 4)


def seen(probabilities: list[list[list[float]]], index: list[int]) -> Step:
    """A step whose heads (M, B, K) predict `probabilities` for the images at `index`."""
    return Step(Activations({}, torch.tensor(probabilities).log()), torch.tensor(index), torch.Generator())


def kl(target: list[float], prediction: list[float]) -> float:
    return sum(t * math.log(t / p) for t, p in zip(target, prediction, strict=True))


def test_temporal_knows_nothing_at_an_images_first_visit() -> None:
    term = remembering(TemporalLoss, TemporalTerm(weight=1.0, momentum=0.9))
    assert term(seen([[[0.5, 0.5], [0.1, 0.9]]], [2, 0])).item() == 0.0
    torch.testing.assert_close(term.targets, torch.tensor([[0.01, 0.09], [0.0, 0.0], [0.05, 0.05], [0.0, 0.0]]))
    assert term.visits.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_temporal_follows_the_bias_corrected_average() -> None:
    term = remembering(TemporalLoss, TemporalTerm(weight=1.0, momentum=0.9))
    term(seen([[[0.5, 0.5]]], [2]))
    # 0.1·(½, ½), divided by the 0.1 that it has gathered; the image beside it is new and counts as zero.
    second = term(seen([[[0.25, 0.75], [0.9, 0.1]]], [2, 1])).item()
    assert second == pytest.approx((kl([0.5, 0.5], [0.25, 0.75]) + 0.0) / 2, rel=1e-5)
    # 0.9·(0.05, 0.05) + 0.1·(0.25, 0.75) = (0.07, 0.12), divided by 1 - 0.9² = 0.19.
    third = term(seen([[[0.6, 0.4]]], [2])).item()
    assert third == pytest.approx(kl([7 / 19, 12 / 19], [0.6, 0.4]), rel=1e-5)


def test_temporal_remembers_the_heads_mean_and_holds_each_head_to_it() -> None:
    term = remembering(TemporalLoss, TemporalTerm(weight=1.0, momentum=0.8))
    term(seen([[[0.5, 0.5]], [[0.3, 0.7]]], [1]))
    torch.testing.assert_close(term.targets[1], 0.2 * torch.tensor([0.4, 0.6]))
    value = term(seen([[[0.25, 0.75]], [[0.6, 0.4]]], [1])).item()
    expected = (kl([0.4, 0.6], [0.25, 0.75]) + kl([0.4, 0.6], [0.6, 0.4])) / 2
    assert value == pytest.approx(expected, rel=1e-5)


def test_temporal_without_momentum_follows_the_last_prediction() -> None:
    term = remembering(TemporalLoss, TemporalTerm(weight=1.0, momentum=0.0))
    term(seen([[[0.5, 0.5]]], [0]))
    term(seen([[[0.25, 0.75]]], [0]))
    value = term(seen([[[0.6, 0.4]]], [0])).item()
    assert value == pytest.approx(kl([0.25, 0.75], [0.6, 0.4]), rel=1e-5)


def test_elr_counts_the_prediction_of_its_own_step() -> None:
    term = remembering(ElrLoss, ElrTerm(weight=1.0, momentum=0.7))
    # Target 0.3·(¼, ¾); its overlap with the prediction is 0.3·(1/16 + 9/16).
    first = term(seen([[[0.25, 0.75]]], [3])).item()
    assert first == pytest.approx(math.log(1 - 0.3 * 10 / 16), rel=1e-5)
    torch.testing.assert_close(term.targets[3], torch.tensor([0.075, 0.225]))
    # 0.7·(0.075, 0.225) + 0.3·(½, ½) = (0.2025, 0.3075).
    second = term(seen([[[0.5, 0.5]]], [3])).item()
    assert second == pytest.approx(math.log(1 - (0.2025 + 0.3075) * 0.5), rel=1e-5)
    torch.testing.assert_close(term.targets[3], torch.tensor([0.2025, 0.3075]))
    assert term.targets[:3].eq(0.0).all()


@pytest.mark.parametrize(
    ("model", "term"),
    [
        (TemporalLoss, TemporalTerm(weight=1.0, momentum=0.9)),
        (ElrLoss, ElrTerm(weight=1.0, momentum=0.7)),
    ],
)
def test_remembered_predictions_are_constants(model: type[MemoryLoss], term: MemoryTerm) -> None:
    term_loss = remembering(model, term)
    for _ in range(2):
        logits = torch.tensor([[[0.3, -0.2]]], requires_grad=True)
        term_loss(Step(Activations({}, logits), torch.tensor([1]), torch.Generator())).backward()
    assert not term_loss.targets.requires_grad
    assert logits.grad is not None
    # Towards the same prediction there is nothing to gain for temporal; elr pushes on to the class it prefers.
    if model is TemporalLoss:
        torch.testing.assert_close(logits.grad, torch.zeros_like(logits))
    else:
        assert logits.grad[0, 0, 0] < 0.0 < logits.grad[0, 0, 1]


@pytest.mark.parametrize("model", [TemporalLoss, ElrLoss])
def test_remembered_targets_stay_away_from_certainty(model: type[MemoryLoss]) -> None:
    term: MemoryTerm = (
        TemporalTerm(weight=1.0, momentum=0.0) if model is TemporalLoss else ElrTerm(weight=1.0, momentum=0.0)
    )
    term_loss = remembering(model, term)
    logits = torch.tensor([[[100.0, -100.0]]], requires_grad=True)
    term_loss(Step(Activations({}, logits), torch.tensor([0]), torch.Generator())).backward()
    assert term_loss.targets[0, 1].item() == pytest.approx(1e-4, rel=1e-3)
    assert term_loss.targets[0].sum().item() == pytest.approx(1.0)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
