"""From stored images to a normalised batch: gather, crop, flip, normalise."""

from __future__ import annotations

import itertools
import statistics
import time

import torch
from torch import Tensor

from benchmarks.ours import random_images
from benchmarks.plain import batches
from benchmarks.rounds import Context, Goal, Row, in_turns, paired, synchronise
from collabpipe.training.batches import Augmentation, Pixels
from collabpipe.training.device import be_deterministic

BATCHES = 40
"""Of a round."""
COPIED = 1 << 28
"""Bytes of the copy that tells the memory's bandwidth; more than any cache holds."""


class Pipeline:
    """The engine's way from a permutation to batches on the device."""

    def __init__(self, pixels: Pixels, batch_size: int):
        device = pixels.scale.device
        self.pixels, self.batch_size = pixels, batch_size
        self.augment = Augmentation(crop=4, flip=True)
        self.generator = torch.Generator(device).manual_seed(0)
        self.permutation = torch.randperm(len(pixels), generator=self.generator, device=device)

    def batch(self, index: Tensor) -> Tensor:
        """The images at `index`, ready for a network."""
        return self.pixels.normalise(self.augment(self.pixels[index], self.generator))

    def __call__(self, batches: int = BATCHES) -> None:
        """Make some batches, from the permutation's beginning."""
        for index in self.permutation.split(self.batch_size)[:batches]:
            self.batch(index)


class Captured:
    """The same batches by a CUDA graph, as the engine makes them on a GPU."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        self.index = pipeline.permutation[: pipeline.batch_size].clone()
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                pipeline.batch(self.index)
        torch.cuda.current_stream().wait_stream(beside)
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(pipeline.generator)
        with torch.cuda.graph(self.graph):
            self.images = pipeline.batch(self.index)

    def __call__(self, batches: int = BATCHES) -> None:
        """Make some batches, from the permutation's beginning."""
        for index in self.pipeline.permutation.split(self.pipeline.batch_size)[:batches]:
            self.index.copy_(index)
            self.graph.replay()


def copy_bandwidth(device: str) -> float:
    """Bytes read and written a second by a large copy; the best of ten."""
    source, target = (torch.ones(COPIED, dtype=torch.uint8, device=device) for _ in range(2))
    wait, times = synchronise(device), []
    for _ in range(10):
        wait()
        started = time.perf_counter()
        target.copy_(source)
        wait()
        times.append(time.perf_counter() - started)
    return 2 * COPIED / min(times)


def measure(context: Context) -> list[Row]:
    """Ours against torchvision's, and against the memory's bandwidth."""
    be_deterministic(threads=1)
    size, device = context.batch_size, context.device
    data = random_images(BATCHES * size)
    pipeline = Pipeline(Pixels.of(data, None, torch.device(device)), size)
    ours = Captured(pipeline) if device == "cuda" else pipeline
    source = batches(data, crop=4, batch_size=size, workers=2, device=device)

    def theirs() -> None:
        for images, _ in itertools.islice(source, BATCHES):
            images.to(device)

    # Between the two the workers come to rest, else they would take the cores while ours is timed.
    wait = synchronise(device)
    times = in_turns(
        {"ours": ours, "theirs": theirs}, context.seconds, wait=wait, rest=lambda: time.sleep(min(0.2, context.seconds))
    )
    ratio = paired(times["theirs"], times["ours"])
    rate, their_rate = (BATCHES * size / statistics.median(times[name]) for name in ("ours", "theirs"))
    needed, bandwidth = data.images[0].size * (1 + 4), copy_bandwidth(device)
    rates = f"{rate:,.0f} against {their_rate:,.0f} images/s"
    what = f"crop, flip, normalise, 3×32×32, batches of {size}"
    return [
        Row(what, "torchvision in a DataLoader of 2 workers", ratio.median, Goal("≥", 8.0), note=f"{ratio}; {rates}"),
        Row("the same, images a second", "", rate, Goal("≥", 1e6) if device == "cuda" else None, "a second"),
        Row(
            "the same, bytes that must move a second (read a byte, write a float)",
            "measured bandwidth of a copy",
            rate * needed / bandwidth,
            note=f"{rate * needed / 1e9:.2f} of {bandwidth / 1e9:.1f} GB/s",
        ),
    ]
