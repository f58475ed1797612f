"""The test command: predictions and metrics of trained runs on further test sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError
from collabpipe.data.prepared import GROUP, Images, data_record, file_names, group_names, open_images
from collabpipe.jobs.evaluate import (
    CORRUPTION,
    DIVERGED,
    by_corruption,
    evaluated,
    judged,
    keep_evaluation,
    mean_of,
    prediction_table,
    predictors,
    write_predictions,
)
from collabpipe.plan.paths import Paths
from collabpipe.plan.recipes import FurtherRecipe, TrainRecipe
from collabpipe.plan.record_types import Metrics, TrainingRecord
from collabpipe.results.records import evaluation_inputs, training_record
from collabpipe.settings.test_sets import CorruptionSettings


def evaluate_further(recipe: FurtherRecipe, paths: Paths, jobs_per_gpu: int = 1) -> None:
    """Write predictions.parquet and metrics.json of a run on a further test set, from the store or by its weights.

    Raises:
        CollabpipeError: inputs that are missing, broken or of another recipe; other classes or another shape of images.
    """
    record = training_record(recipe.trained, paths.run(recipe.run))
    dataset = paths.dataset(recipe.data.dataset)
    inputs = evaluation_inputs(record["digest"], recipe.data, data_record(recipe.data, dataset))

    def make(predictions: Path) -> tuple[Metrics, str]:
        table, metrics, device = tested(recipe, record, paths)
        write_predictions(predictions, table, inputs)
        return metrics, device

    keep_evaluation(recipe, inputs, paths.test(recipe.run, recipe.name), paths, jobs_per_gpu, make)


def tested(recipe: FurtherRecipe, record: TrainingRecord, paths: Paths) -> tuple[pa.Table, Metrics, str]:
    """The predictions of a run on a further test set, its status with the metrics, and the device.

    Raises:
        CollabpipeError: other classes or another shape of images than the run was trained on, or weights that were not
            kept or are not those of the record.
    """
    trained, folder = recipe.trained.decided(record), paths.run(recipe.run)
    images = _as_trained(recipe, paths)
    if recipe.corruptions:
        return _on_corruptions(trained, record, folder, images, recipe.corruptions)
    dataset = paths.dataset(recipe.data.dataset)
    groups = group_names(recipe.data, dataset, "test")
    names = {"file": file_names(recipe.data, dataset, "test"), GROUP: groups}
    logits, metrics, device = evaluated(trained, record, folder, images, groups)
    return prediction_table(images.labels[: len(logits)], logits, names), metrics, device


def _as_trained(recipe: FurtherRecipe, paths: Paths) -> Images:
    """The test images, scaled as those that were trained on, with labels that count the same classes."""
    data = recipe.trained.labels.data
    own = data_record(data, paths.dataset(data.dataset))
    images = open_images(recipe.data, paths.dataset(recipe.data.dataset), "test")
    classes, shape = tuple(own["classes"]), tuple(own["shape"])
    for what, known, found in (
        ("classes", sorted(classes), sorted(images.classes)),
        ("images of shape (channels, height, width)", shape, images.images.shape[1:]),
    ):
        if found != known:
            raise CollabpipeError(
                f"test set {recipe.name}: has {what} {_listed(found)}, and data set {data.dataset}, which "
                f"{recipe.run} was trained on, has {_listed(known)}. Give it the same, or take {recipe.name} out of "
                f"datasets.{data.dataset}.test_on."
            )
    numbers = np.array([classes.index(name) for name in images.classes])
    return replace(
        images, labels=numbers[images.labels], classes=classes, mean=tuple(own["mean"]), std=tuple(own["std"])
    )


def _listed(values: object) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list) else str(values)


def _on_corruptions(
    recipe: TrainRecipe, record: TrainingRecord, folder: Path, images: Images, asked: CorruptionSettings
) -> tuple[pa.Table, Metrics, str]:
    """Every corruption at every severity, made for all weights at once. Logits would fill disks and are not kept."""
    if record["status"] == "diverged":
        return _corrupted_table([]), DIVERGED, "cpu"
    from collabpipe.data.corruptions import corrupted
    from collabpipe.training.device import choose_device, describe

    predict = predictors(recipe, record, folder, images)
    found: dict[str, list[pa.Table] | None] = {which: [] for which in predict}
    for kind in asked.kinds:
        for severity in asked.severities:
            changed = replace(images, images=corrupted(images.images, kind, severity, asked.seed))
            for which, logits_of in predict.items():
                logits, parts = logits_of(changed), found[which]
                if parts is None or not np.isfinite(logits).all():
                    found[which] = None
                else:
                    parts.append(_predicted(kind, severity, images.labels, logits))
    tables = {which: _corrupted_table(parts or []) for which, parts in found.items()}
    accuracies = {which: by_corruption(table) if found[which] else None for which, table in tables.items()}
    scores = {which: None if of is None else mean_of(of) for which, of in accuracies.items()}
    metrics = judged(recipe, record, scores)
    if accuracies["last"] is not None:
        metrics["corruptions"] = accuracies["last"]
    return tables["last"], metrics, describe(choose_device())


COLUMNS = {
    CORRUPTION: pa.dictionary(pa.int8(), pa.string()),
    "severity": pa.int8(),
    "index": pa.int64(),
    "label": pa.int64(),
    "prediction": pa.int64(),
}


def _predicted(kind: str, severity: int, labels: NDArray[np.int64], logits: NDArray[np.float32]) -> pa.Table:
    size = len(labels)
    columns = ([kind] * size, np.full(size, severity), np.arange(size), labels, logits.argmax(1))
    arrays = [pa.array(values, type=form) for values, form in zip(columns, COLUMNS.values(), strict=True)]
    return pa.table(arrays, names=list(COLUMNS))


def _corrupted_table(parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables([pa.schema(list(COLUMNS.items())).empty_table(), *parts]).unify_dictionaries()
