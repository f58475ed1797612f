"""What a training tells of itself while it runs: at the ends of epochs alone, and not more often than it should."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from collabpipe.cli import main
from collabpipe.jobs import train
from collabpipe.results.under_way import UnderWay
from tests.workspaces import Lab

BASELINE = "digits/symmetric-0.5/resnet8/baseline/seed0"
CHANGES: dict[str, Any] = {
    "methods": {"output": None, "output_control": None},
    "seeds": [0],
    "training": {"epochs": 4},
}


@pytest.mark.parametrize(("seconds", "epochs"), [(0.0, [0, 1, 2, 3]), (math.inf, [0])])
def test_a_training_notes_its_beginning_and_the_ends_of_epochs_that_are_far_enough_apart(
    seconds: float, epochs: list[int], lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, recipes = lab.lay_out(tmp_path, CHANGES)
    notes: list[UnderWay] = []
    written = UnderWay.write

    def write(note: UnderWay, folder: Path) -> None:
        notes.append(note)
        written(note, folder)
        assert UnderWay.read(folder) is not None

    monkeypatch.setattr(train, "NOTE_SECONDS", seconds)
    monkeypatch.setattr(UnderWay, "write", write)
    assert main(["train", str(recipes[BASELINE]), *paths.options]) == 0
    assert [note.epoch for note in notes] == epochs
    assert {note.epochs for note in notes} == {4}
    assert (notes[0].loss, notes[0].rate, notes[0].left) == (None, None, None)
    assert all(note.loss and note.rate and note.left for note in notes[1:])
    assert not list(paths.store.glob("*/*/progress.json")), "it ends with the training"
