"""Recipes: all that an artefact was asked to be, resolved to the last default; the only link from config to work.

A recipe is an immutable JSON file named by its digest. A training's recipe holds those of its labels and its data,
so that each command can tell whether an input is the one that was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from collabpipe.catalogue.stages import Stages
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import json_digest, read_record, write_json
from collabpipe.common.plugins import activate_copies, write_copies
from collabpipe.common.validation import Strict, explain
from collabpipe.methods.composition import problem
from collabpipe.methods.registry import AnyComposition, read_composition
from collabpipe.settings.data import NAME, NoiseSettings, Quality, SourceName
from collabpipe.settings.test_sets import CorruptionSettings
from collabpipe.settings.training import NetworkSettings, TrainingSettings

NUMERICS = 4
"""Raised whenever the same recipe would train, label or prepare to other numbers; then everything is made again."""

EVALUATION_NUMERICS = 3
"""Raised whenever the same weights would be evaluated to other numbers; then everything is evaluated again."""

DIGEST = re.compile("[0-9a-f]{64}")
FolderName = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
AnyRecipe = TypeVar("AnyRecipe", bound="Recipe")


class Recipe(Strict):
    """What every recipe can do."""

    # Left out where there are none: recipes without plugins keep their digests.
    plugins: tuple[str, ...] = Field(default=(), exclude_if=lambda digests: not digests)
    """The digests of the plugins that bring what is asked for, but for those of the recipes in this one."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe's canonical JSON."""
        return json_digest(self.model_dump(mode="json"))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that is asked for its own digest."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("digest", None)
        return copied

    def write(self, folder: Path) -> Path:
        """Put the recipe into `folder` under its digest, unless it is there, whole and unedited."""
        path = folder / f"{self.digest}.json"
        write_copies(self.plugins, folder)
        if not self._lies_in(path):
            write_json(path, self.model_dump(mode="json"), durable=False)
        return path

    def _lies_in(self, path: Path) -> bool:
        try:
            return json_digest(json.loads(path.read_bytes())) == self.digest
        except (OSError, ValueError):
            return False


def _is_none(value: object) -> bool:
    """Whether a key that was added later is at its default: recipes without it keep their digests."""
    return value is None


class DataRecipe(Recipe):
    """A prepared data set."""

    kind: Literal["data"] = "data"
    dataset: FolderName
    source: SourceName
    image_size: int | None
    quality: Quality | None = None
    """The quality levels of an image folder."""
    group_pattern: str | None = Field(default=None, exclude_if=_is_none)
    """The regular expression that finds the group of an image folder's images in CLASS/**/FILE."""
    group_file: str | None = Field(default=None, exclude_if=_is_none)
    """A CSV file in the image folder that names the group of each image."""
    test_only: bool = Field(default=False, exclude_if=lambda alone: not alone)
    """Whether only the test images of the user's own files are read; there need be no others."""
    human_labels: bool = False
    """Whether the annotators' labels (CIFAR-10N, CIFAR-100N) are prepared together with the images."""
    accept: dict[str, str] = Field(default_factory=dict)
    """MD5 sums that the user accepts in place of the published ones, by file."""
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
    noise_name: FolderName
    noise: NoiseSettings
    train_size: int | None
    validation_size: int | None
    """None: all of the data set's own validation set."""
    replicate: int
    seeds: LabelSeeds
    numerics: int = NUMERICS


class TrainSeeds(Strict):
    """The seeds of a training, one per purpose."""

    initialisation: int
    order: int
    augmentation: int
    dropout: int
    method: int


class RunName(Strict):
    """The entities that name a run and its folder."""

    dataset: FolderName
    noise: FolderName
    network: FolderName
    method: FolderName
    seed: int = Field(ge=0)

    @property
    def cell(self) -> str:
        """The run without its seed."""
        return f"{self.dataset}/{self.noise}/{self.network}/{self.method}"

    def __str__(self) -> str:
        return f"{self.cell}/seed{self.seed}"


class ChoiceOf(Strict):
    """Which selection a choice is taken from."""

    noise: FolderName
    """The noise that the selection was made under; another one where a choice is carried over."""
    selection: str
    """The digest of its recipe."""


class Undecided(Strict):
    """What a training takes from the choices of searched methods, which are an input of it."""

    method: str
    definitions: dict[str, dict[str, Any]]
    """The method and those it builds on, as configured; the searched among them are filled in by their choices."""
    choices: dict[str, ChoiceOf]
    stages: Stages
    """What the chosen method is composed for."""


class TrainRecipe(Recipe):
    """One training."""

    kind: Literal["train"] = "train"
    run: RunName
    labels: LabelsRecipe
    network: NetworkSettings
    composition: AnyComposition
    """Before the choice: composed with each searched method's first candidate, which the choice replaces."""
    undecided: Undecided | None = None
    training: TrainingSettings
    """Before the choice: the study's training settings. The choice's keys replace theirs."""
    crop: int
    flip: bool
    refit: bool = False
    """Whether it trains on the validation images too: nothing is then measured on them, and no epoch is chosen."""
    seeds: TrainSeeds
    numerics: int = NUMERICS

    @model_validator(mode="after")
    def _fits(self) -> TrainRecipe:
        """A recipe written by hand is held to what a configuration is held to."""
        found = problem(self.composition, self.network.stages)
        if found:
            raise found.wrong(self.network.kind, ("composition",))
        return self

    def key(self, inputs: Mapping[str, str]) -> str:
        """The digest that training results are stored under: of all but the names, and of the inputs' contents."""
        return json_digest({"asked": self._asked, "inputs": inputs})

    @property
    def asked_digest(self) -> str:
        """A digest of the request, known before its inputs exist."""
        return json_digest({"asked": self._asked, "labels": self.labels.digest})

    @property
    def _asked(self) -> dict[str, Any]:
        if self.undecided is not None:
            raise ValueError("an undecided training has no key")
        return self.model_dump(mode="json", exclude={"run", "labels", "undecided"})

    def decided(self, record: Mapping[str, Any]) -> TrainRecipe:
        """The recipe with what was chosen in the places that it holds open, as the run's record has it."""
        if self.undecided is None or not {"composition", "training"} <= record.keys():
            return self
        composition = read_composition(record["composition"])
        training = TrainingSettings.model_validate(record["training"])
        return self.model_copy(update={"composition": composition, "training": training, "undecided": None})


class FurtherRecipe(Recipe):
    """The evaluation of one training on a further test set."""

    kind: Literal["test"] = "test"
    name: FolderName
    """Of the test set."""
    trained: TrainRecipe
    data: DataRecipe
    """Whose test images; for corruptions the data set that was trained on."""
    corruptions: CorruptionSettings | None = None
    """What the test images are corrupted with, if they are."""

    @property
    def run(self) -> RunName:
        """The run that is evaluated."""
        return self.trained.run

    def __str__(self) -> str:
        return f"{self.run} on {self.name}"


class Candidate(Strict):
    """One setting of a searched method and the trainings that speak for it."""

    values: dict[str, Any]
    definition: dict[str, Any]
    runs: tuple[tuple[RunName, str], ...]
    """Names and recipes' digests."""


class SelectionRecipe(Recipe):
    """The choice of a searched method's hyper-parameters for one data set, noise and network."""

    kind: Literal["selection"] = "selection"
    dataset: FolderName
    noise: FolderName
    network: FolderName
    method: FolderName
    on: Literal["validation"]
    candidates: tuple[Candidate, ...]


def read_recipe(path: Path, model: type[AnyRecipe]) -> AnyRecipe:
    """The recipe in `path`.

    Raises:
        CollabpipeError: the file is missing, of another kind, edited below its digest, invalid, or of other numerics.
    """
    value = read_record(path)
    kind = model.model_fields["kind"].default
    if value.get("kind") != kind:
        raise CollabpipeError(
            f"{path}: is a recipe of kind {value.get('kind')!r}; this command takes kind {kind!r}. Name one of that "
            "kind: collabpipe plan --write writes the recipes of a study."
        )
    activate_copies(_plugins_of(value), path.parent)
    try:
        recipe = model.model_validate(value)
    except ValidationError as error:
        raise CollabpipeError(explain(error, model, {(): str(path)})) from None
    if DIGEST.fullmatch(path.stem) and path.stem != recipe.digest:
        raise CollabpipeError(
            f"{path}: was edited, so its name is no longer its digest. Save your version under another name, or "
            "remove it: collabpipe plan --write makes it again."
        )
    part: object = getattr(recipe, "trained", recipe)
    while isinstance(part, DataRecipe | LabelsRecipe | TrainRecipe):
        if part.numerics != NUMERICS:
            raise CollabpipeError(
                f"{path}: asks for numerics {part.numerics}, and this version of collabpipe computes numerics "
                f"{NUMERICS}. Write the recipes again: collabpipe plan --write."
            )
        part = getattr(part, "labels", None) or getattr(part, "data", None)
    return recipe


def _plugins_of(value: Mapping[str, Any]) -> set[str]:
    """The plugins of a recipe that is not checked yet, and of those in it."""
    inner = [part for key in ("trained", "labels", "data") if isinstance(part := value.get(key), dict)]
    own = {digest for digest in value.get("plugins") or () if DIGEST.fullmatch(str(digest))}
    return own.union(*map(_plugins_of, inner))


def training_digest(result: Mapping[str, Any]) -> str:
    """The digest of a training, by its key and its outcome: equal trainings have equal digests."""
    return json_digest({name: result[name] for name in ("key", "weights", "status")})
