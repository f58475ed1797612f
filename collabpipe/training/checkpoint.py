"""Checkpoints: read with the check that they belong to their record, and digested by content."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from collabpipe.common.errors import CollabpipeError
from collabpipe.plan.paths import RECORD


def weights_digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 (hex) of names, shapes and values, independent of how a file lays them out."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = weights[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def read_weights(folder: Path, which: str, record: dict[str, Any]) -> dict[str, Tensor]:
    """The weights ("last" or "best") of the run in `folder`; empty for a diverged run.

    Raises:
        CollabpipeError: missing, broken, or not the weights that the run's record names.
    """
    path = folder / f"{which}.safetensors"
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
