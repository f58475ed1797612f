"""Which operations of a step make the host wait for the device, so that a CUDA graph cannot hold the step."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

TORCH = Path(torch.__file__).parent
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
"""Each at the position of the argument that it copies from."""
INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)


class HostReads(TorchDispatchMode):
    """Notes the operations within that need the host: `found` has a text for each, with its line.

    They are those that read a value, those whose result's shape depends on values, and copies from and to the host.
    A backward pass that starts within is looked at as well. Results must keep their bits, because a training that was
    interrupted is looked at once more: the tests compare them, those for a GPU in tests/gpu.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let torch.compile go on. Otherwise it would stop in all threads of the process, without a message."""
        return True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Do not let PyTorch wrap the method below. For that it would import its compiler, which takes seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do the operation, and note it if it needs the host."""
        result = func(*args, **(kwargs or {}))
        if _needs_host(func, args, result):
            self.found.append(f"{_line()} needs the host ({func.overloadpacket})")
        return result


def _needs_host(func: Any, args: tuple[Any, ...], result: Any) -> bool:
    if func in COPIES:
        source = args[COPIES.index(func)]
        return bool(result.device != source.device)
    if func in INDEXED:
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        # A number of the host for all places of a mask is filled in without asking how many they are.
        number = func not in INDEXED[:1] and args[2].numel() == 1 and args[2].device.type == "cpu"
        return bool(masks) and not number
    return not {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}.isdisjoint(func.tags)


def _line() -> str:
    """Where the operation stands: the innermost line outside PyTorch and this file."""
    frames = (frame for frame in reversed(traceback.extract_stack()) if frame.filename != __file__)
    own = (frame for frame in frames if not Path(frame.filename).is_relative_to(TORCH))
    # On a GPU a thread of PyTorch's own runs the backward pass.
    return next((f"{frame.filename}, line {frame.lineno}," for frame in own), "the backward pass")
