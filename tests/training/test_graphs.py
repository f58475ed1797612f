"""What is told of a step that cannot be captured as a CUDA graph. What a captured step does is tested in tests/gpu."""

from __future__ import annotations

import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.training.graphs import explained


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
