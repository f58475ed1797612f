"""The paper's claims as statements that a program can judge, read from a file that is written before the test set is.

A study's recipe holds them, so planning imports this module: it knows no pandas, scipy or torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from collabpipe.composition import Positive, Strict
from collabpipe.errors import CollabpipeError
from collabpipe.settings_errors import Wrong, explain, read_yaml

FAMILY_LIMIT = 6
"""Contrasts that are corrected together: more would leave none with power at ten replicates."""

ORIGINAL = ""
"""The family of the claims at the paper's own places; analogues bear a name."""

PLACE = re.compile(r"[^/\s]+/[^/\s]+/[^/\s]+")
SCORES = ("last points", "last relative", "best points", "best relative")
COST_WORDS = {
    "saved_bytes": "bytes saved for the backward pass",
    "params_train": "parameters in training",
    "peak_bytes": "peak memory",
    "step_seconds": "time of a step",
}
Reading = Literal[
    "last points", "last relative", "best points", "best relative",
    "saved_bytes", "params_train", "peak_bytes", "step_seconds",
]  # fmt: skip
"""At which epoch and on which scale a gain is measured; for overhead the column of the overhead table."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
AnySequence = TypeVar("AnySequence", bound=Sequence[object])


class Stated(Strict):
    """What has a name, and places at which it is judged."""

    name: Name
    places: tuple[str, ...] = Field(min_length=1)
    """Each `dataset/noise/network`; the first is the declared one."""

    @field_validator("places")
    @classmethod
    def _places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, place in enumerate(value):
            if not PLACE.fullmatch(place):
                raise Wrong(place, ("DATASET/NOISE/NETWORK, as in cifar10/none/resnet18",), "place", (position,))
        return _different(value, "place")


class Analogue(Stated):
    """A claim asked of a study that is not the paper's; its name is that of the family it belongs to."""

    readings: tuple[Reading, ...] = ()
    """The claim's own if left out."""

    @field_validator("readings")
    @classmethod
    def _readings(cls, value: tuple[Reading, ...]) -> tuple[Reading, ...]:
        return _different(value, "reading")


class Claim(Stated):
    """One statement of the paper: each of `methods` does better than each of `against`."""

    source: Text
    """Where the paper says so."""
    says: Text
    """What it says, in this project's words."""
    metric: Literal["accuracy", "error", "overhead"]
    methods: Names
    against: Names
    control: Name | None = None
    """The matched control; None: the one that the study knows for each method."""
    expected: Positive | None = None
    """The number that is claimed, in favour of the methods; None: the text has none, any gain counts."""
    readings: tuple[Reading, ...] = Field(min_length=1)
    """The first is the declared one."""
    analogues: tuple[Analogue, ...] = ()

    @field_validator("analogues", mode="before")
    @classmethod
    def _analogues(cls, value: Any) -> Any:
        return _named(value, Analogue)

    @field_validator("methods", "against", "readings")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _different(value, "entry")

    @model_validator(mode="after")
    def _fits_its_metric(self) -> Claim:
        allowed = tuple(COST_WORDS) if self.metric == "overhead" else SCORES
        asked: list[tuple[tuple[str, ...], tuple[Reading, ...]]] = [(("readings",), self.readings)]
        asked += [(("analogues", a.name, "readings"), a.readings) for a in self.analogues]
        for place, readings in asked:
            for position, reading in enumerate(readings):
                if reading not in allowed:
                    raise Wrong(reading, allowed, f"reading of {self.metric}", (*place, position))
        if self.metric == "overhead" and self.expected is not None:
            raise Wrong(self.expected, ("no number: overhead is claimed to be less",), "value", ("expected",))
        for position, method in enumerate(self.methods):
            if method in self.against:
                raise Wrong(method, ("methods that are not in 'against'",), "method", ("methods", position))
        return self

    @property
    def members(self) -> tuple[tuple[str, str], ...]:
        """The pairs (method, other) that must all hold."""
        return tuple((method, other) for method in self.methods for other in self.against)

    @property
    def expects(self) -> str:
        """What is claimed, for a table."""
        if self.metric == "overhead":
            return "< 1"
        return "> 0" if self.expected is None else f"{self.expected:g}"

    def in_words(self, reading: Reading) -> str:
        """A reading for people."""
        if self.metric == "overhead":
            return f"ratio of {COST_WORDS[reading]}"
        epoch, scale = reading.split()
        unit = f"points of {self.metric}" if scale == "points" else f"percent of the other's {self.metric}"
        return f"{unit}, {'last' if epoch == 'last' else 'best-on-validation'} epoch"


class Claims(Strict):
    """All claims of a file, in its order."""

    claims: tuple[Claim, ...] = Field(min_length=1)

    @field_validator("claims", mode="before")
    @classmethod
    def _claims(cls, value: Any) -> Any:
        return _named(value, Claim)

    @field_validator("claims")
    @classmethod
    def _families_are_small(cls, value: tuple[Claim, ...]) -> tuple[Claim, ...]:
        _different([claim.name for claim in value], "claim")
        sizes = Counter([ORIGINAL] * len(value) + [a.name for claim in value for a in claim.analogues])
        for family, size in sizes.items():
            if size > FAMILY_LIMIT:
                what = f"analogues on {family}" if family else "claims"
                raise Wrong(size, (f"at most {FAMILY_LIMIT}, as they are corrected together",), f"number of {what}")
        return value

    @property
    def families(self) -> dict[str, tuple[Claim, ...]]:
        """Claims that are corrected together: the originals, then each study's analogues as claims at its places."""
        families: dict[str, tuple[Claim, ...]] = {ORIGINAL: self.claims}
        for claim in self.claims:
            for analogue in claim.analogues:
                changes = {"places": analogue.places, "readings": analogue.readings or claim.readings, "analogues": ()}
                moved = claim.model_copy(update=changes)
                families[analogue.name] = (*families.get(analogue.name, ()), moved)
        return families


def load_claims(path: Path) -> Claims:
    """The claims of a YAML file.

    Raises:
        CollabpipeError: with file, line, key, value and what is allowed.
    """
    if not path.is_file():
        raise CollabpipeError(f"{path}: cannot be read. The key claims names a file below the working folder.")
    values, places = read_yaml(path)
    try:
        return Claims.model_validate(values)
    except ValidationError as error:
        raise CollabpipeError(explain(error, Claims, places)) from None


def _named(value: Any, model: type[BaseModel]) -> Any:
    """A mapping from names to keys as models that hold their names: JSON sorts mappings, and order matters here."""
    if not isinstance(value, Mapping):
        return value
    found = []
    for name, keys in value.items():
        if not isinstance(keys, Mapping):
            raise Wrong(keys, ("keys such as {places: [cifar10/none/resnet18]}",), "value", (name,))
        try:
            found.append(model.model_validate({**keys, "name": str(name)}))
        except ValidationError as error:
            raise Wrong.first_of(error, (name,), model) from None
    return tuple(found)


def _different(value: AnySequence, what: str) -> AnySequence:
    for position, part in enumerate(value):
        if part in value[:position]:
            raise Wrong(part, ("each once",), what, (position,))
    return value
