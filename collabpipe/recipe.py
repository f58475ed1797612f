"""Recipes: all that an artefact was asked to be, resolved to the last default; the only link from config to work.

A recipe is an immutable JSON file named by its digest. A training's recipe holds those of its labels and its data,
so that each command can tell whether an input is the one that was asked for.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ValidationError

from collabpipe.composition import Composition, Strict
from collabpipe.errors import CollabpipeError
from collabpipe.files import json_digest, read_json, write_json
from collabpipe.settings import NetworkSettings, NoiseSettings, TrainingSettings
from collabpipe.settings_errors import explain

NUMERICS = 1
"""Raised whenever the same recipe would train, label or prepare to other numbers; then everything is made anew."""

EVALUATION_NUMERICS = 1
"""Raised whenever the same weights would be evaluated to other numbers; then everything is evaluated anew."""

AnyRecipe = TypeVar("AnyRecipe", bound="Recipe")


class Recipe(Strict):
    """What every recipe can do."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe's canonical JSON."""
        return json_digest(self.model_dump(mode="json"))

    def write(self, folder: Path) -> Path:
        """Put the recipe into `folder` under its digest, unless it is there."""
        path = folder / f"{self.digest}.json"
        if not path.exists():
            write_json(path, self.model_dump(mode="json"))
        return path


class DataRecipe(Recipe):
    """A prepared data set."""

    kind: Literal["data"] = "data"
    dataset: str
    source: str
    image_size: int | None
    numerics: int = NUMERICS


class LabelSeeds(Strict):
    """The seeds behind a label file."""

    subset: int
    noise: int
    split: int


class LabelsRecipe(Recipe):
    """The images of a replicate, their noisy labels and which of them are for validation."""

    kind: Literal["labels"] = "labels"
    data: DataRecipe
    noise_name: str
    noise: NoiseSettings
    train_size: int | None
    validation_size: int
    replicate: int
    seeds: LabelSeeds
    numerics: int = NUMERICS


class TrainSeeds(Strict):
    """The seeds of a training, one a purpose."""

    initialisation: int
    order: int
    augmentation: int
    dropout: int
    method: int


class RunName(Strict):
    """The entities that name a run and its folder."""

    dataset: str
    noise: str
    network: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}/{self.noise}/{self.network}/{self.method}/seed{self.seed}"


class TrainRecipe(Recipe):
    """One training."""

    kind: Literal["train"] = "train"
    run: RunName
    labels: LabelsRecipe
    network: NetworkSettings
    composition: Composition
    training: TrainingSettings
    crop: int
    flip: bool
    seeds: TrainSeeds
    numerics: int = NUMERICS

    def key(self, inputs: dict[str, str]) -> str:
        """The digest that training results are stored under: of all but the names, and of the inputs' contents."""
        asked = self.model_dump(mode="json", exclude={"run", "labels"})
        return json_digest({"asked": asked, "inputs": inputs})


def read_recipe(path: Path, model: type[AnyRecipe]) -> AnyRecipe:
    """The recipe in `path`.

    Raises:
        CollabpipeError: the file is missing, is of another kind, or was edited so that it no longer validates.
    """
    try:
        return model.model_validate(read_json(path))
    except ValidationError as error:
        raise CollabpipeError(explain(error, model, {(): str(path)})) from None


def evaluation_key(training: str, test: str) -> str:
    """The digest that an evaluation is stored under: of the training's digest and of the test file's."""
    return json_digest({"evaluation": EVALUATION_NUMERICS, "training": training, "test": test})


def for_each(paths: Sequence[Path], work: Callable[[TrainRecipe], None]) -> None:
    """Do `work` for every training recipe; one that fails does not keep the others from finishing.

    Raises:
        CollabpipeError: what went wrong, for all that failed.
    """
    failures = []
    for path in paths:
        try:
            work(read_recipe(path, TrainRecipe))
        except CollabpipeError as error:
            failures.append(f"{path}: {error}")
        except Exception as error:  # a defect, or a device out of memory: told whole, and the others go on
            traceback.print_exc()
            failures.append(f"{path}: {type(error).__name__}: {error}")
    if failures:
        raise CollabpipeError("\n".join(failures))
