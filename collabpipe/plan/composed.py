"""What the methods of a study and the candidates of its searches ask of a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from collabpipe.catalogue.stages import LAYOUTS
from collabpipe.methods.composition import Composition
from collabpipe.methods.registry import KINDS, TERMS
from collabpipe.methods.resolve import Methods, Variants, compose
from collabpipe.settings.study import Settings

Compositions = Mapping[tuple[str, str, str], Composition]
"""By data set, network and the name of a method or candidate."""


def variants_of(settings: Settings) -> Variants:
    """Each method and candidate by its name: the method that it is one of, and all methods beside it."""
    methods = settings.methods
    found: dict[str, tuple[str, Methods]] = {name: (name, methods) for name in methods}
    for name, kind in settings.searches.items():
        for number, one in enumerate(kind.candidates):
            found[f"{name}.candidate{number}"] = (name, {**methods, name: one})
    return found


def compositions_of(settings: Settings, variants: Variants) -> Compositions:
    """The composition of each method and candidate on each data set and network."""
    return {
        (dataset, network, name): compose(methods, method, settings.stages_of(dataset, network))
        for dataset, network in product(settings.datasets, settings.networks)
        for name, (method, methods) in variants.items()
    }


def plugins_behind(
    settings: Settings, networks: Iterable[str], compositions: Iterable[Composition], undecided: bool
) -> tuple[str, ...]:
    """The plugins behind these networks and terms; what is undecided may come to any term of the study's."""
    terms = {term.term for one in compositions for term in one.terms}
    found = {*LAYOUTS.plugins(*(settings.networks[network].kind for network in networks))}
    found |= {*TERMS.plugins(*(TERMS if undecided else terms))}
    return tuple(sorted(found | {*KINDS.plugins(*(KINDS if undecided else ()))}))
