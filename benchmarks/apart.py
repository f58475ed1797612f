"""The plain loop in a process of its own: nothing that the engine sets for its process reaches it."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from types import TracebackType

from benchmarks.rounds import Context


def _serve(pipe: Connection, context: Context, steps: int, workers: int) -> None:
    import torch

    from benchmarks import plain
    from benchmarks.ours import random_images
    from collabpipe.model.networks import build_network, initialise
    from collabpipe.settings.training import NetworkSettings

    torch.set_num_threads(1)
    size = context.batch_size
    source = plain.batches(random_images(steps * size), 4, size, workers, context.device)
    network = build_network(NetworkSettings(kind="resnet18", width=context.width), 3, 10)
    initialise(network, torch.Generator().manual_seed(0))
    loop = plain.PlainLoop(network, source, 10**6, steps, context.device)
    # From the start a rate at which labels without meaning keep weights finite.
    loop.optimiser.param_groups[0]["lr"] = 1e-4
    while pipe.recv() is not None:
        before = time.process_time()
        for _ in range(steps):
            loop.step()
        pipe.send(time.process_time() - before)


class PlainApart:
    """Rounds of some steps of the plain loop; each call waits for one and keeps its processor time in `seconds`."""

    def __init__(self, context: Context, steps: int, workers: int = 2):
        start = multiprocessing.get_context("spawn")
        self.pipe, other = start.Pipe()
        self.process = start.Process(target=_serve, args=(other, context, steps, workers))
        self.seconds: list[float] = []

    def __enter__(self) -> PlainApart:
        self.process.start()
        return self

    def __call__(self) -> None:
        """One round."""
        self.pipe.send(True)
        while not self.pipe.poll(1.0):
            if not self.process.is_alive():
                raise RuntimeError("the plain loop's process ended; its error stands above")
        self.seconds.append(self.pipe.recv())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.is_alive():
            self.pipe.send(None)
        self.process.join()
