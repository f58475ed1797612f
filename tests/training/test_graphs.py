"""What is told of a step that cannot be captured as a CUDA graph. What a captured step does is tested in tests/gpu."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from collabpipe.common.errors import CollabpipeError
from collabpipe.training.graphs import WARM_UP, Graphs, explained


def test_a_step_that_cannot_be_captured_is_told_with_a_remedy() -> None:
    with pytest.raises(CollabpipeError) as told, explained():
        raise RuntimeError(
            "CUDA error: operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA"
        )

    assert str(told.value).startswith("a training step cannot be captured as a CUDA graph: CUDA error: operation not")
    assert "set execution.cuda_graphs: false" in str(told.value)
    assert "TORCH_USE" not in str(told.value)


def test_another_error_within_a_capture_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), explained():
        raise RuntimeError("shapes differ")
    invalid = RuntimeError("capture was invalidated")
    invalid.__context__ = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(RuntimeError, match="capture was invalidated"), explained():
        raise invalid


def test_steps_that_need_the_host_are_not_captured_and_this_is_said_once() -> None:
    said: list[str] = []
    taken: list[int] = []
    graphs = Graphs((), cast("torch.cuda.Stream", None), capture=True, say=said.append)

    def step(size: int) -> None:
        taken.append(int(torch.tensor(size)))

    for size in (4, 4, 3) * (WARM_UP + 1):
        graphs(step, size)

    assert taken == [4, 4, 3] * (WARM_UP + 1)
    assert graphs.graphs == {}
    [told] = said
    assert told.startswith("steps run without CUDA graphs, for the same results more slowly: ")
    assert f"{__file__}, line " in told
