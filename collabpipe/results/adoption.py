"""Adds results from elsewhere, for example from a restore, to the store, so that they are not made again."""

from __future__ import annotations

from collections.abc import Mapping

from collabpipe.common.files import read_json, record_of, write_json
from collabpipe.plan.paths import ASKED_FILE, RESULT_FILE, Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.record_types import Asked, MetricsRecord, TrainingRecord
from collabpipe.results.artefact import AnyArtefact
from collabpipe.results.artefacts import artefacts
from collabpipe.results.run_artefacts import Checkpoint, Predictions
from collabpipe.results.state import State
from collabpipe.results.store import Store

OF_THE_RUN = (
    "recipe",
    "run",
    "test_set",
    "inputs",
    "choices",
    "composition",
    "training",
    "digest",
    "seal",
    "key",
    "files",
)
"""The fields of a record that belong to its run. All others belong to the result, which several runs may share."""


def adopt(plan: Plan, state: State) -> None:
    """Take in every training and evaluation of the study's recipes that the store lacks.

    Nothing is read but records: the store checks the files' sums when it is asked for them.
    """
    store, paths = Store(plan.paths.store), plan.paths
    for artefact, record in state.artefacts.items():
        if not record or "key" not in record or (store.folder(record["key"]) / RESULT_FILE).exists():
            continue
        if isinstance(artefact, Checkpoint) and record["key"] == artefact.store_key(record):
            _adopt(artefact, record, store, paths, {"cost": None})
            asked = artefact.recipe.decided(record).asked_digest
            about: Asked = {"asked": asked, "run": artefact.key}
            write_json(store.folder(record["key"]) / ASKED_FILE, about, durable=False)
        elif isinstance(artefact, Predictions) and record["key"] == artefact.store_key(record):
            _adopt(artefact, record, store, paths, {"inputs": record["inputs"]})


def link_again(plan: Plan) -> None:
    """Replace the store's files by links to the runs' files.

    `dvc repro`, `dvc commit` and `dvc checkout` replace links by copies, which take twice the space.

    Call it for a finished study whose files have the sums in their records, so that both are equal.
    """
    store = Store(plan.paths.store)
    for artefact in artefacts(plan):
        if isinstance(artefact, Checkpoint | Predictions):
            record: TrainingRecord | MetricsRecord = read_json(artefact.record)
            store.link_again(record["key"], artefact.folder, record["files"])


def _adopt(
    artefact: AnyArtefact,
    record: TrainingRecord | MetricsRecord,
    store: Store,
    paths: Paths,
    more: Mapping[str, object],
) -> None:
    where = record_of(paths.provenance(artefact.folder))
    about = {name: value for name, value in record.items() if name not in OF_THE_RUN}
    making = {name: where.pop(name, value) for name, value in more.items()}
    store.adopt(record["key"], artefact.folder, record["files"], {**about, **making, "where": where})
