"""How long a step takes: the wall time on a CPU, the device's own time on a GPU."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from collabpipe.training.graphs import WARM_UP, Graphs

AHEAD = 100_000_000
"""Cycles, some 60 ms, for which a GPU is kept from beginning while the host queues a step."""


class StepClock:
    """Times the steps of several methods on one device.

    On a GPU each is captured as a CUDA graph, as in a training. Their graphs share a stream and so their memory: one is
    at work at a time.

    Args:
        device: of all steps.
        capture: capture steps; False times all as they are written.
    """

    def __init__(self, device: torch.device, capture: bool):
        self.device = device
        self.capture = capture
        self.graphs: dict[str, Graphs] = {}
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)
            self.pool = torch.cuda.graph_pool_handle()

    @property
    def not_captured(self) -> list[str]:
        """Methods whose steps are timed on a GPU as they are written, maybe with the host's time."""
        return [method for method, graphs in self.graphs.items() if not graphs.capture]

    def warm_up(self, method: str, step: Callable[[], None], generator: torch.Generator) -> None:
        """On a GPU, take the steps before the one that is captured, and that one.

        Args:
            method: its name.
            step: a step of it, which draws from `generator`.
        """
        if self.device.type != "cuda":
            return
        torch.cuda.synchronize(self.device)

        def say(text: str) -> None:
            print(f"{method}: {text}", file=sys.stderr, flush=True)

        self.graphs[method] = Graphs((generator,), self.stream, self.capture, say, self.pool)
        for _ in range(WARM_UP + 1):
            self.seconds(method, step)

    def seconds(self, method: str, step: Callable[[], None]) -> float:
        """The time of a step of a method that is warmed up."""
        if self.device.type == "cuda":
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            with torch.cuda.stream(self.stream):
                torch.cuda._sleep(AHEAD)
                began.record()
                self.graphs[method](lambda _: step(), 0)
                ended.record()
            ended.synchronize()
            return float(began.elapsed_time(ended)) / 1000.0
        started = time.perf_counter()
        step()
        return time.perf_counter() - started
