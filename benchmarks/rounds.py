"""Measuring two things fairly on a machine that is never quiet: in turns, in pairs, by medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Work = Callable[[], object]


@dataclass(frozen=True)
class Context:
    """What every section is told.

    device: "cpu" or "cuda"; a section without use for a device ignores it. seconds: for the rounds of each comparison;
    a round that has begun is finished. folder: an empty one to write into. batch_size, width: of the step's networks.
    """

    device: str
    seconds: float
    folder: Path
    batch_size: int = 128
    width: int = 64


@dataclass(frozen=True)
class Goal:
    """A bound that a value must keep."""

    sign: Literal["≥", "≤", "<"]
    bound: float

    def holds(self, value: float) -> bool:
        """Whether `value` keeps it."""
        return {"≥": value >= self.bound, "≤": value <= self.bound, "<": value < self.bound}[self.sign]


@dataclass(frozen=True)
class Row:
    """A line of the report; one without a value was not measured, and its note says why."""

    what: str
    against: str
    value: float | None
    goal: Goal | None = None
    unit: str = "×"
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is kept; None where there is no value or no goal."""
        return None if self.value is None or self.goal is None else self.goal.holds(self.value)


def in_turns(
    work: Mapping[str, Work],
    seconds: float,
    *,
    least: int = 5,
    wait: Work = lambda: None,
    rest: Work = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each piece of work in every round, after one round that warms up.

    In a round each piece runs once, so that noise hits all alike; every other round runs in reverse, so that whoever
    follows whom changes.

    Args:
        work: by name.
        seconds: time to spend; at least `least` rounds are timed.
        least: rounds in any case.
        wait: for a device's queue to be empty, before and after each piece.
        rest: before each piece, where one leaves something running that would disturb the next.
        clock: tells seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for piece in work.values():
        piece()
    started, order = time.perf_counter(), list(work)
    while len(times[order[0]]) < least or time.perf_counter() - started < seconds:
        for name in order:
            rest()
            wait()
            before = clock()
            work[name]()
            wait()
            times[name].append(clock() - before)
        order.reverse()
    return times


def synchronise(device: str) -> Work:
    """What waits for the device's queue to be empty."""
    if device != "cuda":
        return lambda: None
    import torch

    return torch.cuda.synchronize


def step_clock(device: str) -> Callable[[], float]:
    """What times steps: on a CPU the processor's time, which work of others on the machine does not enter."""
    return time.perf_counter if device == "cuda" else time.process_time


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios, and their quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"quartiles {self.low:.3f} to {self.high:.3f}"


def paired(above: list[float], below: list[float]) -> Ratio:
    """Ratio of two pieces of work, round by round."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)
