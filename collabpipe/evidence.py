"""What a study's runs say of one method against another: gains with their intervals, verdicts, what backs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collabpipe.claims import Claim
from collabpipe.errors import CollabpipeError
from collabpipe.evaluated import EvaluatedRun
from collabpipe.paths import Paths
from collabpipe.statistics import bootstrap_interval, p_value, relative_gain, sampling_error, t_interval
from collabpipe.study import StudyRecipe

WORST_FIRST = ("not run", "not reproduced", "inconclusive", "direction only", "reproduced")
OF_CONTROL = {"reproduced": "survives", "not reproduced": "does not survive"}
NAN = float("nan")


def verdict(n: int, low: float, high: float, expected: float = 0.0) -> str:
    """What an interval says of a claimed gain; 0: any gain is claimed. Limits that equal a number contain it."""
    if n == 0:
        return "not run"
    if np.isnan(low) or np.isnan(high):
        return "inconclusive"
    if high < 0.0 or (low <= 0.0 and high < expected):
        return "not reproduced"
    if low <= 0.0:
        return "inconclusive"
    return "reproduced" if high >= expected else "direction only"


def verdict_of_ratio(n: int, low: float, high: float) -> str:
    """What a ratio of costs says of the claim that it is below 1."""
    if n == 0:
        return "not run"
    return "reproduced" if high < 1.0 else "not reproduced" if low >= 1.0 else "inconclusive"


@dataclass(frozen=True)
class Pair:
    """A method against another at a place under a reading: replicate by replicate, and what follows from that."""

    method: str
    other: str
    estimate: float = NAN
    low: float = NAN
    high: float = NAN
    n: int = 0
    p: float = NAN
    runs: str = ""
    differences: dict[int, float] = field(default_factory=dict)

    @property
    def values(self) -> NDArray[np.float64]:
        """The differences in the order of the replicates."""
        return np.array(list(self.differences.values()))

    def verdict(self, expected: float = 0.0, ratio: bool = False) -> str:
        """What the interval says of the claim."""
        found = (self.n, self.low, self.high)
        return verdict_of_ratio(*found) if ratio else verdict(*found, expected)


def weakest(pairs: Sequence[Pair], expected: float = 0.0, ratio: bool = False) -> Pair:
    """The pair that decides whether all hold: the one with the worst verdict, of several that with the worst limit."""

    def strength(pair: Pair) -> tuple[int, float]:
        limit = -pair.high if ratio else pair.low
        return WORST_FIRST.index(pair.verdict(expected, ratio)), 0.0 if np.isnan(limit) else limit

    return min(pairs, key=strength)


class Evidence:
    """A study's finished runs and costs, indexed once; predictions are read for compared runs alone."""

    def __init__(self, study: StudyRecipe, runs: Sequence[EvaluatedRun], overhead: pd.DataFrame | None, paths: Paths):
        self.controls = study.controls
        self.paths = paths
        self.cells: dict[tuple[str, str], dict[int, EvaluatedRun]] = {}
        for run in runs:
            name = run.name
            if run.finished:
                place = f"{name.dataset}/{name.noise}/{name.network}"
                self.cells.setdefault((place, name.method), {})[name.seed] = run
        costs: list[dict[str, Any]] = [] if overhead is None else overhead.to_dict("records")  # type: ignore[assignment]
        self.costs = {(cost["dataset"], cost["network"], cost["method"]): cost for cost in costs}
        self._hits: dict[Path, NDArray[np.bool_] | None] = {}
        self._spreads: dict[tuple[str, str, str], tuple[float, tuple[float, float]]] = {}

    def pair(self, metric: str, reading: str, place: str, method: str, other: str, confidence: float) -> Pair:
        """A method against another, over the replicates that both finished."""
        if metric == "overhead":
            return self._ratio(reading, place, method, other, confidence)
        first, second = (self.cells.get((place, name), {}) for name in (method, other))
        seeds = sorted(first.keys() & second.keys())
        if not seeds:
            return Pair(method, other)
        epoch, scale = reading.split()
        a, b = (np.array([100.0 * cell[seed].metrics[epoch]["accuracy"] for seed in seeds]) for cell in (first, second))
        gains = a - b if scale == "points" else relative_gain(a, b, "error" if metric == "error" else "accuracy")
        found = t_interval(gains, confidence)
        runs = f"{place}/{{{method},{other}}}/seed{{{','.join(map(str, seeds))}}}"
        differences = dict(zip(seeds, gains.tolist(), strict=True))
        return Pair(method, other, found.mean, found.low, found.high, found.n, p_value(gains), runs, differences)

    def _ratio(self, cost: str, place: str, method: str, other: str, confidence: float) -> Pair:
        """The ratio of two costs; of time the mean over the rounds that both were timed in, with its interval."""
        dataset, _, network = place.split("/")
        a, b = (self.costs.get((dataset, network, name), {}) for name in (method, other))
        if np.isnan([a.get(cost, NAN), b.get(cost, NAN)]).any():
            return Pair(method, other)
        estimate = low = high = a[cost] / b[cost]
        if cost == "step_seconds":
            # Both methods' steps of a round met the same machine.
            rounds = t_interval(np.array(a["rounds"]) / np.array(b["rounds"]), confidence)
            estimate, low, high = rounds.mean, rounds.low, rounds.high
        return Pair(method, other, estimate, low, high, 1, runs=f"overhead/{dataset}/{network}/{{{method},{other}}}")

    def against_control(self, claim: Claim, reading: str, place: str, methods: Sequence[str], confidence: float) -> str:
        """What is left of the methods' gain against their matched controls; the weakest decides."""
        if claim.metric == "overhead":
            return "no control"
        network = place.split("/")[2]
        controls = {method: claim.control or self.controls.get(f"{network}/{method}", "") for method in methods}
        if any((place, method) not in self.cells for method in methods):
            return "not run"
        if not all(controls.values()):
            return "no control"
        found = weakest([self.pair(claim.metric, reading, place, m, c, confidence) for m, c in controls.items()])
        return OF_CONTROL.get(found.verdict(), found.verdict())

    def spread(self, place: str, pair: Pair) -> tuple[float, tuple[float, float]]:
        """The test set's own error of a pair and its bootstrap interval; nan where predictions are missing."""
        key = (place, pair.method, pair.other)
        if key not in self._spreads:
            first, second = (
                [self._hits_of(self.cells[place, name][seed]) for seed in pair.differences] for name in key[1:]
            )
            self._spreads[key] = NAN, (NAN, NAN)
            if first and not any(hits is None for hits in (*first, *second)):
                a, b = np.array(first), np.array(second)
                self._spreads[key] = sampling_error(a, b), bootstrap_interval(a, b)
        return self._spreads[key]

    def _hits_of(self, run: EvaluatedRun) -> NDArray[np.bool_] | None:
        path = self.paths.evaluation(run.name) / "predictions.parquet"
        if path not in self._hits:
            self._hits[path] = _read_hits(path) if path.exists() else None
        return self._hits[path]


def _read_hits(path: Path) -> NDArray[np.bool_]:
    try:
        table = pq.ParquetFile(path).read(columns=["label", "prediction"], use_threads=False)
    except (OSError, ValueError) as error:
        raise CollabpipeError(f"{path}: cannot be read: {error}. Evaluate the run again.") from error
    return np.asarray(table["label"].to_numpy() == table["prediction"].to_numpy())
