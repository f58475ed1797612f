"""What a step of each intra-model method costs compared with plain cross-entropy and with Song and Chai's heads."""

from __future__ import annotations

from typing import Literal

import torch

from benchmarks.rounds import Context, Goal, Row, Work, in_turns, paired, step_clock, synchronise
from benchmarks.step import whole_loop
from collabpipe.methods.resolve import compose, read_methods
from collabpipe.settings.training import NetworkSettings, TrainingSettings
from collabpipe.training.device import be_deterministic
from collabpipe.training.step_cost import Entry, Subject

METHODS: dict[str, dict[str, object]] = {
    "baseline": {},
    "output": {"split": "classifier"},
    "intermediate": {"variant": "partition"},
    "representation": {"variant": "spatial"},
    "kernel": {"variant": "rows"},
    "combined": {"of": "output+intermediate+representation+kernel"},
    "multi_head": {"pattern": "hierarchical", "heads": 4, "drop": 0.5, "channel_drop": 0.1},
}
SHOWN = {
    "output": "output (split at the classifier)",
    "intermediate": "intermediate (partition)",
    "representation": "representation (spatial)",
    "kernel": "kernel (rows)",
    "combined": "combined of these four",
    "multi_head": "multi_head, hierarchical, 4 heads",
}
TIME = {"output": 1.03, "intermediate": 1.03, "representation": 1.05, "kernel": 1.08, "combined": 1.15}
BYTES = {"combined": 1.10}
Precision = Literal["float32", "bfloat16"]


def measure(context: Context) -> list[Row]:
    """Time in both precisions; operations and bytes, which no clock enters."""
    be_deterministic(threads=1)
    both: tuple[Precision, ...] = ("float32", "bfloat16")
    return [row for precision in both for row in _rows(context, precision)]


def _rows(context: Context, precision: Precision) -> list[Row]:
    settings = NetworkSettings(kind="resnet18", width=context.width)
    training = TrainingSettings(epochs=1, batch_size=context.batch_size, precision=precision)
    methods, device = read_methods(METHODS), torch.device(context.device)
    stages = settings.stages_of(32, context.batch_size)
    entries = [Entry("resnet18", settings, name, compose(methods, name, stages)) for name in METHODS]
    subjects = {entry.method: Subject(entry, (3, 32, 32), 10, training, device) for entry in entries}
    counted = {name: (*subject.flops_and_saved_bytes(), subject.peak_bytes()) for name, subject in subjects.items()}
    # On a GPU the engine's own loop is timed: what is launched one by one would wait for the host, not the device.
    work: dict[str, Work] = {name: subject.step for name, subject in subjects.items()}
    if context.device == "cuda":
        work = {name: whole_loop(context, precision, 20, method=name, methods=METHODS) for name in METHODS}
    times = in_turns(work, context.seconds, wait=synchronise(context.device), clock=step_clock(context.device))
    plain, heads, rows = counted["baseline"], counted["multi_head"], []
    for name, shown in SHOWN.items():
        flops, saved, peak = (of / base for of, base in zip(counted[name], plain, strict=True))
        ratio = paired(times[name], times["baseline"])
        note = f"{ratio}; operations ×{flops:.3f}, saved bytes ×{saved:.3f}, peak bytes ×{peak:.3f}"
        goal = Goal("≤", TIME[name]) if name in TIME else None
        rows.append(Row(f"step of {shown}, {precision}", "baseline", ratio.median, goal, note=note))
    for name, bound in BYTES.items():
        saved = counted[name][1] / plain[1]
        rows.append(Row(f"bytes saved by {SHOWN[name]}, {precision}", "baseline", saved, Goal("≤", bound)))
    for name in TIME:
        saved = counted[name][1] / heads[1]
        rows.append(Row(f"bytes saved by {SHOWN[name]}, {precision}", "multi_head", saved, Goal("<", 1.0)))
    return rows
