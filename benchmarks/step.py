"""A training step of ResNet-18: the engine's whole loop against the bare step, and against the plain loop."""

from __future__ import annotations

import statistics
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.apart import PlainApart
from benchmarks.input import Pipeline
from benchmarks.ours import clean_labels, random_images, recipe
from benchmarks.rounds import Context, Goal, Row, Work, in_turns, paired, step_clock, synchronise
from collabpipe.composition import Composition
from collabpipe.networks import build_network, initialise
from collabpipe.overhead import Entry, Subject
from collabpipe.settings import NetworkSettings, TrainingSettings
from collabpipe.training.batches import Pixels
from collabpipe.training.device import be_deterministic
from collabpipe.training.engine import Training

PRECISIONS = ("float32", "bfloat16")
PEAK_SIZE = 4096
"""Side of the square matrices whose product tells a device's rate."""


class Bare:
    """Forward, backward and torch's own optimiser on a batch that is ready: the same network, nothing around it."""

    def __init__(self, context: Context, precision: str, steps: int):
        drawn, device = torch.Generator().manual_seed(0), torch.device(context.device)
        network = build_network(NetworkSettings(kind="resnet18", width=context.width), 3, 10)
        initialise(network, drawn)
        self.network, self.steps, self.precision = network.to(device).train(), steps, precision
        images = torch.randn(context.batch_size, 3, 32, 32, generator=drawn)
        self.images = images.to(device, memory_format=torch.channels_last)
        self.labels = torch.randint(10, (context.batch_size,), generator=drawn).to(device)
        settings: dict[str, Any] = {"lr": 1e-4, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
        self.optimiser = torch.optim.SGD(network.parameters(), **settings)

    def __call__(self) -> None:
        """Some steps."""
        mixed = (
            torch.autocast(self.images.device.type, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()
        )
        for _ in range(self.steps):
            with mixed:
                logits = self.network(self.images)
            F.cross_entropy(logits.float(), self.labels).backward()
            self.optimiser.step()
            self.optimiser.zero_grad()


def whole_loop(context: Context, precision: str, steps: int) -> Work:
    """Some steps of the engine's loop, an epoch's end where one comes."""
    settings = {
        "epochs": 1000,
        "measure_every": 1000,
        "learning_rate": 1e-4,
        "batch_size": context.batch_size,
        "precision": precision,
    }
    data = random_images(50 * context.batch_size)
    labels = clean_labels(np.arange(len(data.labels)), data)
    running = Training(recipe("cifar10", context.width, settings), data, labels, torch.device(context.device)).run()

    def work() -> None:
        for _ in range(steps):
            next(running)

    return work


def measure(context: Context) -> list[Row]:
    """Rows for both precisions."""
    be_deterministic(threads=1)
    # On a GPU a round is long enough to fill its queue; on a CPU a step is long enough by itself.
    steps = 20 if context.device == "cuda" else 1
    work: dict[str, Work] = {}
    for precision in PRECISIONS:
        work[f"loop {precision}"] = whole_loop(context, precision, steps)
        work[f"bare {precision}"] = Bare(context, precision, steps)
    with PlainApart(context, steps) as plain:
        clock = step_clock(context.device)
        times = in_turns(work | {"plain": plain}, context.seconds, wait=synchronise(context.device), clock=clock)
    if context.device != "cuda":
        times["plain"] = plain.seconds[1:]  # its own processor's time, without the round that warms up
    pipeline = in_turns({"input": _input(context, steps)}, 1.0, wait=synchronise(context.device), clock=clock)["input"]
    rows = [row for precision in PRECISIONS for row in _rows(context, precision, times, pipeline, steps)]
    return rows + (_against_peak(context) if context.device == "cuda" else [])


def _input(context: Context, steps: int) -> Work:
    data = random_images(50 * context.batch_size)
    pipeline = Pipeline(Pixels.of(data, None, torch.device(context.device)), context.batch_size)
    return lambda: pipeline(steps)


def _rows(
    context: Context, precision: str, times: dict[str, list[float]], pipeline: list[float], steps: int
) -> list[Row]:
    loop, bare, plain = times[f"loop {precision}"], times[f"bare {precision}"], times["plain"]
    share, against = paired(bare, loop), paired(plain, loop)
    medians = [1000 * statistics.median(part) / steps for part in (loop, bare, plain)]
    what = f"step of ResNet-18, {precision}, whole loop"
    goal = Goal("≥", 4.0 if context.device == "cuda" else 1.5)
    note = f"{share}; {medians[0]:.1f} ms, bare {medians[1]:.1f} ms"
    shown = f"{against}; {medians[0]:.1f} against {medians[2]:.1f} ms"
    input_share = statistics.median(pipeline) / statistics.median(loop)
    return [
        Row(f"rate of a {what}", "bare forward, backward, step", share.median, Goal("≥", 0.97), note=note),
        Row(f"rate of a {what}", "plain loop, float32, NCHW, DataLoader", against.median, goal, note=shown),
        Row(f"input pipeline's share of a {what}", "", 100 * input_share, Goal("≤", 2.0), "%"),
    ]


def _repeat(work: Work, times: int) -> None:
    for _ in range(times):
        work()


def _against_peak(context: Context) -> list[Row]:
    """Operations a second of whole steps in bfloat16, against those of a large product of matrices."""
    matrices = [torch.randn(PEAK_SIZE, PEAK_SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2)]
    multiply = partial(_repeat, partial(torch.mm, *matrices), 50)
    peak = in_turns({"product": multiply}, 2.0, wait=synchronise("cuda"))
    rate, rows = 50 * 2 * PEAK_SIZE**3 / statistics.median(peak["product"]), []
    for kind in ("resnet18", "vgg16"):
        settings = NetworkSettings.model_validate({"kind": kind, "width": context.width})
        training = TrainingSettings(epochs=1, batch_size=context.batch_size, precision="bfloat16")
        subject = Subject(Entry(kind, settings, "", Composition()), (3, 32, 32), 10, training, torch.device("cuda"))
        flops = subject.flops_and_saved_bytes()[0]
        seconds = in_turns({kind: partial(_repeat, subject.step, 20)}, 2.0, wait=synchronise("cuda"))[kind]
        reached = 20 * flops / statistics.median(seconds)
        note = f"{reached / 1e12:.0f} of {rate / 1e12:.0f} TFLOP/s"
        rows.append(Row(f"operations a second, {kind}, bfloat16", "measured matrix rate", reached / rate, note=note))
    return rows
