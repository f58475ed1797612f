"""Takes results that came from elsewhere, as by a restore, into the store: then nothing makes them a second time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collabpipe.common.files import read_json, record_of, write_json
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe, evaluation_key
from collabpipe.results.state import State
from collabpipe.results.store import ASKED_FILE, Store

OF_THE_RUN = ("recipe", "run", "inputs", "choices", "composition", "training", "digest", "seal", "key", "files")
"""What a record says of its run; all else is the result, which another run may share."""


def key_of(recipe: TrainRecipe, record: Mapping[str, Any]) -> str:
    """The key that a training of `recipe` has by the inputs and choices in its record."""
    return recipe.decided(record).key(record["inputs"])


def adopt(plan: Plan, state: State) -> None:
    """Take in every training and evaluation of the study's recipes that the store lacks.

    Nothing is read but records: the store checks the files' sums when it is asked for them.
    """
    store, paths = Store(plan.paths.store), plan.paths
    for name, record in state.records.items():
        recipe, folder = plan.trainings[name], paths.run(plan.trainings[name].run)
        if _lacks(store, record) and record["key"] == key_of(recipe, record):
            _adopt(record, folder, store, paths, {"cost": None})
            asked = recipe.decided(record).asked_digest
            write_json(store.folder(record["key"]) / ASKED_FILE, {"asked": asked, "run": name}, durable=False)
    for name, metrics in state.metrics.items():
        made_from = metrics["inputs"]
        if _lacks(store, metrics) and metrics["key"] == evaluation_key(made_from["training"], made_from["test.arrow"]):
            inputs = {"inputs": made_from}
            _adopt(metrics, paths.evaluation(plan.runs[name].run), store, paths, inputs)


def link_again(plan: Plan) -> None:
    """Let the store's files be links to the runs' again, after DVC put copies into the place of linked files.

    The two are equal: for a finished study whose files have the sums of their records.
    """
    store, paths = Store(plan.paths.store), plan.paths
    for recipes, folder_of, name in (
        (plan.trainings, paths.run, "record.json"),
        (plan.runs, paths.evaluation, "metrics.json"),
    ):
        for recipe in recipes.values():
            folder = folder_of(recipe.run)
            record = read_json(folder / name)
            store.link_again(record["key"], folder, record["files"])


def _lacks(store: Store, record: Mapping[str, Any]) -> bool:
    return not (store.folder(record["key"]) / "result.json").exists()


def _adopt(record: Mapping[str, Any], folder: Path, store: Store, paths: Paths, more: Mapping[str, Any]) -> None:
    where = record_of(paths.provenance(folder))
    about = {name: value for name, value in record.items() if name not in OF_THE_RUN}
    making = {name: where.pop(name, value) for name, value in more.items()}
    store.adopt(record["key"], folder, record["files"], {**about, **making, "where": where})
