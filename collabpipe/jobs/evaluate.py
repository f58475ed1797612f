"""The evaluate command: test predictions and metrics of trained runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, read_columns, sealed, write_json
from collabpipe.common.whereabouts import whereabouts
from collabpipe.data.prepared import GROUP, Images, data_record, file_names, group_names, open_images
from collabpipe.host.gpu_lease import lease_device
from collabpipe.plan.paths import METRICS, PREDICTIONS, Paths
from collabpipe.plan.recipes import FurtherRecipe, TrainRecipe
from collabpipe.plan.record_types import (
    EvaluationProvenance,
    EvaluationResult,
    Keep,
    Metrics,
    MetricsRecord,
    Scores,
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

    def make(predictions: Path) -> tuple[Metrics, str]:
        images = open_images(recipe.labels.data, dataset, "test")
        groups = group_names(recipe.labels.data, dataset, "test")
        names = {"file": file_names(recipe.labels.data, dataset, "test"), GROUP: groups}
        logits, metrics, device = evaluated(recipe, record, folder, images, groups)
        write_predictions(predictions, prediction_table(images.labels[: len(logits)], logits, names), inputs)
        return metrics, device

    keep_evaluation(recipe, inputs, paths.evaluation(recipe.run), paths, jobs_per_gpu, make)
    thin(recipe.run, paths, keep)


def keep_evaluation(
    recipe: TrainRecipe | FurtherRecipe,
    inputs: dict[str, str],
    folder: Path,
    paths: Paths,
    jobs_per_gpu: int,
    make: Callable[[Path], tuple[Metrics, str]],
) -> None:
    """Put an evaluation into `folder`: the one that the store has, or else the one that is made now.

    Args:
        recipe: what is asked for.
        inputs: digests of what the evaluation is made from.
        folder: where its files belong.
        paths: of the study.
        jobs_per_gpu: how many jobs may share a GPU.
        make: writes the predictions to a path, and returns the metrics and the device.
    """
    further = recipe if isinstance(recipe, FurtherRecipe) else None
    key = evaluation_key(inputs, further.corruptions if further else None)
    store = Store(paths.store)
    with store.writing(key):
        stored = store.find(key) is not None
    if not stored:
        lease_device(jobs_per_gpu)  # between two claims, as in training
    with store.writing(key) as writer:
        result: StoredEvaluation | None = store.find(key)
        if result is None:
            from collabpipe.training.device import enough_memory

            with enough_memory(str(recipe.run)):
                metrics, device = make(writer.folder / PREDICTIONS)
            writer.check()
            about: EvaluationResult = {"inputs": inputs, **metrics, "where": whereabouts(device)}
            result = cast(StoredEvaluation, store.finish(key, [PREDICTIONS], about))
        store.place(key, result, folder)
        record = _record(recipe, result)
        if further:
            record["test_set"] = further.name
        write_json(folder / METRICS, sealed(record))
        where: EvaluationProvenance = {**result["where"], "evaluation": key}
        note(paths, folder, where)


def _record(recipe: TrainRecipe | FurtherRecipe, result: StoredEvaluation) -> MetricsRecord:
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
    if "corruptions" in result:
        record["corruptions"] = result["corruptions"]
    return record


CORRUPTION = "corruption"
"""The column of predictions on corrupted images that names the corruption."""
SMALL: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["label", "prediction"],
    # The last bytes of all logits lie together: in bfloat16 they are zero.
    "column_encoding": {"index": "DELTA_BINARY_PACKED", "logits.list.element": "BYTE_STREAM_SPLIT"},
}
"""How predictions are written: a third of the bytes that Parquet takes by default."""

DIVERGED: Metrics = {"status": "diverged", "last": None, "best": None, "collapsed": None}
"""The metrics of a run whose training diverged: it has no weights."""


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
        return nothing, DIVERGED, "cpu"
    from collabpipe.training import device as devices

    logits = {which: predict(images) for which, predict in predictors(recipe, record, folder, images).items()}
    metrics = judged(recipe, record, {which: score(of, images.labels, groups) for which, of in logits.items()})
    if metrics["status"] == "finished":
        metrics["collapsed"] = is_collapsed(logits["last"])
    return logits["last"], metrics, devices.describe(devices.choose_device())


def judged(recipe: TrainRecipe, record: TrainingRecord, scores: Mapping[str, Scores | None]) -> Metrics:
    """The status and metrics of a run, from the scores of its weights. It says nothing of a collapse.

    `scores`: of the last and, if an epoch was chosen, of the best weights; None where a logit is not finite.
    """
    last, best = scores["last"], scores.get("best")
    if best is not None and record["best_epoch"] is not None:
        best["epoch"] = record["best_epoch"]
    return {"status": outcome(recipe, scores), "last": last, "best": best, "collapsed": None}


def scored(recipe: TrainRecipe) -> tuple[str, ...]:
    """The weights that have metrics: after a refit no epoch was chosen."""
    return ("last",) if recipe.refit else ("last", "best")


def outcome(recipe: TrainRecipe, metrics: Mapping[str, object]) -> Status:
    """The status of a run by its metrics: diverged where weights have none."""
    return "diverged" if any(metrics[which] is None for which in scored(recipe)) else "finished"


def predictors(
    recipe: TrainRecipe, record: TrainingRecord, folder: Path, like: Images
) -> dict[str, Callable[[Images], NDArray[np.float32]]]:
    """For the last and the best weights of a run what gives images their logits (N, K).

    Args:
        recipe: of the run.
        record: of its training.
        folder: the run's.
        like: images of the shape and with the classes of those that are predicted.

    Raises:
        CollabpipeError: weights that were not kept or are not those of the record.
    """
    from collabpipe.training.batches import Pixels
    from collabpipe.training.checkpoint import load_network, read_weights
    from collabpipe.training.device import be_deterministic, choose_device
    from collabpipe.training.measure import predict

    if record.get("kept", "all") != "all":
        raise CollabpipeError(
            f"{folder}: its weights were not kept (keep_weights: {record['kept']}), so it cannot be evaluated again. "
            "Train it again: collabpipe train RECIPE."
        )
    be_deterministic(recipe.training.threads)
    device = choose_device()

    def predictor(which: str) -> Callable[[Images], NDArray[np.float32]]:
        weights = read_weights(folder, which, record)
        network = load_network(recipe, weights, like.images.shape[1], len(like.classes)).to(device)

        def logits(images: Images) -> NDArray[np.float32]:
            found = predict(network, Pixels.of(images, None, device), recipe.training.precision)
            return np.asarray(found.cpu().numpy())

        return logits

    return {which: predictor(which) for which in scored(recipe)}


def metrics_of(folder: Path) -> dict[str, Any]:
    """What metrics.json says of the last epoch, from the predictions in `folder`."""
    table = read_columns(folder / PREDICTIONS)
    if not len(table):
        return {"last": None}
    if CORRUPTION in table.column_names:
        found = by_corruption(table)
        return {"last": mean_of(found), "corruptions": found}
    labels = table["label"].to_numpy()
    logits = table["logits"].combine_chunks().flatten().to_numpy()
    groups = table[GROUP].to_pylist() if GROUP in table.column_names else None
    return {"last": score(logits.reshape(len(labels), -1), labels, groups)}


def by_corruption(table: pa.Table) -> dict[str, dict[str, float]]:
    """The accuracy by corruption and severity, from predictions."""
    hits = pa.array(table["label"].to_numpy() == table["prediction"].to_numpy()).cast("int8")
    groups = table.append_column("hit", hits).group_by([CORRUPTION, "severity"], use_threads=False)
    found: dict[str, dict[str, float]] = {}
    for row in groups.aggregate([("hit", "mean")]).to_pylist():
        found.setdefault(row[CORRUPTION], {})[str(row["severity"])] = row["hit_mean"]
    return found


def mean_of(accuracies: dict[str, dict[str, float]]) -> Scores:
    """The mean over corruptions of the mean over severities.

    1 - accuracy is the mean corruption error of Hendrycks and Dietterich (2019) without its division by AlexNet's
    errors.
    """
    return {"accuracy": float(np.mean([np.mean(list(of_kind.values())) for of_kind in accuracies.values()]))}


def prediction_table(
    labels: NDArray[np.int64], logits: NDArray[np.float32], names: dict[str, list[str] | None]
) -> pa.Table:
    """A row per test image: its number, file and group (where known), label, prediction and logits.

    Args:
        labels: (N,).
        logits: (N, K) of the last epoch.
        names: files and groups of the images, None where they have none.
    """
    size, classes = logits.shape
    return pa.table(
        {
            "index": np.arange(size),
            **{column: of_images[:size] for column, of_images in names.items() if of_images},
            "label": labels,
            "prediction": logits.argmax(1),
            "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1)), classes),
        }
    )


def write_predictions(path: Path, table: pa.Table, inputs: dict[str, str]) -> None:
    """Write predictions with the digests of what they were made from."""
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(inputs), temporary, **SMALL)
