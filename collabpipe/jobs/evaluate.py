"""The evaluate command: test predictions and metrics of trained runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, sealed, write_json
from collabpipe.common.whereabouts import whereabouts
from collabpipe.data.prepared import GROUP, Images, data_record, file_names, group_names, open_images
from collabpipe.host.gpu_lease import lease_device
from collabpipe.plan.paths import METRICS, PREDICTIONS, Paths
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.plan.record_types import (
    EvaluationProvenance,
    EvaluationResult,
    Keep,
    Metrics,
    MetricsRecord,
    Status,
    StoredEvaluation,
    TrainingRecord,
)
from collabpipe.results.provenance import note
from collabpipe.results.records import evaluation_inputs, evaluation_key, training_record
from collabpipe.results.retention import thin
from collabpipe.results.store import Store
from collabpipe.training.scores import is_collapsed, score


def evaluate(recipe: TrainRecipe, paths: Paths, keep: Keep = "all", jobs_per_gpu: int = 1) -> None:
    """Write predictions.parquet and metrics.json of a run, from the store or by running its weights on the test set.

    Afterwards the run keeps of its weights what `keep` says.

    Raises:
        CollabpipeError: inputs that are missing, broken or of another recipe.
    """
    folder = paths.run(recipe.run)
    record = training_record(recipe, folder)
    dataset = paths.dataset(recipe.run.dataset)
    inputs = evaluation_inputs(record["digest"], recipe.labels.data, data_record(recipe.labels.data, dataset))
    key = evaluation_key(inputs)
    store = Store(paths.store)
    with store.writing(key):
        stored = store.find(key) is not None
    if not stored:
        lease_device(jobs_per_gpu)  # between two claims, as in training
    with store.writing(key) as writer:
        result: StoredEvaluation | None = store.find(key)
        if result is None:
            images = open_images(recipe.labels.data, dataset, "test")
            groups = group_names(recipe.labels.data, dataset, "test")
            names = {"file": file_names(recipe.labels.data, dataset, "test"), GROUP: groups}
            from collabpipe.training.device import enough_memory

            with enough_memory(str(recipe.run)):
                logits, metrics, device = evaluated(recipe, record, folder, images, groups)
            _write_predictions(writer.folder / PREDICTIONS, images.labels[: len(logits)], logits, names, inputs)
            writer.check()
            about: EvaluationResult = {"inputs": inputs, **metrics, "where": whereabouts(device)}
            result = cast(StoredEvaluation, store.finish(key, [PREDICTIONS], about))
        folder = paths.evaluation(recipe.run)
        store.place(key, result, folder)
        _record(recipe, result, folder)
        where: EvaluationProvenance = {**result["where"], "evaluation": key}
        note(paths, folder, where)
    thin(recipe.run, paths, keep)


def _record(recipe: TrainRecipe, result: StoredEvaluation, folder: Path) -> None:
    record: MetricsRecord = {
        "recipe": recipe.digest,
        "run": recipe.run.model_dump(),
        "inputs": result["inputs"],
        "status": result["status"],
        "last": result["last"],
        "best": result["best"],
        "collapsed": result["collapsed"],
        "key": result["key"],
        "digest": result["key"],
        "files": result["files"],
    }
    write_json(folder / METRICS, sealed(record))


SMALL: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["label", "prediction"],
    # The last bytes of all logits lie together: in bfloat16 they are zero.
    "column_encoding": {"index": "DELTA_BINARY_PACKED", "logits.list.element": "BYTE_STREAM_SPLIT"},
}
"""How predictions are written: a third of the bytes that Parquet takes by default."""


def evaluated(
    recipe: TrainRecipe, record: TrainingRecord, folder: Path, images: Images, groups: Sequence[str] | None
) -> tuple[NDArray[np.float32], Metrics, str]:
    """The last epoch's logits (N, K), status and metrics of the last and of the best weights, and the device.

    `groups`: the group of each image, such as its video; None if images have none.

    A run whose weights, the last or the best, give an image a logit that is not finite has diverged, although its
    training has not: a test image can be larger than all that were trained on.

    Raises:
        CollabpipeError: weights that were not kept or are not those of the record.
    """
    if record["status"] == "diverged":
        nothing = np.zeros((0, len(images.classes)), np.float32)
        return nothing, {"status": "diverged", "last": None, "best": None, "collapsed": None}, "cpu"
    from collabpipe.training import device as devices

    if record.get("kept", "all") != "all":
        raise CollabpipeError(
            f"{folder}: its weights were not kept (keep_weights: {record['kept']}), so it cannot be evaluated again. "
            "Train it again: collabpipe train RECIPE."
        )
    logits = {which: _logits(recipe, record, folder, images, which) for which in scored(recipe)}
    scores = {which: score(found, images.labels, groups) for which, found in logits.items()}
    status = outcome(recipe, scores)
    last, best = scores["last"], scores.get("best")
    if best is not None and record["best_epoch"] is not None:
        best["epoch"] = record["best_epoch"]
    collapsed = is_collapsed(logits["last"]) if status == "finished" else None
    metrics: Metrics = {"status": status, "last": last, "best": best, "collapsed": collapsed}
    return logits["last"], metrics, devices.describe(devices.choose_device())


def scored(recipe: TrainRecipe) -> tuple[str, ...]:
    """The weights that have metrics: after a refit no epoch was chosen."""
    return ("last",) if recipe.refit else ("last", "best")


def outcome(recipe: TrainRecipe, metrics: Mapping[str, object]) -> Status:
    """The status of a run by its metrics: diverged where weights have none."""
    return "diverged" if any(metrics[which] is None for which in scored(recipe)) else "finished"


def _logits(
    recipe: TrainRecipe, record: TrainingRecord, folder: Path, images: Images, which: str
) -> NDArray[np.float32]:
    from collabpipe.training.batches import Pixels
    from collabpipe.training.checkpoint import load_network, read_weights
    from collabpipe.training.device import be_deterministic, choose_device
    from collabpipe.training.measure import predict

    be_deterministic(recipe.training.threads)
    device = choose_device()
    weights = read_weights(folder, which, record)
    network = load_network(recipe, weights, images.images.shape[1], len(images.classes))
    logits = predict(network.to(device), Pixels.of(images, None, device), recipe.training.precision)
    found: NDArray[np.float32] = logits.cpu().numpy()
    return found


def metrics_of(folder: Path) -> dict[str, float] | None:
    """The metrics of the last epoch from the predictions in `folder`, None if it diverged."""
    table = pq.read_table(folder / PREDICTIONS)
    labels = table["label"].to_numpy()
    logits = table["logits"].combine_chunks().flatten().to_numpy()
    groups = table[GROUP].to_pylist() if GROUP in table.column_names else None
    return score(logits.reshape(len(labels), -1), labels, groups) if len(labels) else None


def _write_predictions(
    path: Path,
    labels: NDArray[np.int64],
    logits: NDArray[np.float32],
    names: dict[str, list[str] | None],
    inputs: dict[str, str],
) -> None:
    size, classes = logits.shape
    table = pa.table(
        {
            "index": np.arange(size),
            **{column: of_images[:size] for column, of_images in names.items() if of_images},
            "label": labels,
            "prediction": logits.argmax(1),
            "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1)), classes),
        }
    )
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(inputs), temporary, **SMALL)
