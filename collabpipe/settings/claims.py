"""The paper's claims as statements that a program can judge, read from a file that is written before the test set is.

A study's recipe holds them, so planning imports this module: it knows no pandas, scipy or torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.validation import Positive, Strict, Wrong, explain, read_yaml

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

CHANCE: Literal["chance"] = "chance"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
AnySequence = TypeVar("AnySequence", bound=Sequence[object])


class Rival(Strict):
    """A method that a sensible person would try instead: one pass, no collaboration."""

    method: Name
    """A method of the study."""
    epoch: Literal["last", "best"] | None = None
    """At which epoch it is read; `best` is early stopping on noisy validation labels. None: that of the reading."""

    def at(self, epoch: str) -> tuple[str, str]:
        """Method and epoch for a claim that is read at `epoch`."""
        return self.method, self.epoch or epoch


Rivals = tuple[Rival, ...]
"""Of several the one that is best on validation images is taken, at each place for itself."""


def _rivals(value: Any) -> Any:
    """A name, keys, or a list of these as models."""
    if value is None:
        return None
    found = []
    for position, one in enumerate(value if isinstance(value, list | tuple) else [value]):
        try:
            found.append(Rival.model_validate({"method": one} if isinstance(one, str) else one))
        except ValidationError as error:
            raise Wrong.first_of(error, (position,), Rival) from None
    return _different(tuple(found), "rival")


ReadRivals = BeforeValidator(_rivals, json_schema_input_type=str | Rival | list[str | Rival])
"""A method's name is short for it as a rival, and one rival for a list of it."""


class Stated(Strict):
    """Base of claims and analogues: a name and the places at which it is judged."""

    name: Name
    margin: Positive | None = None
    """A gain smaller than this is none, in the unit of the reading. An analogue without one has its claim's."""
    rival: Annotated[Rivals | None, ReadRivals] = None
    """In place of the file's own; an analogue without one has its claim's."""
    # Left out where there is none: studies whose claims name no test set keep their digests.
    test_set: Name | None = Field(default=None, exclude_if=lambda name: name is None)
    """A further test set that accuracies are of (`test_on`); None: the data set's own test images. An analogue without
    one has its claim's."""
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
    """The readings; an analogue without any uses those of its claim."""

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
        named = [
            (("test_set",), self.test_set),
            *((("analogues", a.name, "test_set"), a.test_set) for a in self.analogues),
        ]
        for place, test_set in named:
            if test_set is not None and self.metric == "overhead":
                raise Wrong(test_set, ("no test set: overhead is not measured on one",), "value", place)
        margins: list[tuple[tuple[str, ...], float | None]] = [(("margin",), self.margin)]
        margins += [(("analogues", a.name, "margin"), a.margin) for a in self.analogues]
        for place, margin in margins:
            if margin is not None and self.metric == "overhead":
                raise Wrong(margin, ("no margin: overhead is a ratio",), "value", place)
            if margin is not None and self.expected is not None and margin >= self.expected:
                raise Wrong(margin, (f"less than the claimed {self.expected:g}",), "value", place)
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
        claimed = "> 0" if self.expected is None else f"{self.expected:g}"
        return claimed if self.margin is None else f"{claimed} (margin {self.margin:g})"

    def in_words(self, reading: Reading) -> str:
        """A reading for people."""
        if self.metric == "overhead":
            return f"ratio of {COST_WORDS[reading]}"
        epoch, scale = reading.split()
        unit = f"points of {self.metric}" if scale == "points" else f"percent of the other's {self.metric}"
        return f"{unit}, {'last' if epoch == 'last' else 'best-on-validation'} epoch"


class Claims(Strict):
    """All claims of a file, in its order."""

    diverged: float | Literal["chance"] = CHANCE
    """The test accuracy, in percent, that a diverged run counts as; chance: that of guessing among the classes."""
    rival: Annotated[Rivals, ReadRivals] = ()
    claims: tuple[Claim, ...] = Field(min_length=1)

    @field_validator("diverged", mode="before")
    @classmethod
    def _diverged(cls, value: Any) -> Any:
        if value == CHANCE or (isinstance(value, int | float) and 0 <= value <= 100):
            return value
        raise Wrong(value, (CHANCE, "an accuracy from 0 to 100 percent"))

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
        families: dict[str, tuple[Claim, ...]] = {ORIGINAL: ()}
        for claim in self.claims:
            rival = self.rival if claim.rival is None else claim.rival
            families[ORIGINAL] += (claim.model_copy(update={"rival": rival}),)
            for analogue in claim.analogues:
                changes = {
                    "places": analogue.places,
                    "readings": analogue.readings or claim.readings,
                    "margin": analogue.margin or claim.margin,
                    "rival": rival if analogue.rival is None else analogue.rival,
                    "test_set": analogue.test_set or claim.test_set,
                    "analogues": (),
                }
                families[analogue.name] = (*families.get(analogue.name, ()), claim.model_copy(update=changes))
        return families

    def rivals_at(self, place: str) -> Rivals:
        """The rivals at a place for a table of all methods: those of the first claim there, else the file's own."""
        here = (claim.rival for family in self.families.values() for claim in family if place in claim.places)
        return next((rival for rival in here if rival), self.rival)

    @property
    def rivals(self) -> frozenset[str]:
        """The names of all methods that are a rival somewhere."""
        named = [claim.rival or () for family in self.families.values() for claim in family]
        return frozenset(rival.method for rivals in (self.rival, *named) for rival in rivals)


def load_claims(path: Path) -> Claims:
    """The claims of a YAML file.

    Raises:
        CollabpipeError: with file, line, key, value and what is allowed.
    """
    if not path.is_file():
        raise CollabpipeError(
            f"{path}: cannot be read. The key claims names a file, relative to the configuration that names it (where "
            "--config or a module names it, to the working folder)."
        )
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
