"""Finds out which of a study's artefacts exist and are up to date.

It compares the digests that artefacts record and never looks at times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collabpipe.common.errors import CollabpipeError
from collabpipe.data.own import own_files
from collabpipe.data.raw import check_reachable, locate, wanted_files
from collabpipe.plan.data_recipes import LabelsKey
from collabpipe.plan.plan import ChoiceKey, Plan
from collabpipe.plan.record_types import MetricsRecord
from collabpipe.results.artefact import AnyArtefact, Known
from collabpipe.results.artefacts import artefacts
from collabpipe.results.run_artefacts import Evaluation


@dataclass(frozen=True)
class State:
    """The artefacts of a study that exist and fit the plan."""

    data: frozenset[str]
    labels: frozenset[LabelsKey]
    trained: frozenset[str]
    chosen: frozenset[ChoiceKey]
    evaluated: frozenset[str]
    overhead: bool
    tables: bool
    figures: bool
    report: bool
    artefacts: Mapping[AnyArtefact, Any]
    """All artefacts of the plan in the order of the work, each with its record; None if it has none of its recipe.

    Inputs may have changed since: only `known` leaves out artefacts whose inputs no longer fit.
    """
    known: Known
    """The digests of all up-to-date artefacts."""

    def has(self, artefact: AnyArtefact) -> bool:
        """Whether an artefact exists and is up to date."""
        return artefact.record in self.known

    @property
    def metrics(self) -> dict[str, MetricsRecord]:
        """The record of each evaluation that was made from the run's recipe, by the run's name."""
        found = self.artefacts.items()
        return {one.key: record for one, record in found if isinstance(one, Evaluation) and record}

    def complete(self, plan: Plan) -> bool:
        """Whether nothing is left to be done."""
        shown = self.tables and self.figures and self.report
        return shown and len(self.data) == len(plan.data) and len(self.labels) == len(plan.labels)


def look(plan: Plan) -> State:
    """The up-to-date artefacts of the plan. Changes nothing."""
    known: Known = {}
    found: dict[AnyArtefact, Any] = {}
    for artefact in artefacts(plan):
        record = artefact.found()
        found[artefact] = record if record and artefact.asks(record) and artefact.is_whole() else None
        if found[artefact] and artefact.fits(record, known):  # in the order of the work: its inputs are known by now
            known |= artefact.vouches(record)
    done: dict[str, set[Any]] = {}
    for artefact in found:
        if artefact.record in known:
            done.setdefault(artefact.kind, set()).add(artefact.key)

    def keys(*kinds: str) -> frozenset[Any]:
        return frozenset().union(*(done.get(kind, ()) for kind in kinds))

    return State(
        data=keys("data set"),
        labels=keys("label file"),
        trained=keys("checkpoint", "candidate"),
        chosen=keys("choice"),
        evaluated=keys("evaluation"),
        overhead="overhead" in done,
        tables="tables" in done,
        figures="figures" in done,
        report="report" in done,
        artefacts=found,
        known=known,
    )


def check_files(plan: Plan, state: State) -> None:
    """Look for the files of every data set that is still to be prepared, before any job does.

    Raises:
        CollabpipeError: files are missing and cannot be downloaded, or an image folder is not laid out as one; with
            file, line and key.
    """
    faults = []
    for name, data in plan.data.items():
        if name in state.data:
            continue
        folder, raw = plan.data_dir(name), plan.paths.raw(name)
        try:
            if folder is not None:
                own_files(data, folder)
            else:
                missing = [file for file in wanted_files(data, raw) if not locate(raw, file.name)]
                mirrors = plan.settings.image_sets[name].mirrors
                check_reachable(data, raw, missing, mirrors, plan.settings.execution.offline)
        except CollabpipeError as error:
            section = "datasets" if name in plan.settings.datasets else "test_sets"
            faults.append(f"{plan.place(section, name, 'data_dir')}: {error}")
    if faults:
        raise CollabpipeError("\n".join(faults))
