"""Trainings on a GPU: each method runs under enforced determinism, to the same bits; no step waits for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.together import at_once
from collabpipe.common.errors import CollabpipeError
from collabpipe.methods.registry import KINDS
from collabpipe.model.method import Method
from collabpipe.training.checkpoint import weights_digest
from collabpipe.training.engine import Training
from collabpipe.training.graphs import WARM_UP
from collabpipe.training.step_clock import StepClock
from collabpipe.training.step_cost import Entry, Subject
from tests.gpu.recipes import DATA, LAST_STAGE, PRECISIONS, begin, definitions, recipes

PARTS = 4
"""Tests that the methods of a network are dealt to, so that several processes can share them (pytest -n)."""
REPRESENTATIVES = (
    "baseline",
    "output_stage2",
    "output_views",
    "intermediate_to_output",
    "combined_all",
    "multi_head_hierarchical",
    "multi_head_instances",
    "temporal",
    "elr",
    "mixup",
    "gjs",
)
"""Methods that between them take every way through a step."""


def trained(training: Training) -> Training:
    for _ in training.run():
        pass
    return training


def test_every_kind_is_among_the_methods() -> None:
    for network in LAST_STAGE:
        kinds = {definition.get("kind", name) for name, definition in definitions(network).items()}
        assert set(KINDS) <= kinds
    assert set(REPRESENTATIVES) <= set(recipes("resnet18", "float32"))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("network", LAST_STAGE)
def test_every_method_trains(network: str, precision: str, part: int, device: torch.device) -> None:
    failed = {}
    for name, recipe in list(recipes(network, precision).items())[part::PARTS]:
        try:
            training = trained(begin(recipe, device))
            assert training.divergence is None, training.divergence
            assert [row["epoch"] for row in training.history] == [1, 2]
            if network == "resnet8":
                again = trained(begin(recipe, device))
                assert weights_digest(training.method.state_dict()) == weights_digest(again.method.state_dict())
        except (AssertionError, RuntimeError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
    assert not failed, "\n".join(f"{name}: {error}" for name, error in failed.items())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", REPRESENTATIVES)
def test_captured_steps_of_two_sizes_are_those_that_are_taken_one_by_one(
    method: str, precision: str, device: torch.device
) -> None:
    asked = recipes("resnet8", precision, epochs=6)[method]
    # 64 images: four batches of 13 and one of 12, which no step before the fourth epoch is captured for.
    asked = asked.model_copy(update={"training": asked.training.model_copy(update={"batch_size": 15})})
    captured = trained(begin(asked, device))
    if device.type == "cuda":
        assert sorted(captured.graphs.graphs) == [12, 13]
    plain = trained(begin(asked, device, capture=False))
    assert repr(captured.history) == repr(plain.history)
    assert weights_digest(captured.method.state_dict()) == weights_digest(plain.method.state_dict())


def test_steps_that_are_timed_are_the_steps_and_share_memory(device: torch.device) -> None:
    asked = recipes("resnet8", "bfloat16")

    def subjects() -> dict[str, Subject]:
        return {
            method: Subject(
                Entry("resnet8", asked[method].network, method, asked[method].composition),
                (3, 64, 64),
                len(DATA.classes),
                asked[method].training.model_copy(update={"batch_size": 64}),
                device,
            )
            for method in ("combined_all", "temporal", "elr", "baseline")
        }

    timed, plain, clock, held = subjects(), subjects(), StepClock(device, capture=True), []
    for method, subject in timed.items():
        clock.warm_up(method, subject.step, subject.generators.dropout)
        held.append(torch.cuda.memory_reserved(device) if device.type == "cuda" else 0)
    seconds = [clock.seconds(method, subject.step) for _ in range(5) for method, subject in timed.items()]
    if device.type == "cuda":
        assert all(len(graphs.graphs) == 1 for graphs in clock.graphs.values())
        assert held[-1] - held[0] < held[0] / 2, "the largest came first, and the others find room"
    for method, subject in plain.items():
        for _ in range(5 + (WARM_UP + 1) * (device.type == "cuda")):
            subject.step()
        assert weights_digest(timed[method].method.state_dict()) == weights_digest(subject.method.state_dict())
    assert min(seconds) > 0.0
    assert clock.not_captured == []


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method's loss reads a value on the host."""
    forward = Method.forward

    def read(*arguments: Any) -> Tensor:
        losses = forward(*arguments)
        assert losses[0].item() > 0.0
        return losses

    monkeypatch.setattr(Method, "forward", read)


def test_a_loss_that_reads_a_value_runs_without_graphs_and_this_is_said_once(
    device: torch.device, request: pytest.FixtureRequest
) -> None:
    asked = recipes("resnet8", "float32")["baseline"]
    expected = weights_digest(trained(begin(asked, device)).method.state_dict())
    request.getfixturevalue("reading")
    said: list[str] = []
    found = trained(begin(asked, device, say=said.append))
    assert weights_digest(found.method.state_dict()) == expected
    if device.type == "cuda":
        assert len(said) == 1
        assert f"{__file__}, line " in said[0]
        assert found.graphs.graphs == {}
    assert weights_digest(trained(begin(asked, device, capture=False, say=said.append)).method.state_dict()) == expected
    assert len(said) == (device.type == "cuda")


@pytest.mark.cuda
@pytest.mark.usefixtures("reading")
def test_a_compiled_step_that_reads_a_value_is_told_with_a_remedy(device: torch.device) -> None:
    asked = recipes("resnet8", "float32")["baseline"]
    asked = asked.model_copy(update={"training": asked.training.model_copy(update={"compile": True})})
    with pytest.raises(CollabpipeError, match=r"set execution\.cuda_graphs: false"):
        trained(begin(asked, device))


def test_compiled_trainings_end_alike_alone_and_at_once(device: torch.device) -> None:
    asked = recipes("resnet8", "bfloat16")["baseline"]
    asked = asked.model_copy(update={"training": asked.training.model_copy(update={"compile": True})})
    alone = trained(begin(asked, device))
    several = [begin(asked, device) for _ in range(3)]
    at_once(several)
    found = {weights_digest(training.method.state_dict()) for training in (alone, *several)}
    assert len(found) == 1


@contextmanager
def no_waiting() -> Iterator[None]:
    """An operation that waits for the device is an error within."""
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", REPRESENTATIVES)
def test_within_an_epoch_no_step_waits_for_the_device(method: str, precision: str, device: torch.device) -> None:
    training = begin(recipes("resnet18", precision, epochs=3)[method], device)
    running, steps = training.run(), 0
    while not training.finished:
        # What is prepared once is prepared in the first epoch; an epoch's first step tells the device its numbers, and
        # its last one measures.
        if training.epoch > 0 and 0 < training.step < training.steps - 1:
            with no_waiting():
                next(running)
            steps += 1
        else:
            next(running)
    assert steps == 2 * (training.steps - 2)


def lies_channels_last(tensor: Tensor) -> bool:
    return tensor.dim() != 4 or tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", ["baseline", "output_stage2", "combined_all", "multi_head_simple", "mixup"])
@pytest.mark.parametrize("network", LAST_STAGE)
def test_channels_stay_last_in_memory(network: str, method: str, precision: str, device: torch.device) -> None:
    training = begin(recipes(network, precision)[method], device)
    strayed: list[str] = []
    seen = 0

    def look(name: str, what: str, tensor: Tensor | None) -> None:
        nonlocal seen
        if tensor is not None and tensor.dim() == 4:
            seen += 1
            if not lies_channels_last(tensor):
                strayed.append(f"{name}: {what} {tuple(tensor.shape)} has strides {tensor.stride()}")

    def watch(name: str, part: nn.Module) -> None:
        def forward(_: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
            look(name, "input", given[0])
            look(name, "output", result)
            if result.requires_grad:
                result.register_hook(lambda gradient: look(name, "gradient of the output", gradient))

        part.register_forward_hook(forward)

    for name, part in training.method.named_modules():
        if isinstance(part, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d):
            watch(name, part)
    for name, weight in training.method.named_parameters():
        assert lies_channels_last(weight), name

        def of_weight(gradient: Tensor, name: str = name) -> None:
            look(name, "gradient", gradient)

        weight.register_hook(of_weight)
    next(training.run())
    assert seen
    assert not strayed, "\n".join(strayed)
