"""A training step as a CUDA graph: one launch in place of some 400, which take longer than a small step's arithmetic.

A graph holds addresses and shapes, so all that changes from step to step lies in tensors that stay where they are: the
permutation, the number of the step, the learning rate and the progress.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from collabpipe.common.errors import CollabpipeError
from collabpipe.training.device import messages, out_of_memory
from collabpipe.training.host_reads import HostReads

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE as Pool

WARM_UP = 3
"""Steps of each batch size that run as they are written before one is captured: kernels are loaded, plans made."""
CAPTURING = threading.Lock()
"""Held while a step is captured or looked at: the thread that runs backward is one for all trainings of a process."""


class Graphs:
    """The steps of one training, captured by batch size; equal to the bit to the steps as they are written.

    Args:
        generators: those that the step draws from.
        stream: the stream on which the training runs.
        capture: capture steps; False runs all as they are written.
        say: told why none is captured, if the first step needs the host; None: that is not looked for.
        pool: memory to share with graphs of the same stream; None: their own.
    """

    def __init__(
        self,
        generators: Iterable[torch.Generator],
        stream: torch.cuda.Stream,
        capture: bool,
        say: Callable[[str], None] | None,
        pool: Pool | None = None,
    ):
        self.generators = tuple(generators)
        self.stream = stream
        self.capture = capture
        self.say = say
        self.pool = pool
        self.taken: dict[int, int] = {}
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def __call__(self, step: Callable[[int], None], size: int) -> None:
        """Take a step on a batch of `size` images.

        The step is not kept: a training that held itself would keep the device's memory after its end, until Python's
        collector comes by.
        """
        first = not self.taken
        self.taken[size] = self.taken.get(size, 0) + 1
        if first and self.capture and self.say is not None:
            return self._look(step, size, self.say)
        if not self.capture or self.taken[size] <= WARM_UP:
            return step(size)
        if size not in self.graphs:
            self.graphs[size] = self._capture(step, size)
        self.graphs[size].replay()

    def _look(self, step: Callable[[int], None], size: int, say: Callable[[str], None]) -> None:
        """Take a step, and capture none of them if it needs the host."""
        # What tells torch that it is looked at is one for all threads.
        with CAPTURING, HostReads() as reads:
            step(size)
        if reads.found:
            self.capture = False
            say(f"steps run without CUDA graphs, for the same results more slowly: {reads.found[0]}")

    def _capture(self, step: Callable[[int], None], size: int) -> torch.cuda.CUDAGraph:
        with CAPTURING:
            # What the warm-up left in the allocator is of no use to a graph, which has memory of its own.
            torch.cuda.empty_cache()
            graph = torch.cuda.CUDAGraph()
            for generator in self.generators:
                graph.register_generator_state(generator)
            pool = next(iter(self.graphs.values())).pool() if self.graphs else self.pool
            # Other trainings of this process may go on meanwhile.
            mode = "thread_local"
            with explained(), torch.cuda.graph(graph, pool, self.stream, capture_error_mode=mode):
                step(size)
        return graph


@contextmanager
def explained() -> Iterator[None]:
    """Turn PyTorch's error about a step that a CUDA graph cannot hold into a message with a remedy.

    After such an error PyTorch's allocator and generators still capture, so the training cannot continue by itself.

    Raises:
        CollabpipeError: the step cannot be captured.
    """
    try:
        yield
    except RuntimeError as error:
        said = next((said for said in messages(error) if "captur" in said), None)
        if said is None or out_of_memory(error):
            raise
        raise CollabpipeError(
            f"a training step cannot be captured as a CUDA graph: {said.splitlines()[0].removesuffix('.')}. A loss "
            "must not read a value on the host (.item(), .cpu(), an index of bools). Change it, or set "
            "execution.cuda_graphs: false, for the same results more slowly."
        ) from None


def on_stream(stream: torch.cuda.Stream | None) -> torch.cuda.StreamContext | nullcontext[None]:
    """Work on the stream; None: where it is."""
    return nullcontext() if stream is None else torch.cuda.stream(stream)


def scalar(device: torch.device, dtype: torch.dtype) -> Tensor:
    """A number () on the device, to be set from step to step."""
    return torch.zeros((), dtype=dtype, device=device)
