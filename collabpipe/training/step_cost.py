"""What a training step of a method costs compared with plain cross-entropy: parameters, operations, memory and time.

docs/overhead.md says what each column means and what it leaves out.
"""

from __future__ import annotations

import math
import os
import re
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from collabpipe.common.errors import CollabpipeError
from collabpipe.methods.composition import Composition, problem
from collabpipe.model.method import Generators, build_method
from collabpipe.model.networks import initialise
from collabpipe.settings.training import NetworkSettings, TrainingSettings
from collabpipe.training.device import be_deterministic, choose_device, describe
from collabpipe.training.optimiser import Sgd
from collabpipe.training.step_clock import StepClock

if TYPE_CHECKING:  # counting and timing need no tables
    import pandas as pd

Shape = tuple[int, int, int]
QUANTITIES = ("params_train", "params_inference", "flops", "saved_bytes", "peak_bytes", "step_seconds")
COLUMNS = ("network", "method", *QUANTITIES, "device", *(f"{name}_ratio" for name in QUANTITIES))


def _product_flops(first: Sequence[int], second: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(first) * second[0]


COUNTED = {torch.ops.mkldnn._linear_pointwise: _product_flops}
"""Operations in addition to those that torch's counter knows."""


@dataclass(frozen=True)
class Entry:
    """A method to measure on a network; both names are for the table alone."""

    network: str
    settings: NetworkSettings
    method: str
    composition: Composition


@dataclass(frozen=True)
class Conditions:
    """What a measurement holds fixed: shape (C, H, W) of an image, classes, and the numbers of training."""

    device: str
    shape: Shape
    classes: int
    batch_size: int
    precision: str
    threads: int


@dataclass(frozen=True)
class StepCosts:
    """The table, one row per entry with the columns `COLUMNS`, and the seconds of every round by "network/method".

    On a GPU, the steps of `not_captured` are timed as they are written.
    """

    table: pd.DataFrame
    rounds: dict[str, list[float]]
    conditions: Conditions
    not_captured: list[str]


class Subject:
    """A method at work on one batch of random images; on the device "meta" nothing is computed and nothing held."""

    def __init__(self, entry: Entry, shape: Shape, classes: int, training: TrainingSettings, device: torch.device):
        self.device = device
        size, drawn = training.batch_size, torch.Generator().manual_seed(0)
        home = torch.device("meta" if device.type == "meta" else "cpu")
        # Autocast knows no meta device, and the precision changes neither operations nor parameters.
        bfloat16 = training.precision == "bfloat16" and device.type != "meta"
        with home:
            self.method = build_method(entry.composition, entry.settings, size, shape[0], classes, bfloat16)
            images = torch.randn(self.method.views * size, *shape, generator=drawn)
            self.labels = torch.randint(classes, (size,), generator=drawn).to(device)
            self.index = torch.arange(size).to(device)
        if device.type != "meta":
            initialise(self.method, drawn)
        self.method.to(device).train()
        self.optimiser = Sgd(self.method.parameters(), training)
        self.images = images.to(device, memory_format=torch.channels_last)
        masks = torch.Generator(device if device.type == "cuda" else "cpu").manual_seed(0)
        self.generators = Generators(masks, masks)

    def backward(self) -> None:
        """Forward, losses with every ramp at its end, backward."""
        losses = self.method(self.images, self.labels, self.index, 1.0, self.generators)
        losses[0].backward()

    def step(self) -> None:
        """One step of the training loop on the batch."""
        self.backward()
        # Small enough for weights to stay finite on images without meaning.
        self.optimiser.step(1e-4)

    @property
    def parameters(self) -> tuple[int, int]:
        """Numbers that training moves, and those that inference keeps."""
        return _numbers(self.method), _numbers(self.method.network)

    def flops_and_saved_bytes(self) -> tuple[int, int]:
        """Operations of forward, losses and backward, and the bytes of the storages that forward keeps for backward.

        The operations are those that torch's counter knows; storages of the parameters are left out.
        """
        # Tensors are held to the end of the step: the address of a freed storage may be given to another.
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor)
            return tensor

        with (
            FlopCounterMode(display=False, custom_mapping=COUNTED) as counter,
            saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            self.backward()
        self.method.zero_grad(set_to_none=True)
        own = _storages(self.method.parameters())
        saved = sum(size for key, size in _storages(kept).items() if key not in own)
        return int(counter.get_total_flops()), saved

    def peak_bytes(self) -> int:
        """What is in memory between steps, and the most that torch's allocator holds in addition during one."""
        held = [*self.method.parameters(), *self.method.buffers(), *self.optimiser.momentum]
        resident = sum(_storages([*held, self.images, self.labels, self.index]).values())
        if self.device.type != "cuda":
            return resident + self._most_allocated()
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self.step()
        torch.cuda.synchronize(self.device)
        return resident + torch.cuda.max_memory_allocated(self.device) - before

    def _most_allocated(self) -> int:
        # Otherwise the profiler says on the terminal that it starts and stops.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            self.step()
        events: Any = profile.profiler
        changes = [event for event in events.kineto_results.events() if event.name() == "[memory]"]
        changes.sort(key=lambda event: event.start_ns())
        return max(accumulate((int(event.nbytes()) for event in changes), initial=0))


def _numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Bytes of each storage behind `tensors`, by its address."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return {storage._cdata: storage.nbytes() for storage in storages}


def step_flops_and_parameters(entry: Entry, shape: Shape, classes: int, batch_size: int) -> tuple[int, int, int]:
    """Operations of a step, parameters in training and in inference, from shapes alone: no memory, under a second.

    The same numbers as `measure_overhead`'s.
    """
    subject = Subject(entry, shape, classes, TrainingSettings(epochs=1, batch_size=batch_size), torch.device("meta"))
    return subject.flops_and_saved_bytes()[0], *subject.parameters


def measure_overhead(
    entries: Sequence[Entry],
    shape: Shape,
    classes: int,
    training: TrainingSettings,
    *,
    device: torch.device | None = None,
    seconds: float = 60.0,
    least: int = 5,
    capture: bool = True,
) -> StepCosts:
    """Measure a training step of every entry.

    The methods of one network lie in memory together (weights and momentum, activations of one at a time).

    Args:
        entries: what to measure; each method once a network.
        shape: (C, H, W) of an image.
        classes: K.
        training: batch size, precision, threads and the optimiser's numbers.
        device: where (None: the first visible GPU, else the CPU).
        seconds: time to spend on the rounds of each network; a round that has begun is finished.
        least: rounds to time in any case.
        capture: on a GPU, time steps as CUDA graphs.

    Raises:
        CollabpipeError: a method is named twice or does not fit its network.
    """
    import pandas as pd

    _check(entries)
    be_deterministic(training.threads)
    device = device or choose_device()
    rows: list[dict[str, Any]] = []
    rounds: dict[str, list[float]] = {}
    not_captured: list[str] = []
    name = device_name(device)
    for network in dict.fromkeys(entry.network for entry in entries):
        group = [entry for entry in entries if entry.network == network]
        clock = StepClock(device, capture)
        found, timed = _measure(group, clock, shape, classes, training, seconds, least)
        plain = next((found[entry.method] for entry in group if entry.composition == Composition()), {})
        for method, values in found.items():
            ratios = {f"{name}_ratio": value / plain[name] if plain else math.nan for name, value in values.items()}
            rows.append({"network": network, "method": method, **values, "device": name, **ratios})
            rounds[f"{network}/{method}"] = timed[method]
        not_captured += [f"{network}/{method}" for method in clock.not_captured]
    conditions = Conditions(name, shape, classes, training.batch_size, training.precision, training.threads)
    return StepCosts(pd.DataFrame(rows, columns=list(COLUMNS)), rounds, conditions, not_captured)


def _measure(
    entries: Sequence[Entry],
    clock: StepClock,
    shape: Shape,
    classes: int,
    training: TrainingSettings,
    seconds: float,
    least: int,
) -> tuple[dict[str, dict[str, float]], dict[str, list[float]]]:
    """The quantities of each of a network's methods, and the seconds of every round."""
    subjects = {entry.method: Subject(entry, shape, classes, training, clock.device) for entry in entries}
    counted = {method: _count(subject) for method, subject in subjects.items()}
    timed = _time(subjects, clock, seconds, least)
    return {name: {**counts, "step_seconds": statistics.median(timed[name])} for name, counts in counted.items()}, timed


def _check(entries: Sequence[Entry]) -> None:
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        place = f"{entry.network}/{entry.method}"
        if (entry.network, entry.method) in seen:
            raise CollabpipeError(f"{place} is to be measured twice. Give each method a name of its own.")
        seen.add((entry.network, entry.method))
        if found := problem(entry.composition, entry.settings.stages):
            raise CollabpipeError(f"{place}: {found.wrong(entry.settings.kind)}")


def _count(subject: Subject) -> dict[str, int]:
    train, inference = subject.parameters
    flops, saved = subject.flops_and_saved_bytes()
    counts = (train, inference, flops, saved, subject.peak_bytes())
    return dict(zip(QUANTITIES[:-1], counts, strict=True))


def _time(subjects: Mapping[str, Subject], clock: StepClock, seconds: float, least: int) -> dict[str, list[float]]:
    """Seconds a round: every method takes a step before any takes its next, so that noise hits all alike.

    On a CPU the steps of counting have warmed it up.
    """
    for method, subject in subjects.items():
        clock.warm_up(method, subject.step, subject.generators.dropout)
    rounds: dict[str, list[float]] = {method: [] for method in subjects}
    started, done = time.perf_counter(), 0
    while done < least or time.perf_counter() - started < seconds:
        for method, subject in subjects.items():
            rounds[method].append(clock.seconds(method, subject.step))
        done += 1
    return rounds


def device_name(device: torch.device) -> str:
    """The GPU's or the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cuda" or not cpuinfo.exists():
        return describe(device)
    names = re.findall(r"^model name\s*: (.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    return names[0] if names else describe(device)
