"""The rival of a place: of the methods named by claims or study, the one that is best on validation images.

Nothing here reads a test image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.common.files import read_columns, read_record
from collabpipe.plan.paths import Paths
from collabpipe.plan.recipes import TrainRecipe, read_recipe
from collabpipe.plan.record_types import ChoiceRecord
from collabpipe.settings.claims import Rivals

Cells = Mapping[str, Mapping[str, Mapping[int, EvaluatedRun]]]
"""Runs by place (`dataset/noise/network`), method and seed."""


def by_place(runs: Sequence[EvaluatedRun]) -> Cells:
    """The runs, indexed."""
    cells: dict[str, dict[str, dict[int, EvaluatedRun]]] = {}
    for run in runs:
        name = run.name
        place = f"{name.dataset}/{name.noise}/{name.network}"
        cells.setdefault(place, {}).setdefault(name.method, {})[name.seed] = run
    return cells


class RivalChoice:
    """Chooses among named rivals by the mean over replicates of their accuracy on noisy validation labels."""

    def __init__(self, cells: Cells, paths: Paths):
        self.cells = cells
        self.paths = paths
        self._scores: dict[tuple[str, str, str], float] = {}

    def of(self, method: str, place: str, epoch: str, named: Rivals) -> tuple[str, str] | None:
        """Name and epoch of the rival of a `method` (itself excluded) that is read at `epoch`; None: none was run.

        Of equal ones the first is taken; a single one needs no score, and one without a score loses to any with one.
        """
        here = self.cells.get(place, {})
        known = [one.at(epoch) for one in named if one.method != method and one.method in here]
        # Where trainings took all images there is no best epoch.
        found = [(n, at) for n, at in known if not any(np.isnan(run.accuracy(at)) for run in here[n].values())]
        if len(found) < 2:
            return next(iter(found), None)
        return found[int(np.argmax([self._score(place, *one) for one in found]))]

    def _score(self, place: str, method: str, epoch: str) -> float:
        key = (place, method, epoch)
        if key not in self._scores:
            runs = list(self.cells[place][method].values())
            mean = float(np.mean([self._validation(run, epoch) for run in runs]))
            self._scores[key] = self._when_chosen(runs[0]) if np.isnan(mean) else mean
        return self._scores[key]

    def _validation(self, run: EvaluatedRun, epoch: str) -> float:
        """Accuracy in percent on the noisy validation labels."""
        if not run.finished:
            return run.if_diverged
        path = self.paths.history(run.name)
        accuracies = 100.0 * read_columns(path, ["validation_accuracy"]).column(0).to_numpy()
        return float(accuracies[-1] if epoch == "last" else np.nanmax(accuracies))

    def _when_chosen(self, run: EvaluatedRun) -> float:
        """The chosen candidate's accuracy on validation images, which the run itself trained on; -1: not searched."""
        asked = read_recipe(self.paths.recipe(run.record["recipe"]), TrainRecipe).undecided
        name = run.name
        if asked is None or name.method not in asked.choices:
            return -1.0
        noise = asked.choices[name.method].noise
        choice: ChoiceRecord = read_record(self.paths.choice(name.dataset, noise, name.network, name.method))
        mean = choice["candidates"][choice["chosen"]]["mean"]
        return -1.0 if mean is None else 100.0 * mean


def shown_rival(rival: tuple[str, str], epoch: str = "last") -> str:
    """A rival's name, with its epoch where that is not the reading's."""
    return rival[0] if rival[1] == epoch else f"{rival[0]} ({rival[1]} epoch)"
