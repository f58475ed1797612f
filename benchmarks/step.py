"""A training step of ResNet-18: the engine's whole loop against the bare step, and against the plain loop."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.apart import PlainApart
from benchmarks.input import Captured, Pipeline
from benchmarks.ours import clean_labels, random_images, recipe
from benchmarks.rounds import Context, Goal, Row, Work, in_turns, paired, step_clock, synchronise
from collabpipe.methods.composition import Composition
from collabpipe.model.networks import build_network, initialise
from collabpipe.settings.training import NetworkSettings
from collabpipe.training.batches import Pixels
from collabpipe.training.device import be_deterministic
from collabpipe.training.engine import Training
from collabpipe.training.step_cost import Entry, step_flops_and_parameters

PRECISIONS = ("float32", "bfloat16")
PEAK_SIZE = 8192
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


def whole_loop(
    context: Context,
    precision: str,
    steps: int,
    *,
    network: str = "resnet18",
    method: str = "baseline",
    methods: Mapping[str, Mapping[str, object]] | None = None,
    compiled: bool = False,
) -> Work:
    """Some steps of the engine's loop, an epoch's end where one comes."""
    settings = {
        "epochs": 1000,
        "measure_every": 1000,
        "learning_rate": 1e-4,
        "batch_size": context.batch_size,
        "precision": precision,
        "compile": compiled,
    }
    data = random_images(50 * context.batch_size)
    labels = clean_labels(np.arange(len(data.labels)), data)
    asked = recipe("cifar10", context.width, settings, network=network, method=method, methods=methods)
    running = Training(asked, data, labels, torch.device(context.device)).run()

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
    made = Captured(pipeline) if context.device == "cuda" else pipeline
    return lambda: made(steps)


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


def _multiply(matrices: list[torch.Tensor], times: int) -> None:
    for _ in range(times):
        torch.mm(*matrices)


def matrix_rate() -> float:
    """Operations a second of a large product of matrices in bfloat16 on the GPU."""
    matrices = [torch.randn(PEAK_SIZE, PEAK_SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2)]
    peak = in_turns({"product": partial(_multiply, matrices, 20)}, 1.0, wait=synchronise("cuda"))
    return 20 * 2 * PEAK_SIZE**3 / statistics.median(peak["product"])


def _against_peak(context: Context) -> list[Row]:
    """Operations a second of the engine's whole loop in bfloat16, against those of a large product of matrices."""
    rows, steps = [], 20
    for size, kind, compiled in itertools.product((512, 128), ("resnet18", "vgg16"), (False, True)):
        rate = matrix_rate()
        entry = Entry(kind, NetworkSettings.model_validate({"kind": kind, "width": context.width}), "", Composition())
        flops = step_flops_and_parameters(entry, (3, 32, 32), 10, size)[0]
        work = whole_loop(replace(context, batch_size=size), "bfloat16", steps, network=kind, compiled=compiled)
        seconds = statistics.median(in_turns({kind: work}, 1.0, wait=synchronise("cuda"))[kind]) / steps
        reached = flops / seconds
        note = f"{reached / 1e12:.0f} of {rate / 1e12:.0f} TFLOP/s; {size / seconds:,.0f} images/s"
        what = f"operations a second, {kind}, bfloat16, {'compiled, ' * compiled}batches of {size}"
        goal = Goal("≥", 0.45) if size == 512 else None
        rows.append(Row(what, f"product of {PEAK_SIZE}³, in the same run", reached / rate, goal, note=note))
    return rows
