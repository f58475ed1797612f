"""Checkpoints: read with the check that they belong to their record, and digested by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import file_digest
from collabpipe.model.networks import StagedNetwork, build_network, drawing_from
from collabpipe.plan.paths import RECORD, WEIGHTS
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.plan.record_types import TrainingRecord


def weights_digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 (hex) of names, shapes and values, independent of how a file lays them out."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = weights[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def read_weights(folder: Path, which: str, record: TrainingRecord) -> dict[str, Tensor]:
    """The weights ("last" or "best") of the run in `folder`; empty for a diverged run.

    Raises:
        CollabpipeError: missing, broken, or not the weights that the run's record names.
    """
    path = folder / WEIGHTS[which]
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CollabpipeError(f"{path}: cannot be read: {error}. Train the run again.") from error
    if weights_digest(weights) != record["weights"][which]:
        raise CollabpipeError(
            f"{path}: these are not the weights that {folder / RECORD} names: a checkpoint of another "
            "training, or a changed one. Remove it and train the run again."
        )
    return weights


def kept_weights(folder: Path, which: str, record: TrainingRecord) -> dict[str, Tensor]:
    """As `read_weights`; weights that were kept in half precision come as float32.

    Raises:
        CollabpipeError: as there; or they were not kept.
    """
    kept = record.get("kept", "all")
    if kept == "all":
        return read_weights(folder, which, record)
    path = folder / WEIGHTS[which]
    if kept == "none" or which == "best":
        last = "" if kept == "none" else " The last epoch's were kept in half precision: leave --best out."
        raise CollabpipeError(
            f"{path}: these weights were not kept (keep_weights: {kept}).{last} To have them, set "
            "execution.keep_weights to all and train the run again: collabpipe train RECIPE."
        )
    if not path.is_file() or file_digest(path) != record["files"][path.name]:
        raise CollabpipeError(f"{path}: is missing or was changed. Remove it and train the run again.")
    return {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}


def load_network(recipe: TrainRecipe, weights: dict[str, Tensor], channels: int, classes: int) -> StagedNetwork:
    """The network of a run with `weights`, on the CPU, for images of `channels` channels."""
    with drawing_from(recipe.seeds.initialisation):
        network = build_network(recipe.network, channels, classes)
    network.load_state_dict(weights)
    return network
