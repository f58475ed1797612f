"""Looks at what exists of what is asked for: by the digests that artefacts record, never by times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collabpipe.common.errors import CollabpipeError
from collabpipe.data.own import own_files
from collabpipe.plan.plan import ChoiceKey, LabelsKey, Plan
from collabpipe.results.artefacts import AnyArtefact, Evaluation, Known, Record, artefacts


@dataclass(frozen=True)
class State:
    """What exists of a study, as it is asked for."""

    data: frozenset[str]
    labels: frozenset[LabelsKey]
    trained: frozenset[str]
    chosen: frozenset[ChoiceKey]
    evaluated: frozenset[str]
    overhead: bool
    tables: bool
    figures: bool
    artefacts: Mapping[AnyArtefact, Record]
    """All that is asked for, in the order of the work, with the record of each that is of its recipe, else none.

    The inputs of what has a record may be others by now: `known` has those alone that fit.
    """
    known: Known
    """The digests of all that is as asked."""

    def has(self, artefact: AnyArtefact) -> bool:
        """Whether an artefact is there as asked."""
        return artefact.record in self.known

    @property
    def metrics(self) -> dict[str, Record]:
        """The record of each evaluation that is of the run's recipe, by the run's name."""
        found = self.artefacts.items()
        return {one.key: record for one, record in found if isinstance(one, Evaluation) and record}

    def complete(self, plan: Plan) -> bool:
        """Whether nothing is left to be done."""
        shown = self.tables and self.figures
        return shown and len(self.data) == len(plan.data) and len(self.labels) == len(plan.labels)


def look(plan: Plan) -> State:
    """What of the plan is there as asked; changes nothing."""
    known: Known = {}
    found: dict[AnyArtefact, Record] = {}
    for artefact in artefacts(plan):
        record = artefact.found()
        found[artefact] = record if artefact.asks(record) and artefact.is_whole() else {}
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
        artefacts=found,
        known=known,
    )


def check_own_files(plan: Plan, state: State) -> None:
    """Look into the data_dir of every data set that is still to be prepared, before any job does.

    Raises:
        CollabpipeError: files are missing, or an image folder is not laid out as one; with file, line and key.
    """
    faults = []
    for name, data in plan.data.items():
        folder = plan.data_dir(name)
        if name not in state.data and folder is not None:
            try:
                own_files(data, folder)
            except CollabpipeError as error:
                faults.append(f"{plan.place('datasets', name, 'data_dir')}: {error}")
    if faults:
        raise CollabpipeError("\n".join(faults))
