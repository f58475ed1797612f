"""The evaluate command: test predictions and metrics of trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collabpipe.data.store import Images, data_record, open_images
from collabpipe.errors import CollabpipeError
from collabpipe.files import atomic_path, read_record, sealed, write_json
from collabpipe.paths import Paths
from collabpipe.provenance import note, whereabouts
from collabpipe.recipe import TrainRecipe, evaluation_key
from collabpipe.retention import Keep, thin
from collabpipe.scores import is_collapsed, score
from collabpipe.store import Store
from collabpipe.training.lease import lease_device

PREDICTIONS = "predictions.parquet"


def training_record(recipe: TrainRecipe, folder: Path) -> dict[str, Any]:
    """The record of the training in `folder`.

    Raises:
        CollabpipeError: missing, or of another recipe.
    """
    record = read_record(folder / "record.json", "Train the run: collabpipe train RECIPE.")
    if record.get("recipe") != recipe.digest:
        raise CollabpipeError(
            f"{folder}: holds a checkpoint of another recipe ({str(record.get('recipe'))[:12]}, asked for "
            f"{recipe.digest[:12]}). Train it again: collabpipe train RECIPE."
        )
    return record


def evaluate(recipe: TrainRecipe, paths: Paths, keep: Keep = "all", jobs_per_gpu: int = 1) -> None:
    """Write predictions.parquet and metrics.json of a run, from the store or by running its weights on the test set.

    Afterwards the run keeps of its weights what `keep` says.

    Raises:
        CollabpipeError: inputs that are missing, broken or of another recipe.
    """
    folder = paths.run(recipe.run)
    record = training_record(recipe, folder)
    dataset = paths.dataset(recipe.run.dataset)
    test = data_record(recipe.labels.data, dataset)["files"]["test.arrow"]["sha256"]
    key = evaluation_key(record["digest"], test)
    store = Store(paths.store)
    with store.writing(key):
        stored = store.find(key) is not None
    if not stored:
        lease_device(jobs_per_gpu)  # between two claims, as in training
    with store.writing(key) as writer:
        result = store.find(key)
        if result is None:
            images = open_images(recipe.labels.data, dataset, "test")
            from collabpipe.training.device import enough_memory

            with enough_memory(str(recipe.run)):
                probabilities, metrics, device = evaluated(recipe, record, folder, images)
            inputs = {"training": record["digest"], "test.arrow": test}
            _write_predictions(writer.folder / PREDICTIONS, images.labels[: len(probabilities)], probabilities, inputs)
            about = {"inputs": inputs, "status": record["status"], **metrics, "where": whereabouts(device)}
            writer.check()
            result = store.finish(key, [PREDICTIONS], about)
        folder = paths.evaluation(recipe.run)
        store.place(key, result, folder)
        where = result.pop("where")
        about = {**result, "digest": key, "recipe": recipe.digest, "run": recipe.run.model_dump()}
        write_json(folder / "metrics.json", sealed(about))
        note(paths, folder, {**where, "evaluation": key})
    thin(recipe.run, paths, keep)


def evaluated(
    recipe: TrainRecipe, record: dict[str, Any], folder: Path, images: Images
) -> tuple[NDArray[np.float32], dict[str, Any], str]:
    """The last epoch's probabilities (N, K), the metrics of the last and of the best weights, and the device.

    Raises:
        CollabpipeError: weights that were not kept or are not those of the record.
    """
    if record["status"] == "diverged":
        nothing = np.zeros((0, len(images.classes)), np.float32)
        return nothing, {"last": None, "best": None, "collapsed": None}, "cpu"
    from collabpipe.training import device as devices

    if record.get("kept", "all") != "all":
        raise CollabpipeError(
            f"{folder}: its weights were not kept (keep_weights: {record['kept']}), so it cannot be evaluated anew. "
            "Train it again: collabpipe train RECIPE."
        )
    last = _probabilities(recipe, record, folder, images, "last")
    metrics: dict[str, Any] = {"last": score(last, images.labels), "best": None}
    if not recipe.refit:  # else no epoch was chosen
        best = _probabilities(recipe, record, folder, images, "best")
        metrics["best"] = score(best, images.labels) | {"epoch": record["best_epoch"]}
    return last, {**metrics, "collapsed": is_collapsed(last)}, devices.describe(devices.choose_device())


def _probabilities(
    recipe: TrainRecipe, record: dict[str, Any], folder: Path, images: Images, which: str
) -> NDArray[np.float32]:
    from collabpipe.networks import build_network
    from collabpipe.training.batches import Pixels
    from collabpipe.training.device import be_deterministic, choose_device
    from collabpipe.training.measure import predict
    from collabpipe.training.weights import read_weights

    be_deterministic(recipe.training.threads)
    device = choose_device()
    network = build_network(recipe.network, images.images.shape[1], len(images.classes))
    network.load_state_dict(read_weights(folder, which, record))
    logits = predict(network.to(device), Pixels.of(images, None, device), recipe.training.precision)
    probabilities: NDArray[np.float32] = logits.softmax(1).cpu().numpy()
    return probabilities


def metrics_of(folder: Path) -> dict[str, float]:
    """The metrics of the last epoch from the predictions in `folder`."""
    table = pq.read_table(folder / PREDICTIONS, columns=["label", "probabilities"])
    labels = table["label"].to_numpy()
    probabilities = table["probabilities"].combine_chunks().flatten().to_numpy().reshape(len(labels), -1)
    return score(probabilities, labels)


def _write_predictions(
    path: Path, labels: NDArray[np.int64], probabilities: NDArray[np.float32], inputs: dict[str, str]
) -> None:
    size, classes = probabilities.shape
    table = pa.table(
        {
            "index": np.arange(size),
            "label": labels,
            "prediction": probabilities.argmax(1),
            "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(probabilities.reshape(-1)), classes),
        }
    )
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(inputs), temporary)
