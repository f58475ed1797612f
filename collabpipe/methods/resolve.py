"""The methods of a study together: read by their kinds, and resolved against each other for a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Wrong
from collabpipe.methods.base import Kind
from collabpipe.methods.composition import Composition
from collabpipe.methods.derived import Combined, Control
from collabpipe.methods.registry import KINDS
from collabpipe.methods.search import Searched, read_method

Methods = Mapping[str, Kind]
Variants = Mapping[str, tuple[str, Methods]]
"""By the name in a run's folder, method or candidate: the method, and all methods as that one sees them."""


def read_methods(value: Mapping[str, Any]) -> dict[str, Kind]:
    """Each method by its own kind, so that an error names the keys of that kind alone.

    Raises:
        Wrong: with the place below `methods`.
    """
    methods: dict[str, Kind] = {}
    for name, keys in value.items():
        if not isinstance(keys, Mapping):
            raise Wrong(keys, ("keys such as {kind: baseline}",), "value", (name,))
        kind = str(keys.get("kind", name))
        if "control_of" not in keys and kind not in KINDS:
            raise Wrong(kind, tuple(KINDS), "method kind", (name, "kind"))
        methods[str(name)] = read_method(str(name), keys, Control if "control_of" in keys else KINDS[kind])
    return methods


def candidate(kind: Kind, choice: int = 0) -> Kind:
    """The method itself, or one candidate of a searched one."""
    return kind.candidates[choice] if isinstance(kind, Searched) else kind


def builds_on(kind: Kind) -> tuple[str, ...]:
    """The names of the methods that a method takes from."""
    plain = candidate(kind)
    if isinstance(plain, Combined):
        return plain.of
    return (plain.control_of,) if isinstance(plain, Control) else ()


def involved(methods: Methods, name: str) -> tuple[str, ...]:
    """The method and all that it builds on."""
    found = [name]
    for other in builds_on(methods[name]):
        found += involved(methods, other)
    return tuple(dict.fromkeys(found))


def tuned_controls(methods: Methods) -> dict[str, tuple[str, ...]]:
    """By method its controls whose rates are their own."""
    found: dict[str, tuple[str, ...]] = {}
    for name, kind in methods.items():
        control = candidate(kind)
        if isinstance(control, Control) and not control.is_plain:
            found[control.control_of] = (*found.get(control.control_of, ()), name)
    return found


def own_training(methods: Methods, name: str) -> dict[str, float]:
    """The keys of training that a method sets in place of the study's; a control also has those of its method."""
    kind = candidate(methods[name])
    controlled = own_training(methods, kind.control_of) if isinstance(kind, Control) else {}
    return controlled | kind.own_training


def compose(methods: Methods, name: str, stages: Stages) -> Composition:
    """What a method asks of a training of a network with these `stages`; a searched one counts as its first candidate.

    Raises:
        Wrong: a method that it builds on does not exist or does not fit; with the place from `methods` on.
    """
    return _compose(methods, candidate(methods[name]), name, stages, ())


def _compose(methods: Methods, kind: Kind, name: str, stages: Stages, asked: tuple[str, ...]) -> Composition:
    def resolve(other: str, weight: float | None) -> Composition:
        key = "control_of" if isinstance(kind, Control) else "of"
        place = ("methods", name, key)
        if other not in methods:
            raise Wrong(other, tuple(methods), "method", place)
        member = candidate(methods[other])
        if other in (*asked, name) or (key == "of" and isinstance(member, Combined | Control)):
            fit = [n for n, m in methods.items() if not isinstance(candidate(m), Combined | Control)]
            raise Wrong(other, tuple(fit), "method here", place)
        if weight is not None:
            if "weight" not in type(member).model_fields:
                raise Wrong(other, ("members with a weight",), "member", ("methods", name, "weights"))
            member = member.model_copy(update={"weight": weight})
        return _compose(methods, member, other, stages, (*asked, name))

    try:
        return kind.compose(stages, resolve)
    except Wrong as wrong:
        if wrong.place[:1] != ("methods",):
            wrong.place = ("methods", name, *wrong.place)
        raise
