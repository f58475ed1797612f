"""Records of results, checked against their recipes when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from collabpipe.catalogue.sources import IMAGE_FOLDER
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import json_digest, read_record
from collabpipe.plan.paths import ANNOTATIONS, RECORD, TEST
from collabpipe.plan.recipes import EVALUATION_NUMERICS, DataRecipe, TrainRecipe
from collabpipe.plan.record_types import DataRecord, TrainingRecord
from collabpipe.settings.test_sets import CorruptionSettings


def training_record(recipe: TrainRecipe, folder: Path) -> TrainingRecord:
    """The record of the training in `folder`.

    Raises:
        CollabpipeError: missing, or of another recipe.
    """
    record: TrainingRecord = read_record(folder / RECORD, "Train the run: collabpipe train RECIPE.")
    if record.get("recipe") != recipe.digest:
        raise CollabpipeError(
            f"{folder}: holds a checkpoint of another recipe ({str(record.get('recipe'))[:12]}, asked for "
            f"{recipe.digest[:12]}). Train it again: collabpipe train RECIPE."
        )
    return record


def evaluated_files(data: DataRecipe) -> tuple[str, ...]:
    """The files of a data set that an evaluation is made from: the test set and, if it has any, the images' names."""
    return (TEST, ANNOTATIONS) if data.source == IMAGE_FOLDER else (TEST,)


def evaluation_inputs(training: str, data: DataRecipe, record: DataRecord) -> dict[str, str]:
    """The digests of what an evaluation is made from: the training, and files that a data set's `record` names."""
    return {"training": training} | {name: record["files"][name]["sha256"] for name in evaluated_files(data)}


def evaluation_key(inputs: Mapping[str, str], corruptions: CorruptionSettings | None = None) -> str:
    """The digest that an evaluation is stored under, by its inputs and by what the test images are corrupted with."""
    names = {"names": inputs[ANNOTATIONS]} if ANNOTATIONS in inputs else {}
    asked = {"evaluation": EVALUATION_NUMERICS, "training": inputs["training"], "test": inputs[TEST]}
    corrupted = {"corruptions": corruptions.model_dump(mode="json")} if corruptions else {}
    return json_digest(asked | names | corrupted)
