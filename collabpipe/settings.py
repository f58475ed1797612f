"""The settings of a study: one YAML file, every key checked, every error with its place and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from collabpipe.composition import Composition, Fraction, Passes, Positive, Strict, Weight, problem
from collabpipe.data.sources import SOURCES
from collabpipe.errors import CollabpipeError
from collabpipe.kinds import KINDS, Combined, Control, Kind
from collabpipe.settings_errors import Place, Wrong, explain, merge_files

NETWORK_STAGES: dict[str, tuple[str, ...]] = {
    "resnet8": ("stage1", "stage2", "stage3"),
    "resnet18": ("stage1", "stage2", "stage3", "stage4"),
    "vgg16": ("stage1", "stage2", "stage3", "stage4", "stage5"),
}
NOISE_KINDS = ("none", "symmetric", "symmetric_inclusive", "pair")
RATE = re.compile(r"0(\.[0-9]+)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class DatasetSettings(Strict):
    """A data set as the study uses it."""

    source: Literal["digits", "fashion_mnist"]
    data_dir: str | None = None
    """A folder with the user's own copies of the files; None: download."""
    image_size: int | None = Field(default=None, ge=8)
    """Scale down to this many pixels by area averaging."""
    train_size: int | None = Field(default=None, ge=2)
    """Images to train on, a stratified subset that the run's seed draws; None: all that validation leaves."""
    validation_size: int = Field(ge=1)
    """Images, cut from the noisy training data, that choose the best epoch and hyper-parameters."""
    crop: int = Field(default=0, ge=0, le=16)
    """Padding of the random crop; 0: no crop."""
    flip: bool = False
    """Random horizontal flip."""

    @model_validator(mode="after")
    def _enough_images(self) -> DatasetSettings:
        source = SOURCES[self.source]
        if self.image_size is not None and self.image_size > source.pixels:
            raise Wrong(self.image_size, (f"up to {source.pixels}, the images' own size",), "value", ("image_size",))
        wanted = self.validation_size + (2 if self.train_size is None else self.train_size)
        if wanted > source.images:
            allowed = (f"up to {source.images} training images, those for validation included",)
            raise Wrong(self.validation_size, allowed, "value", ("validation_size",))
        return self


class NetworkSettings(Strict):
    """A network in its small-image form."""

    kind: Literal["resnet8", "resnet18", "vgg16"]
    width: int | None = Field(default=None, ge=4, le=256)
    """Channels of the first stage; None: 16 for resnet8, 64 else."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of its stages."""
        return NETWORK_STAGES[self.kind]


class TrainingSettings(Strict):
    """The recipe's share of training, equal for all methods of a study."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: Positive = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = True
    weight_decay: Weight = 5e-4
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = (0.3, 0.6, 0.8)
    """Shares of training at which `steps` divides the rate by 5."""
    measure_every: int = Field(default=1, ge=1)
    """Epochs between two measurements of validation accuracy and memorisation."""
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = Field(default=1, ge=1)


class ExecutionSettings(Strict):
    """How jobs are cut and saved; it changes no result and is in no recipe."""

    seeds_per_job: int = Field(default=1, ge=1)
    save_seconds: Annotated[float, Field(ge=0.0)] = 30.0
    """Least time between two saved states, at epoch ends; 0: every epoch."""


class NoiseSettings(Strict):
    """A kind of label noise and its rate, written `kind-rate` in a configuration."""

    kind: Literal["none", "symmetric", "symmetric_inclusive", "pair"]
    rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


def parse_noise(name: str) -> NoiseSettings:
    """`symmetric-0.5` as settings; `none` stands alone.

    Raises:
        Wrong: an unknown kind or a rate outside [0, 1).
    """
    kind, _, rate = name.partition("-")
    if kind not in NOISE_KINDS:
        raise Wrong(kind, NOISE_KINDS, "noise")
    if kind == "none":
        if rate:
            raise Wrong(name, ("none",), "noise")
        return NoiseSettings(kind="none")
    if not RATE.fullmatch(rate):
        raise Wrong(name, (f"{kind}-RATE with RATE in [0, 1), as in {kind}-0.5",), "noise")
    return NoiseSettings.model_validate({"kind": kind, "rate": float(rate)})


class Settings(Strict):
    """A whole study."""

    study: str
    datasets: dict[str, DatasetSettings]
    noise: dict[str, NoiseSettings]
    networks: dict[str, NetworkSettings]
    methods: dict[str, SerializeAsAny[Kind]]
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(min_length=1)
    training: TrainingSettings
    execution: ExecutionSettings = ExecutionSettings()

    @field_validator("datasets", "networks", mode="before")
    @classmethod
    def _name_is_default(cls, value: Any, info: Any) -> Any:
        """`resnet18: {}` is a network of kind resnet18: the name stands in for a missing kind."""
        key = "source" if info.field_name == "datasets" else "kind"
        if not isinstance(value, Mapping):
            return value
        return {k: {key: k, **v} if isinstance(v, Mapping) else v for k, v in value.items()}

    @field_validator("noise", mode="before")
    @classmethod
    def _noise_names(cls, value: Any) -> Any:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise Wrong(value, ("a list such as [none, symmetric-0.5]",), "value")
        parsed: dict[str, NoiseSettings] = {}
        for position, name in enumerate(value):
            if str(name) in parsed:
                raise Wrong(name, ("each noise once",), "noise", (position,))
            try:
                parsed[str(name)] = parse_noise(str(name))
            except Wrong as wrong:
                wrong.place = (str(position),)
                raise
        return parsed

    @field_validator("methods", mode="before")
    @classmethod
    def _method_kinds(cls, value: Any) -> Any:
        """Each method is read by its own kind, so that an error names the keys of that kind alone."""
        if not isinstance(value, Mapping):
            return value
        methods: dict[str, Kind] = {}
        for name, keys in value.items():
            if not isinstance(keys, Mapping):
                raise Wrong(keys, ("keys such as {kind: baseline}",), "value", (name,))
            kind = str(keys.get("kind", name))
            if "control_of" not in keys and kind not in KINDS:
                raise Wrong(kind, tuple(KINDS), "method kind", (name, "kind"))
            model = Control if "control_of" in keys else KINDS[kind]
            try:
                methods[str(name)] = model.model_validate(dict(keys))
            except ValidationError as error:
                raise Wrong.first_of(error, (name,), model) from None
        return methods

    @field_validator("datasets", "noise", "networks", "methods")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise Wrong("{}", ("at least one entry",), "value")
        for name in value:
            if not NAME.fullmatch(name):
                raise Wrong(name, ("at most 100 letters, digits and _ . -, as it names a folder",), "name", (name,))
        return value

    @field_validator("seeds")
    @classmethod
    def _different(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a seed is named twice")
        return value

    @model_validator(mode="after")
    def _methods_fit(self) -> Settings:
        for network in self.networks.values():
            for name in self.methods:
                found = problem(self.composition(name, network), network.stages)
                if found:
                    key, value, allowed = found
                    what = f"{key} for network {network.kind}"
                    raise Wrong(value, allowed, what, ("methods", name, key))
            self._views_differ(network)
        return self

    def _views_differ(self, network: NetworkSettings) -> None:
        """Independent views of images that are neither cropped nor flipped are one view."""
        still = [name for name, data in self.datasets.items() if not (data.crop or data.flip)]
        for name in self.methods if still else ():
            composition = self.composition(name, network)
            passes = composition.passes
            if isinstance(passes, Passes) and passes.views == "independent":
                alike = passes.model_copy(update={"views": "same"})
                if problem(composition.model_copy(update={"passes": alike}), network.stages):
                    allowed = (
                        f"dropout behind the split, or crop or flip for data set {still[0]}: else heads are equal",
                    )
                    raise Wrong("independent", allowed, "value", ("methods", name, "views"))

    def composition(self, method: str, network: NetworkSettings) -> Composition:
        """What `method` asks of a training of `network`."""
        return self._compose(self.methods[method], method, network, ())

    def _compose(self, kind: Kind, method: str, network: NetworkSettings, asked: tuple[str, ...]) -> Composition:
        def resolve(other: str, weight: float | None) -> Composition:
            key = "control_of" if isinstance(kind, Control) else "of"
            place = ("methods", method, key)
            if other not in self.methods:
                raise Wrong(other, tuple(self.methods), "method", place)
            member = self.methods[other]
            if other in (*asked, method) or (key == "of" and isinstance(member, Combined | Control)):
                fit = [n for n, m in self.methods.items() if not isinstance(m, Combined | Control)]
                raise Wrong(other, tuple(fit), "method here", place)
            if weight is not None:
                if "weight" not in type(member).model_fields:
                    raise Wrong(other, ("members with a weight",), "member", ("methods", method, "weights"))
                member = member.model_copy(update={"weight": weight})
            return self._compose(member, other, network, (*asked, method))

        try:
            return kind.compose(network.stages, resolve)
        except Wrong as wrong:
            if wrong.place[:1] != ("methods",):
                wrong.place = ("methods", method, *wrong.place)
            raise


def load_settings(files: Sequence[Path]) -> Settings:
    """The study that the YAML `files` describe, later files over earlier ones.

    Raises:
        CollabpipeError: with file, line, key, value and what is allowed.
    """
    values, places = merge_files(files)
    return check_settings(values, places)


def check_settings(values: Mapping[str, Any], places: Mapping[Place, str]) -> Settings:
    """`values` as settings; `places` says at which file and line a key stands.

    Raises:
        CollabpipeError: with file, line, key, value and what is allowed.
    """
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        raise CollabpipeError(explain(error, Settings, places)) from None
