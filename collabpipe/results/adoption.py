"""Takes results that came from elsewhere, as by a restore, into the store: then nothing makes them a second time."""

from __future__ import annotations

from collections.abc import Mapping

from collabpipe.common.files import read_json, record_of, write_json
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.results.artefacts import AnyArtefact, Checkpoint, Evaluation, Record, artefacts
from collabpipe.results.state import State
from collabpipe.results.store import ASKED_FILE, RESULT_FILE, Store

OF_THE_RUN = ("recipe", "run", "inputs", "choices", "composition", "training", "digest", "seal", "key", "files")
"""What a record says of its run; all else is the result, which another run may share."""


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
            about = {"asked": asked, "run": artefact.key}
            write_json(store.folder(record["key"]) / ASKED_FILE, about, durable=False)
        elif isinstance(artefact, Evaluation) and record["key"] == artefact.store_key(record):
            _adopt(artefact, record, store, paths, {"inputs": record["inputs"]})


def link_again(plan: Plan) -> None:
    """Let the store's files be links to the runs' again, after DVC put copies into the place of linked files.

    The two are equal: for a finished study whose files have the sums of their records.
    """
    store = Store(plan.paths.store)
    for artefact in artefacts(plan):
        if isinstance(artefact, Checkpoint | Evaluation):
            record = read_json(artefact.record)
            store.link_again(record["key"], artefact.folder, record["files"])


def _adopt(artefact: AnyArtefact, record: Record, store: Store, paths: Paths, more: Mapping[str, object]) -> None:
    where = record_of(paths.provenance(artefact.folder))
    about = {name: value for name, value in record.items() if name not in OF_THE_RUN}
    making = {name: where.pop(name, value) for name, value in more.items()}
    store.adopt(record["key"], artefact.folder, record["files"], {**about, **making, "where": where})
