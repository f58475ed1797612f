"""The settings of a study's data: where the images come from, how they are cut, and the noise on their labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from collabpipe.catalogue.noises import NOISES
from collabpipe.catalogue.sources import IMAGE_FOLDER, OWN, SOURCES
from collabpipe.common.validation import Among, Fraction, Strict, Wrong

SourceName = Annotated[str, Among(SOURCES)]
Annotator = Literal["aggre", "random1", "random2", "random3", "worst", "fine"]
SplitName = Literal["train", "test", "val"]
SPLITS: tuple[SplitName, ...] = ("train", "test", "val")
Quality = str | dict[SplitName, tuple[str, ...]]
"""One quality level, or the levels of each split; those of `val` default to those of `train`."""
RATE = re.compile(r"0(\.[0-9]{1,9})?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MD5 = re.compile("[0-9a-f]{32}")
ANNOTATORS: dict[str, tuple[Annotator, ...]] = {
    "cifar10": ("aggre", "random1", "random2", "random3", "worst"),
    "cifar100": ("fine",),
}


class NoiseSettings(Strict):
    """A kind of label noise and its rate, written `kind-rate`, `human-annotator` or `file-name`."""

    kind: Annotated[str, Among(NOISES)]
    rate: Fraction = 0.0
    annotator: Annotator | None = None
    # Left out where it says nothing: the recipes of all other noise keep their digests.
    sha256: str | None = Field(default=None, exclude_if=lambda digest: digest is None)
    """Of `file`: the digest of the label file, which only recipes hold."""


ALL_ANNOTATORS: tuple[str, ...] = Annotator.__args__  # type: ignore[attr-defined]


def parse_noise(name: str) -> NoiseSettings:
    """`symmetric-0.5`, `human-worst` or `file-NAME` as settings; `none` stands alone.

    Raises:
        Wrong: an unknown kind or annotator, or a rate outside [0, 1).
    """
    kind, _, rest = name.partition("-")
    if kind not in NOISES:
        raise Wrong(kind, tuple(NOISES), "noise")
    if kind == "none":
        if rest:
            raise Wrong(name, ("none",), "noise")
        return NoiseSettings(kind="none")
    if kind == "human":
        if rest not in ALL_ANNOTATORS:
            raise Wrong(name, tuple(f"human-{annotator}" for annotator in ALL_ANNOTATORS), "noise")
        return NoiseSettings.model_validate({"kind": kind, "annotator": rest})
    if kind == "file":
        if not NAME.fullmatch(rest):
            raise Wrong(name, ("file-NAME, with a NAME of noise_files",), "noise")
        return NoiseSettings(kind="file")
    if not RATE.fullmatch(rest):
        raise Wrong(name, (f"{kind}-RATE with RATE in [0, 1), as in {kind}-0.5",), "noise")
    return NoiseSettings.model_validate({"kind": kind, "rate": float(rest)})


def parse_noises(value: Any) -> dict[str, NoiseSettings]:
    """A list of noise names as settings by name.

    Raises:
        Wrong: no list, a name twice, or a name that is wrong itself.
    """
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


def _level_list(value: Any, place: Sequence[str]) -> tuple[str, ...]:
    """A level or a list of levels as a list, each once."""
    levels = (value,) if isinstance(value, str) else value
    if not isinstance(levels, Sequence) or not levels or not all(isinstance(level, str) for level in levels):
        raise Wrong(
            value, ("the name of a quality level, or a list of such names (numbers in quotes)",), "value", place
        )
    if len(set(levels)) < len(levels):
        raise Wrong(value, ("each level once",), "value", place)
    return tuple(levels)


class SourceSettings(Strict):
    """Where images come from: all that a set has that is only tested on."""

    source: SourceName
    """Where it comes from (docs/data.md). Default: the name that the study gives it."""
    data_dir: str | None = None
    """A folder with your own copies of the source's files (of source `npz`: the file), relative to the file that names
    it. Their sums are checked, and if a file changes, the data set is made again. None: download. Not for `digits`."""
    mirrors: tuple[str, ...] = ()
    """Folders on web servers, tried before the source's own."""
    accept: dict[str, str] = Field(default_factory=dict)
    """MD5 sums to accept in place of the published ones, by file name."""
    image_size: int | None = Field(default=None, ge=8)
    """Scale images down to this many pixels a side, by area averaging. None: the source's size. `npz` and
    `image_folder` must have it; images of an `image_folder` are also scaled up."""
    quality: Quality | None = None
    """Of an `image_folder`: a quality level, such as `c23`, a list of levels, or either per split, such as
    `{train: c23, test: c40}` (docs/data.md)."""
    group_pattern: str | None = None
    """Of an `image_folder`: the regular expression that finds an image's group, such as its video, in `CLASS/…/FILE`.
    Subset and validation never cut such a group (docs/data.md)."""
    group_file: str | None = None
    """The same, as a CSV file in `data_dir` with the columns `file` and `group`."""

    @field_validator(
        "quality", mode="before", json_schema_input_type=str | list[str] | dict[str, str | list[str]] | None
    )
    @classmethod
    def _levels(cls, value: Any) -> Any:
        """One level as a text; else the levels of each split as lists."""
        if isinstance(value, Mapping):
            for split in value:
                if split not in SPLITS:
                    raise Wrong(split, SPLITS, "split")
            for split in SPLITS[:2]:
                if split not in value:
                    raise Wrong(", ".join(value), ("levels of train and of test",), "value")
            return {split: _level_list(levels, (split,)) for split, levels in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            levels = _level_list(value, ())
            return levels[0] if len(levels) == 1 else dict.fromkeys(SPLITS[:2], levels)
        return value

    @field_validator("group_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise Wrong(value, (f"a regular expression of Python; this one is wrong: {error}",), "value") from None
        return value

    @field_validator("group_file")
    @classmethod
    def _lies_in_data_dir(cls, value: str | None) -> str | None:
        if value is not None and (PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts):
            raise Wrong(value, ("the name of a file in data_dir",), "value")
        return value

    @field_validator("accept")
    @classmethod
    def _sums(cls, value: dict[str, str]) -> dict[str, str]:
        for name, md5 in value.items():
            if not MD5.fullmatch(md5):
                raise Wrong(md5, ("an MD5 sum of 32 hexadecimal digits",), "value", (name,))
        return value

    @model_validator(mode="after")
    def _fits_source(self) -> Self:
        folder, own = self.source == IMAGE_FOLDER, self.source in OWN
        if own and (self.data_dir is None or self.image_size is None):
            key, what = "data_dir" if self.data_dir is None else "image_size", "image folder" if folder else "npz file"
            raise Wrong(None, (f"a value: an {what} has no default",), "value", (key,))
        # A key that would do nothing is a misunderstanding.
        for key in ("mirrors", "accept") if own else ("data_dir", "mirrors", "accept"):
            if not SOURCES[self.source].files and (value := getattr(self, key)):
                why = "its images have no published sums" if own else "it comes without files"
                raise Wrong(value, (f"nothing for source {self.source}: {why}",), "value", (key,))
        for key, what in (("quality", "quality levels"), ("group_pattern", "groups"), ("group_file", "groups")):
            if not folder and (value := getattr(self, key)) is not None:
                raise Wrong(value, (f"nothing: only an image_folder has {what}",), "value", (key,))
        if self.group_pattern is not None and self.group_file is not None:
            raise Wrong(
                self.group_file,
                ("nothing beside group_pattern: one of them names the groups",),
                "value",
                ("group_file",),
            )
        pixels = SOURCES[self.source].pixels
        if self.image_size is not None and pixels and self.image_size > pixels:
            raise Wrong(self.image_size, (f"up to {pixels}, the images' own size",), "value", ("image_size",))
        return self

    @property
    def pixels(self) -> int:
        """Pixels a side of the images that are trained on."""
        return self.image_size or SOURCES[self.source].pixels or 0  # an image folder states its size


class DatasetSettings(SourceSettings):
    """A data set as the study uses it."""

    human_labels: bool = False
    """`cifar10`, `cifar100`: also fetch the annotators' labels, which noise `human-…` needs."""
    train_size: int | None = Field(default=None, ge=2)
    """Images to train on, a stratified subset that the seed draws. None: all that validation leaves. `collabpipe
    labels` refuses a number that leaves a class without an image."""
    validation_size: int | None = Field(default=None, ge=1)
    """Images that choose the best epoch and hyper-parameters. They are taken from the noisy training data, or from the
    data set's own validation set if it has one (a folder `val`, or `val_images`). None: all of that set, for
    `image_folder` and `npz` alone. A class without a validation image causes a warning."""
    refit: bool | None = None
    """As the study's key `refit`; None: as the study says."""
    crop: int = Field(default=0, ge=0, le=16)
    """Black padding of the random crop, in pixels; 0: no crop."""
    flip: bool = False
    """Random horizontal flip."""
    noise: dict[str, NoiseSettings] | None = None
    """The noise on this data set; None: the study's."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Keys of `training` that differ for this data set, such as `{epochs: 40}`."""
    test_on: tuple[str, ...] = ()
    """Further test sets that its runs are evaluated on: names under `test_sets`, other data sets, or `corruptions`
    (docs/robustness.md)."""

    @field_validator("noise", mode="before", json_schema_input_type=list[str] | None)
    @classmethod
    def _noise_names(cls, value: Any) -> Any:
        noises = None if value is None else parse_noises(value)
        if noises is not None and not noises:
            raise Wrong(value, ("at least one entry",), "value")
        return noises

    @model_validator(mode="after")
    def _trains_on_source(self) -> DatasetSettings:
        if self.source not in OWN and self.validation_size is None:
            allowed = (f"a number of images; this key is missing, and {self.source} has no validation set of its own",)
            raise Wrong(None, allowed, "value", ("validation_size",))
        if self.human_labels and self.source not in ANNOTATORS:
            raise Wrong("true", (f"false: only {' and '.join(ANNOTATORS)} have them",), "value", ("human_labels",))
        return self

    @model_validator(mode="after")
    def _enough_images(self) -> DatasetSettings:
        source = SOURCES[self.source]
        least = max(2, len(source.classes))
        if self.train_size is not None and self.train_size < least:
            allowed = (f"from {least}: one image of each of the {least} classes",)
            raise Wrong(self.train_size, allowed, "value", ("train_size",))
        wanted = (self.validation_size or 0) + (least if self.train_size is None else self.train_size)
        if source.images and wanted > source.images:
            allowed = (f"up to {source.images} training images, those for validation included",)
            fits = self.train_size is None or self.train_size <= source.images
            key = "validation_size" if self.validation_size and fits else "train_size"
            raise Wrong(getattr(self, key), allowed, "value", (key,))
        return self

    def refuses(self, noise: NoiseSettings) -> Wrong | None:
        """Why this data set cannot have `noise`, placed at its key that does not fit; None if it can."""
        sources = NOISES[noise.kind].sources
        if sources and self.source not in sources:
            allowed = (f"only for {' and '.join(sources)}",)
            return Wrong(noise.kind, allowed, f"noise for source {self.source}", ("noise",))
        if noise.annotator is not None:
            known = tuple(f"human-{annotator}" for annotator in ANNOTATORS[self.source])
            if f"human-{noise.annotator}" not in known:
                return Wrong(f"human-{noise.annotator}", known, f"noise for source {self.source}", ("noise",))
            if not self.human_labels:
                return Wrong("false", ("true: the noise human-… needs it",), "human_labels", ("human_labels",))
        return None
