"""Hyper-parameters that the pipeline chooses: lists in a method's keys span a grid of candidates, or they are named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from itertools import product
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, Field, SerializeAsAny, ValidationError, model_validator

from collabpipe.common.validation import Strict, Wrong
from collabpipe.methods.base import Kind

Model = TypeVar("Model", bound=Strict)
Axes = dict[tuple[str, ...], list[Any]]
"""Lists of values, by key or by key and name below it."""
SEVERAL = (list, tuple, set, frozenset, Sequence, Set)
"""The types of values that a configuration writes as a list."""
MOST_CANDIDATES = 100
HINT = "one value, or a list together with select: {on: validation, seeds: [...]}"


def _different(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) < len(value):
        raise ValueError("a seed is named twice")
    return value


Seeds = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1), AfterValidator(_different)]
"""Replicates, each named once."""


class Select(Strict):
    """What candidates are compared on."""

    on: Literal["validation"] = "validation"
    """Accuracy on the noisy validation labels, at the last epoch."""
    seeds: Seeds
    """Replicates of each candidate; the study's own seeds are not among them."""
    carry: dict[str, str] = Field(default_factory=dict)
    """Use the choice that was made under another noise: `{symmetric-0.8: symmetric-0.5}` uses the choice under 50%
    noise for 80%."""

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, values: Any) -> Any:
        """YAML reads the key `on` as true."""
        return {"on" if key is True else key: v for key, v in values.items()} if isinstance(values, Mapping) else values


class Searched(Kind):
    """A method with several candidates, of which one is chosen on validation images."""

    select: Select
    values: tuple[dict[str, Any], ...]
    """What each candidate puts in place of the lists."""
    candidates: tuple[SerializeAsAny[Kind], ...]


def read_method(name: str, keys: Mapping[str, Any], model: type[Kind]) -> Kind:
    """A method of a configuration, searched if its keys say so.

    Raises:
        Wrong: a key is unknown, a value is not allowed, a list has no `select` or `select` no list.
    """
    axes = _axes(keys, model)
    if "select" not in keys:
        if "candidates" in keys:
            raise Wrong(keys["candidates"], (HINT,), "value", (name, "candidates"))
        if axes:
            first = next(iter(axes))
            raise Wrong(axes[first], (HINT,), "value", (name, *first))
        return _validated((name,), dict(keys), model)
    rest = {key: value for key, value in keys.items() if key not in ("select", "candidates")}
    if "candidates" in keys:
        values = _named(name, keys["candidates"], axes)
    elif axes:
        values = _grid(name, axes)
    else:
        _validated((name,), rest, model)
        allowed = ("only beside a hyper-parameter that is a list, or beside candidates",)
        raise Wrong(keys["select"], allowed, "select", (name, "select"))
    if not 0 < len(values) <= MOST_CANDIDATES:
        raise Wrong(len(values), (f"1 to {MOST_CANDIDATES}",), "number of candidates", (name,))
    places = [(name, "candidates", str(n)) if "candidates" in keys else (name,) for n in range(len(values))]
    return Searched(
        select=_validated((name, "select"), keys["select"], Select),
        values=tuple({".".join(axis): value for axis, value in one.items()} for one in values),
        candidates=tuple(_validated(p, _with(rest, one), model) for p, one in zip(places, values, strict=True)),
    )


def _named(name: str, candidates: Any, axes: Axes) -> list[dict[tuple[str, ...], Any]]:
    """The candidates that a configuration lists one by one."""
    if axes:
        first = next(iter(axes))
        raise Wrong(
            axes[first], ("one value: candidates are listed by name, with all their values",), "value", (name, *first)
        )
    allowed = ("a list such as [{drop: 0.5}, {drop: 0.7, channel_drop: 0.2}], each once",)
    if not isinstance(candidates, list):
        raise Wrong(candidates, allowed, "value", (name, "candidates"))
    for position, one in enumerate(candidates):
        if not isinstance(one, Mapping) or one in candidates[:position]:
            raise Wrong(one, allowed, "candidate", (name, "candidates", position))
    return [{(str(key),): value for key, value in one.items()} for one in candidates]


def _grid(name: str, axes: Axes) -> list[dict[tuple[str, ...], Any]]:
    """All combinations of the lists, of which the last runs fastest."""
    for axis, listed in axes.items():
        for value in listed:
            if listed.count(value) > 1:
                raise Wrong(value, ("each value once",), "value", (name, *axis))
    if math.prod(len(listed) for listed in axes.values()) > MOST_CANDIDATES:
        number = math.prod(len(listed) for listed in axes.values())
        raise Wrong(number, (f"up to {MOST_CANDIDATES}",), "number of candidates", (name,))
    return [dict(zip(axes, combination, strict=True)) for combination in product(*axes.values())]


def _axes(keys: Mapping[str, Any], model: type[Kind]) -> Axes:
    """The lists among the keys, and one level below, where the model wants one value."""
    axes: Axes = {}
    for key, value in keys.items():
        field = model.model_fields.get(key)
        if field is None or takes_several(field.annotation):
            continue
        if isinstance(value, Mapping):
            axes.update({(key, str(name)): inner for name, inner in value.items() if isinstance(inner, list) and inner})
        elif isinstance(value, list) and value:
            axes[(key,)] = value
    return axes


def takes_several(annotation: Any) -> bool:
    """Whether a list can be one value of a key with this type."""
    return (get_origin(annotation) or annotation) in SEVERAL or any(map(takes_several, get_args(annotation)))


def _with(keys: dict[str, Any], values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    changed = {key: dict(value) if isinstance(value, Mapping) else value for key, value in keys.items()}
    for (key, *inner), value in values.items():
        if inner:
            changed[key][inner[0]] = value
        else:
            changed[key] = value
    return changed


def _validated(place: tuple[str, ...], keys: Any, model: type[Model]) -> Model:
    try:
        return model.model_validate(keys)
    except ValidationError as error:
        raise Wrong.first_of(error, place, model) from None
