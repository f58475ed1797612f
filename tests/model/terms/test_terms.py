"""What holds for the losses of all families: their gradients, and what they do at their ends."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from itertools import permutations

import pytest
import torch

from collabpipe.model import terms
from collabpipe.model.terms import intermediate, kernel, label, memory, output, representation
from tests.model.terms.by_hand import QUARTER, Loss, distributions, entropy, equals, gradient, logits_of, noise

TARGETS = distributions(4, 3)
PERMUTATION = torch.tensor([4, 1, 0, 3, 2])
DIFFERENTIABLE: dict[str, tuple[Loss, tuple[int, ...]]] = {
    "cross_entropy": (lambda z: label.cross_entropy(z, TARGETS), (2, 4, 3)),
    "generalised_cross_entropy": (lambda z: label.generalised_cross_entropy(z, TARGETS, 0.7), (2, 4, 3)),
    "jensen_shannon_label": (lambda z: label.jensen_shannon_label(z, TARGETS, 0.3), (2, 4, 3)),
    "generalised_jensen_shannon_label": (
        lambda z: label.generalised_jensen_shannon_label(z, TARGETS, 0.3),
        (3, 4, 3),
    ),
    "entropy": (lambda z: output.entropy(z.softmax(-1)).mean(), (4, 3)),
    "symmetric_kl": (output.symmetric_kl, (3, 4, 3)),
    "jensen_shannon": (output.jensen_shannon, (3, 4, 3)),
    "virtual_consistency": (intermediate.virtual_consistency, (3, 4, 3)),
    "centred_gram": (intermediate.centred_gram, (4, 3)),
    "gram_difference": (lambda g: intermediate.gram_difference(g, TARGETS @ TARGETS.T), (4, 4)),
    "partition_consistency": (lambda f: intermediate.partition_consistency(f, PERMUTATION), (4, 5, 2, 2)),
    "output_consistency": (lambda f: intermediate.output_consistency(f, TARGETS.log(), 2.0), (4, 5, 2, 2)),
    "spatial_decorrelation": (representation.spatial_decorrelation, (3, 4, 2, 2)),
    "pooled_decorrelation": (representation.pooled_decorrelation, (4, 3, 2, 2)),
    "per_sample_decorrelation": (representation.per_sample_decorrelation, (3, 4, 2, 2)),
    "kernel_rows": (kernel.kernel_rows, (3, 2, 3, 3)),
    "kernel_rows_columns": (kernel.kernel_rows, (5, 3, 1, 1)),
    "kernel_one_sided": (kernel.kernel_one_sided, (3, 2, 3, 3)),
    "kernel_self_convolution": (kernel.kernel_self_convolution, (3, 2, 3, 3)),
    "kernel_self_convolution_stride": (lambda w: kernel.kernel_self_convolution(w, 2), (3, 2, 3, 3)),
    "temporal_consistency": (
        lambda z: memory.temporal_consistency(z, TARGETS, torch.tensor([1.0, 0.0, 1.0, 1.0])),
        (2, 4, 3),
    ),
    "early_learning": (lambda z: memory.early_learning(z, TARGETS), (2, 4, 3)),
}
# Finite differences see the target that the gradient is cut from: their gradients are worked out by hand above.
BY_HAND = {"song_chai", "stop_gradient_kl", "confident_kl", "soft_targets", "label_loss"}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    loss, shape = DIFFERENTIABLE[name]
    assert torch.autograd.gradcheck(loss, (noise(*shape, seed=7).requires_grad_(),))


def test_every_public_function_has_its_gradient_checked() -> None:
    modules = [import_module(info.name) for info in pkgutil.iter_modules(terms.__path__, f"{terms.__name__}.")]
    public = {
        name
        for module in modules
        for name, part in vars(module).items()
        if inspect.isfunction(part) and part.__module__ == module.__name__ and not name.startswith("_")
    }
    assert public - BY_HAND <= set(DIFFERENTIABLE)


HEADS_AGREE: dict[str, Loss] = {
    "symmetric_kl": output.symmetric_kl,
    "stop_gradient": output.stop_gradient_kl,
    "confident": output.confident_kl,
    "jensen_shannon": output.jensen_shannon,
    "virtual_consistency": intermediate.virtual_consistency,
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
    (grad,) = gradient(lambda z: output.song_chai(z, 2.0, False), same)
    assert equals(output.song_chai(same, 2.0, False), entropy(0.25, 0.75))
    torch.testing.assert_close(grad, torch.zeros_like(same))


def test_label_terms_are_zero_where_every_head_predicts_the_target() -> None:
    logits, known = TARGETS.log().expand(2, 4, 3), torch.ones(4)
    assert equals(label.jensen_shannon_label(logits, TARGETS, 0.3), 0.0)
    assert equals(label.generalised_jensen_shannon_label(logits, TARGETS, 0.3), 0.0)
    assert equals(memory.temporal_consistency(logits, TARGETS, known), 0.0)


SEVERAL_HEADS: dict[str, Loss] = {
    **HEADS_AGREE,
    "song_chai": lambda z: output.song_chai(z, 2.0, False),
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
        "cross_entropy": lambda z: label.cross_entropy(z, targets),
        "generalised_cross_entropy": lambda z: label.generalised_cross_entropy(z, targets, 0.7),
        "jensen_shannon_label": lambda z: label.jensen_shannon_label(z, targets, 0.5),
        "generalised_jensen_shannon_label": lambda z: label.generalised_jensen_shannon_label(z, targets, 0.5),
        "temporal_consistency": lambda z: memory.temporal_consistency(z, targets, torch.ones(4)),
        "early_learning": lambda z: memory.early_learning(z, targets),
    }
    loss = hard.get(name, SEVERAL_HEADS[name])
    (grad,) = gradient(loss, logits)
    assert loss(logits).isfinite()
    assert grad is not None
    assert grad.isfinite().all()
