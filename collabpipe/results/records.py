"""Records of results, checked against their recipes when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_record
from collabpipe.plan.paths import RECORD
from collabpipe.plan.recipes import TrainRecipe


def training_record(recipe: TrainRecipe, folder: Path) -> dict[str, Any]:
    """The record of the training in `folder`.

    Raises:
        CollabpipeError: missing, or of another recipe.
    """
    record = read_record(folder / RECORD, "Train the run: collabpipe train RECIPE.")
    if record.get("recipe") != recipe.digest:
        raise CollabpipeError(
            f"{folder}: holds a checkpoint of another recipe ({str(record.get('recipe'))[:12]}, asked for "
            f"{recipe.digest[:12]}). Train it again: collabpipe train RECIPE."
        )
    return record
