"""The train command: each recipe looked up in the store, else trained, saved on the way and placed."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, save_tensors, sealed, write_json
from collabpipe.common.progress import Progress
from collabpipe.common.whereabouts import whereabouts
from collabpipe.data.labels import read_labels
from collabpipe.data.prepared import data_record, open_images
from collabpipe.data.stage import staged
from collabpipe.host.gpu_lease import lease_device
from collabpipe.host.signals import Interruption
from collabpipe.host.writer import Writer
from collabpipe.jobs.choose import decide
from collabpipe.plan.paths import (
    ASKED_FILE,
    HISTORY,
    PROGRESS_FILE,
    RECORD,
    STATE_FILE,
    TRAIN,
    TRAINING_FILES,
    WEIGHTS,
    Paths,
)
from collabpipe.plan.recipes import TrainRecipe, training_digest
from collabpipe.plan.record_types import (
    Asked,
    Cost,
    StoredTraining,
    TrainingProvenance,
    TrainingRecord,
    TrainingResult,
)
from collabpipe.results.provenance import note
from collabpipe.results.records import evaluation_inputs, evaluation_key
from collabpipe.results.store import Store
from collabpipe.results.under_way import UnderWay
from collabpipe.settings.study import CANDIDATE
from collabpipe.settings.training import ExecutionSettings
from collabpipe.training.saving import DEVICE, Saver

if TYPE_CHECKING:  # torch takes seconds to import, which a result that is in the store need not wait for
    from collabpipe.training.engine import Training, Weights

NOTE_SECONDS = 1.0
"""At most so often a training notes how far it is."""


class Job:
    """The training of one recipe: what it is made from, and its place in the store.

    Args:
        asked: the recipe, maybe with places that choices fill.
        paths: of the results.
        execution: how it is saved.

    Raises:
        CollabpipeError: an input is missing, broken or of another recipe.
    """

    def __init__(self, asked: TrainRecipe, paths: Paths, execution: ExecutionSettings):
        self.asked, self.paths, self.execution = asked, paths, execution
        self.recipe, self.choices = decide(asked, asked.run.dataset, asked.run.network, paths)
        self.data = data_record(self.recipe.labels.data, paths.dataset(self.recipe.run.dataset))
        self.labels = read_labels(paths.labels(self.recipe.labels), self.recipe.labels)
        self.inputs = {TRAIN: self.data["files"][TRAIN]["sha256"], "labels": self.labels.sha256}
        self.key = self.recipe.key(self.inputs)
        self.store = Store(paths.store)

    def find(self) -> StoredTraining | None:
        """The stored result, if it will do: one without weights does for a candidate, or if it is evaluated already."""
        result: StoredTraining | None = self.store.find(self.key)
        if result is None or result.get("kept", "all") == "all" or CANDIDATE.search(self.recipe.run.method):
            return result
        inputs = evaluation_inputs(training_digest(result), self.recipe.labels.data, self.data)
        return result if self.store.find(evaluation_key(inputs)) else None

    def place(self, result: StoredTraining) -> None:
        """Link the result into the run's folder, with the run's record."""
        recipe, folder = self.recipe, self.paths.run(self.recipe.run)
        self.store.place(self.key, result, folder)
        record: TrainingRecord = {
            "recipe": self.asked.digest,
            "run": recipe.run.model_dump(),
            "inputs": self.inputs,
            "status": result["status"],
            "divergence": result["divergence"],
            "best_epoch": result["best_epoch"],
            "weights": result["weights"],
            "key": result["key"],
            "digest": training_digest(result),
            "files": result["files"],
        }
        if "kept" in result:
            record["kept"] = result["kept"]
        if "unfinished" in result:
            record["unfinished"] = result["unfinished"]
        if self.choices:
            record["choices"] = self.choices
            record["composition"] = recipe.composition.model_dump(mode="json")
            record["training"] = recipe.training.model_dump(mode="json")
        write_json(folder / RECORD, sealed(record))
        where: TrainingProvenance = {**result["where"], "training": record["digest"], "cost": result["cost"]}
        note(self.paths, folder, where)

    def begin(self, writer: Writer) -> Training:
        """The training at its beginning, or where a saved state left it."""
        from collabpipe.training import device as devices
        from collabpipe.training.engine import Training

        asked: Asked = {"asked": self.recipe.asked_digest, "run": str(self.recipe.run)}
        write_json(writer.folder / ASKED_FILE, asked)
        devices.be_deterministic(self.recipe.training.threads)
        folder = self.paths.dataset(self.recipe.run.dataset)
        if self.execution.stage:
            folder = staged(folder, self.data, self.execution.stage)
        images = open_images(self.recipe.labels.data, folder, "train")
        device, capture = devices.choose_device(), self.execution.cuda_graphs
        say = Progress(str(self.recipe.run)).say
        training = Training(self.recipe, images, self.labels, device, capture=capture, say=say)
        if (path := writer.folder / STATE_FILE).exists():
            self._resume(training, path)
        return training

    def _resume(self, training: Training, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        from collabpipe.training.device import out_of_memory

        try:
            with safe_open(path, framework="pt") as file:
                if file.metadata().get("key") != self.key:
                    raise ValueError("it is of another training")
                _check_device(path, file.metadata().get(DEVICE), training.device.type)
                training.restore({k: file.get_tensor(k) for k in file.keys()}, file.metadata())  # noqa: SIM118
        except (SafetensorError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            if out_of_memory(error):
                raise  # `enough_memory` tells it: the saved state is whole
            raise CollabpipeError(
                f"{path}: this saved state cannot be read ({error}). Remove it; the training starts again."
            ) from error
        Progress(str(self.recipe.run)).say(f"continues after epoch {training.epoch}, step {training.step}")

    def finish(self, training: Training, writer: Writer) -> StoredTraining:
        """The result of a training at its end, in the store."""
        from collabpipe.training.device import describe

        writer.check()
        about: TrainingResult = {
            "status": "diverged" if training.divergence else "finished",
            "divergence": asdict(training.divergence) if training.divergence else None,
            "weights": _write_results(training, writer.folder, self.key),
            "best_epoch": training.best_epoch,
            "cost": _cost(training),
            "where": whereabouts(describe(training.device)),
        }
        writer.check()
        result: StoredTraining = self.store.finish(self.key, TRAINING_FILES, about)
        for name in (STATE_FILE, PROGRESS_FILE):
            (writer.folder / name).unlink(missing_ok=True)
        return result


def train(asked: TrainRecipe, paths: Paths, execution: ExecutionSettings, interruption: Interruption) -> None:
    """Bring the result of the recipe to its run's folder, from the store or by training.

    Raises:
        CollabpipeError: inputs that are missing, broken or of another recipe; a full disk; another writer took over.
        Interrupted: by a signal; what was trained is saved.
    """
    interruption.check()
    job = Job(asked, paths, execution)
    with job.store.writing(job.key):
        if result := job.find():
            Progress(str(job.recipe.run)).say("in the store already")
            return job.place(result)
    # Lease the GPU before the second claim. A process with a GPU may wait for a claim, but never for the claim of a
    # process that waits for that GPU: this would deadlock.
    lease_device(execution.jobs_per_gpu)
    with job.store.writing(job.key) as writer:
        result = job.find()
        if result is None:
            from collabpipe.training.device import enough_memory

            with enough_memory(str(job.recipe.run)):
                training = job.begin(writer)
                with interruption.deferred():
                    _run(training, Saver(training, writer, job.key, execution), interruption)
                    result = job.finish(training, writer)
        return job.place(result)


def _check_device(path: Path, saved: str | None, here: str) -> None:
    """Refuse a state that another type of device made: the run would be neither device's."""
    if saved is not None and saved != here:
        fix = "Let it see a GPU again" if saved == "cuda" else "Set execution.jobs_per_gpu to 0 for this run"
        raise CollabpipeError(
            f"{path}: this training was saved on {saved} and would continue on {here}, where the numbers differ. "
            f"{fix} and call the same command, or remove this file: then the training starts again on {here}."
        )


def _run(training: Training, saver: Saver, interruption: Interruption) -> None:
    settings = training.recipe.training
    with Progress(str(training.recipe.run), settings.epochs * training.steps) as progress:
        noted = _note(training, saver.writer, None)
        for _ in training.run():
            progress.advance(training.epoch * training.steps + training.step)
            if training.step == 0 and not training.finished:
                progress.describe(_summary(training))
                if time.monotonic() - noted >= NOTE_SECONDS:
                    noted = _note(training, saver.writer, progress)
            if interruption.caught and not training.finished:
                saver.save()
                progress.say(f"saved after epoch {training.epoch}, step {training.step}")
                interruption.check()
            saver.save_if_due()
    if not training.divergence:
        progress.say(f"finished: {_summary(training)}")
    else:
        where = training.divergence
        progress.say(f"diverged in epoch {where.epoch}, step {where.step}: {', '.join(where.terms)} not finite")


def _note(training: Training, writer: Writer, progress: Progress | None) -> float:
    """Tell `collabpipe status` how far the training is, from numbers that the host has; returns when, monotonic."""
    from collabpipe.training.device import describe

    UnderWay(
        epoch=training.epoch,
        epochs=training.settings.epochs,
        loss=training.history[-1]["loss"] if training.history else None,
        rate=progress.rate if progress else None,
        seconds=sum(training.epoch_seconds),
        left=progress.left if progress else None,
        device=describe(training.device),
    ).write(writer.folder)
    return time.monotonic()


def _summary(training: Training) -> str:
    row = training.history[-1]
    text = f"epoch {training.epoch}/{training.settings.epochs}  loss {row['loss']:.4f}"
    measured = row["validation_accuracy"]
    return text if measured != measured else f"{text}  validation {100 * measured:.1f}%"


def _write_results(training: Training, folder: Path, key: str) -> dict[str, str]:
    """Write weights and history; returns the digests of the weights. A diverged training has none to write."""
    from collabpipe.training.checkpoint import weights_digest

    status = "diverged" if training.divergence else "finished"
    last: Weights = {} if training.divergence else training.method.network.state_dict()
    best: Weights = {} if training.divergence else training.best
    for name, weights in (("last", last), ("best", best)):
        contiguous = {k: v.detach().cpu().contiguous() for k, v in weights.items()}
        # One entry: safetensors writes several in an order that changes from process to process.
        about = {"collabpipe": json.dumps({"key": key, "status": status, "which": name})}
        save_tensors(folder / WEIGHTS[name], contiguous, about)
    with atomic_path(folder / HISTORY) as temporary:
        pq.write_table(pa.Table.from_pylist(training.history).replace_schema_metadata({"key": key}), temporary)
    return {"last": weights_digest(last), "best": weights_digest(best)}


def _cost(training: Training) -> Cost:
    import torch

    on_gpu = training.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    return {
        "seconds": sum(training.epoch_seconds),
        "epoch_seconds": training.epoch_seconds[: len(training.history)],
        "steps": training.steps * len(training.history),
        "peak_device_bytes": peak,
        "peak_process_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "parameters_training": sum(p.numel() for p in training.method.parameters()),
        "parameters_inference": sum(p.numel() for p in training.method.network.parameters()),
    }
