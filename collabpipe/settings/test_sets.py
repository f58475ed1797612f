"""The settings of further test sets: corruptions of a data set's own test images, and images from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from collabpipe.catalogue.corruptions import CORRUPTIONS, SEVERITIES
from collabpipe.catalogue.sources import SOURCES
from collabpipe.common.validation import Among, Strict, Wrong
from collabpipe.settings.data import DatasetSettings, SourceSettings

GENERATED = "corruptions"
"""The name of the test set that is generated."""


class CorruptionSettings(Strict):
    """Which corruptions the test set `corruptions` consists of."""

    kinds: tuple[Annotated[str, Among(CORRUPTIONS)], ...] = Field(default=tuple(CORRUPTIONS), min_length=1)
    """Their names; the default are all fifteen (docs/robustness.md)."""
    severities: tuple[Annotated[int, Field(ge=SEVERITIES[0], le=SEVERITIES[-1])], ...] = Field(
        default=SEVERITIES, min_length=1
    )
    """How strong they are, from 1 to 5."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """What the draws of all corruptions are derived from: all runs are tested on the same images."""

    @field_validator("kinds", "severities")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        for position, one in enumerate(value):
            if one in value[:position]:
                raise Wrong(one, ("each once",), "value", (position,))
        return value


def check_test_sets(
    datasets: Mapping[str, DatasetSettings], test_sets: Mapping[str, SourceSettings], corruptions: CorruptionSettings
) -> None:
    """Hold what each data set is also tested on to what is known of the images beforehand.

    Raises:
        Wrong: an unknown or repeated name, other classes, another size, images too small for a corruption.
    """
    for name in test_sets:
        if name in datasets or name == GENERATED:
            taken = "the name of the generated test set" if name == GENERATED else "the name of a data set"
            raise Wrong(name, (f"another name: this is {taken}",), "name", ("test_sets", name))
    for name, data in datasets.items():
        others: dict[str, SourceSettings] = {k: v for k, v in (*datasets.items(), *test_sets.items()) if k != name}
        for position, other in enumerate(data.test_on):
            place = ("datasets", name, "test_on", position)
            if other not in (GENERATED, *others):
                raise Wrong(other, (GENERATED, *others), "test set", place)
            if other in data.test_on[:position]:
                raise Wrong(other, ("each once",), "test set", place)
            if other == GENERATED:
                _large_enough(data, corruptions, place)
            else:
                _alike(data, others[other], other, place)


def _large_enough(data: DatasetSettings, corruptions: CorruptionSettings, place: tuple[object, ...]) -> None:
    small = [kind for kind in corruptions.kinds if data.pixels < CORRUPTIONS[kind].least]
    if data.pixels and small:  # a plugin may not say the size
        left = [kind for kind in CORRUPTIONS if data.pixels >= CORRUPTIONS[kind].least]
        needs = ", ".join(f"{kind} (from {CORRUPTIONS[kind].least})" for kind in small)
        allowed = (
            f"for images of {data.pixels} pixels a side no {needs}: name others, as in "
            f"corruptions: {{kinds: [{', '.join(left)}]}}",
        )
        raise Wrong(GENERATED, allowed, "test set", place)


def _alike(data: DatasetSettings, other: SourceSettings, name: str, place: tuple[object, ...]) -> None:
    if data.pixels and other.pixels not in (0, data.pixels):
        remedy = f"images of {data.pixels} pixels a side, and {name} has {other.pixels}: set its image_size"
        raise Wrong(name, (remedy,), "test set", place)
    own, others = (SOURCES[one.source].classes for one in (data, other))
    if own and others and set(own) != set(others):
        lists = "; ".join(f"{which} has {', '.join(of[:12])}" for which, of in ((data.source, own), (name, others)))
        raise Wrong(name, (f"a test set of the same classes: {lists}",), "test set", place)
