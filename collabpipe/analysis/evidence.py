"""Compares two methods on a study's runs: gains with intervals, the three comparators, and the data behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collabpipe.analysis.intervals import (
    NO_SPREAD,
    bootstrap_interval,
    grid_spread,
    p_value,
    relative_gain,
    resolvable_spread,
    sampling_error,
    t_interval,
)
from collabpipe.analysis.pairs import NAN, Criterion, Pair, weakest
from collabpipe.analysis.rivals import RivalChoice, by_place, shown_rival
from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.common.files import read_columns
from collabpipe.plan.paths import PREDICTIONS, Paths
from collabpipe.plan.study_recipes import StudyRecipe
from collabpipe.settings.claims import Claim

COMPARATORS = ("baseline", "control", "rival")
SURVIVAL = {"reproduced": "survives", "not reproduced": "does not survive"}
OfSeeds = Mapping[int, tuple[EvaluatedRun, EvaluatedRun]]


class Evidence:
    """A study's runs and costs, indexed once; predictions are read for compared runs alone."""

    def __init__(self, study: StudyRecipe, runs: Sequence[EvaluatedRun], overhead: pd.DataFrame | None, paths: Paths):
        self.study, self.runs, self.overhead = study, runs, overhead
        self.paths = paths
        self.cells = by_place(runs)
        self.rivals = RivalChoice(self.cells, paths)
        costs: list[dict[str, Any]] = [] if overhead is None else overhead.to_dict("records")  # type: ignore[assignment]
        self.costs = {(cost["dataset"], cost["network"], cost["method"]): cost for cost in costs}
        self._hits: dict[Path, NDArray[np.bool_] | None] = {}
        self._spreads: dict[tuple[str, str, str], tuple[float, tuple[float, float]]] = {}

    def on(self, test_set: str | None) -> Evidence:
        """The evidence on a further test set; None: on the data sets' own test images."""
        if test_set is None:
            return self
        runs = [run.further[test_set] for run in self.runs if test_set in run.further]
        return Evidence(self.study, runs, self.overhead, self.paths)

    def pair(
        self, metric: str, reading: str, place: str, method: str, other: str, confidence: float, read_at: str = ""
    ) -> Pair:
        """Compare a method with another over the replicates of both; the other is read at the epoch `read_at`."""
        if metric == "overhead":
            return self._ratio(reading, place, method, other, confidence)
        first, second = (self.cells.get(place, {}).get(name, {}) for name in (method, other))
        both = {seed: (first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())}
        if not both:
            return Pair(method, other)
        finished = {seed: runs for seed, runs in both.items() if all(run.finished for run in runs)}
        epoch, scale = reading.split()
        epochs = epoch, read_at or epoch
        if any(np.isnan(run.accuracy(at)) for runs in both.values() for run, at in zip(runs, epochs, strict=True)):
            return Pair(method, other, unresolved="trained on the validation images too: no best epoch")
        # Predictions are kept of the last epoch: of another one only the number of images is known.
        floor = self._resolvable(list(finished.values()), last=set(epochs) == {"last"})

        def over(compared: OfSeeds) -> Pair:
            a, b = (np.array([runs[side].accuracy(at) for runs in compared.values()]) for side, at in enumerate(epochs))
            gains = a - b if scale == "points" else relative_gain(a, b, "error" if metric == "error" else "accuracy")
            why = _unresolved(a - b, gains, floor)
            found = t_interval(gains, confidence)
            return Pair(
                method=method,
                other=other,
                estimate=found.mean,
                low=NAN if why else found.low,
                high=NAN if why else found.high,
                n=found.n,
                p=NAN if why else p_value(gains),
                runs=f"{place}/{{{method},{other}}}/seed{{{','.join(map(str, compared))}}}",
                differences=dict(zip(compared, gains.tolist(), strict=True)),
                confidence=confidence,
                unresolved=why,
            )

        if len(finished) == len(both):
            return over(both)
        gone, gone_too = (sum(not runs[side].finished for runs in both.values()) for side in (0, 1))
        without = over(finished) if finished else Pair(method, other)
        return replace(over(both), diverged=(gone, gone_too), finished=without)

    def _ratio(self, cost: str, place: str, method: str, other: str, confidence: float) -> Pair:
        """The ratio of two costs; of time the mean over the rounds that both were timed in, with its interval."""
        dataset, _, network = place.split("/")
        a, b = (self.costs.get((dataset, network, name), {}) for name in (method, other))
        if np.isnan([a.get(cost, NAN), b.get(cost, NAN)]).any():
            return Pair(method, other)
        estimate = low = high = a[cost] / b[cost]
        if cost == "step_seconds":
            # A round times both methods within moments, so load on the machine affects both.
            rounds = t_interval(np.array(a["rounds"]) / np.array(b["rounds"]), confidence)
            estimate, low, high = rounds.mean, rounds.low, rounds.high
        return Pair(method, other, estimate, low, high, 1, runs=f"overhead/{dataset}/{network}/{{{method},{other}}}")

    def compared(
        self, claim: Claim, reading: str, place: str, methods: Sequence[str], confidence: float
    ) -> dict[str, tuple[str, str]]:
        """For each comparator, whether the methods' gain survives it, and which method it was compared with.

        The weakest pair decides.
        """
        if claim.metric == "overhead":
            return {comparator: (f"no {comparator}", "") for comparator in COMPARATORS}
        epoch = reading.split()[0]
        here = self.cells.get(place, {})
        found = {}
        for comparator in COMPARATORS:
            others = {method: self._others(comparator, claim, epoch, place, method) for method in methods}
            if any(method not in here for method in methods):
                found[comparator] = "not run", ""
            elif not all(others.values()):
                found[comparator] = f"no {comparator}", ""
            else:
                pairs = [
                    (
                        self.pair(claim.metric, reading, place, method, name, confidence, at),
                        shown_rival((name, at), epoch),
                    )
                    for method, named in others.items()
                    for name, at in named
                ]
                criterion = Criterion(margin=claim.margin or 0.0)
                decisive = weakest([pair for pair, _ in pairs], criterion)
                word = decisive.judge(criterion)[0]
                found[comparator] = SURVIVAL.get(word, word), next(name for pair, name in pairs if pair is decisive)
        return found

    def _others(self, comparator: str, claim: Claim, epoch: str, place: str, method: str) -> list[tuple[str, str]]:
        """Names and epochs of what a method is compared with as its baseline, matched controls or rival."""
        if comparator == "baseline":
            return [(self.study.baseline, epoch)] if self.study.baseline not in (None, method) else []
        if comparator == "control":
            plain = self.study.controls.get(f"{place.split('/')[2]}/{method}")
            named = [claim.control] if claim.control else [plain, *self.study.tuned_controls.get(method, ())]
            return [(name, epoch) for name in named if name]
        rival = self.rivals.of(method, place, epoch, (*(claim.rival or ()), *self.study.rival))
        return [rival] if rival else []

    def spread(self, place: str, pair: Pair) -> tuple[float, tuple[float, float]]:
        """The test set's own error of a pair and its bootstrap interval; nan where predictions are missing."""
        key = (place, pair.method, pair.other)
        if key not in self._spreads:
            first, second = (
                [self._hits_of(self.cells[place][name][seed]) for seed in pair.differences] for name in key[1:]
            )
            self._spreads[key] = NAN, (NAN, NAN)
            if first and not any(hits is None for hits in (*first, *second)):
                a, b = np.array(first), np.array(second)
                self._spreads[key] = sampling_error(a, b), bootstrap_interval(a, b)
        return self._spreads[key]

    def _resolvable(self, compared: Sequence[tuple[EvaluatedRun, EvaluatedRun]], last: bool) -> float:
        """The smallest spread of differences, in points, that the test set can show; 0 without predictions."""
        hits = [(self._hits_of(first), self._hits_of(second)) for first, second in compared]
        known = [(a, b) for a, b in hits if a is not None and b is not None]
        if not known or len(known) < len(hits):
            return 0.0
        first, second = (np.array(side) for side in zip(*known, strict=True))
        return resolvable_spread(first, second) if last else grid_spread(first.shape[1])

    def _hits_of(self, run: EvaluatedRun) -> NDArray[np.bool_] | None:
        # An image's corrupted versions are no images of their own, which intervals over images would take them for.
        if not run.finished or "corruptions" in run.metrics:
            return None
        paths, name = self.paths, run.name
        folder = paths.test(name, run.test_set) if run.test_set else paths.evaluation(name)
        path = folder / PREDICTIONS
        if path not in self._hits:
            self._hits[path] = _read_hits(path) if path.exists() else None
        return self._hits[path]


def _unresolved(points: NDArray[np.float64], gains: NDArray[np.float64], floor: float) -> str:
    """Why paired differences, in points and in the reading's unit, have no interval to judge; empty if they have."""
    if len(points) < 2:
        return "one replicate"
    if not np.isfinite(gains).all():
        return "no relative gain: the other makes no error"
    spread = float(points.std(ddof=1))
    if spread < max(floor, NO_SPREAD) or gains.std(ddof=1) < NO_SPREAD:
        shown = f"{floor:.2g}" if floor else "something above zero"
        return f"differences spread by {spread:.2g} points, the test set can show {shown}"
    return ""


def _read_hits(path: Path) -> NDArray[np.bool_]:
    table = read_columns(path, ["label", "prediction"])
    return np.asarray(table["label"].to_numpy() == table["prediction"].to_numpy())
