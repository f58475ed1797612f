"""What a plugin registers, and what it builds on (docs/plugins.md). Importing it imports no torch.

A plugin is a Python file that a configuration names under `plugins`. What it registers goes into the same registries as
the package's own networks, terms, kinds of method, noises and sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from collabpipe.catalogue.noises import NOISES, Noise
from collabpipe.catalogue.sources import SOURCES, Source, SourceFile
from collabpipe.catalogue.stages import LAYOUTS, Layout, Stages
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.global_draws import place_of_function, without_global_draws
from collabpipe.common.plugins import add_entry
from collabpipe.common.validation import Fraction, Positive, Weight, Wrong
from collabpipe.data.noise import Clean, Generator, Labels, Unfit
from collabpipe.data.split import Split
from collabpipe.methods.base import Kind, Resolve, VirtualHeads, WithPasses
from collabpipe.methods.composition import COSTLESS, Composition, Label, OwnTerm, Passes
from collabpipe.methods.registry import KINDS, TERMS
from collabpipe.plan.recipes import DataRecipe
from collabpipe.settings.data import NoiseSettings

if TYPE_CHECKING:
    from collabpipe.model.networks import StagedNetwork

__all__ = [
    "COSTLESS",
    "Clean",
    "CollabpipeError",
    "Composition",
    "DataRecipe",
    "Fraction",
    "Kind",
    "Label",
    "Layout",
    "OwnTerm",
    "Passes",
    "Positive",
    "Resolve",
    "Source",
    "SourceFile",
    "Split",
    "Stages",
    "Unfit",
    "VirtualHeads",
    "Weight",
    "WithPasses",
    "Wrong",
    "kind",
    "network",
    "noise",
    "source",
    "term",
]

P = ParamSpec("P")
R = TypeVar("R")
AnyKind = TypeVar("AnyKind", bound=Kind)
AnyTerm = TypeVar("AnyTerm", bound=OwnTerm)
Builder = Callable[[int, int, int], "StagedNetwork"]
Reader = Callable[[DataRecipe, Mapping[str, Path]], tuple[Split, Split]]


def used_as(shown: str, first: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a decorator refuse to be used otherwise than `shown`, where its first argument is a `first`."""

    def of(decorator: Callable[P, R]) -> Callable[P, R]:
        @wraps(decorator)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = [*signature(decorator).bind(*args, **kwargs).arguments.values()]
            except TypeError:  # too many, too few, or a name that is not there
                given = []
            if not given or not isinstance(given[0], first):
                raise CollabpipeError(f"plugin.{decorator.__name__} is not used as it must be. Write {shown}.")
            return decorator(*args, **kwargs)

        return checked

    return of


@used_as('@plugin.network("NAME", plugin.Layout(...)) before a function', str)
def network(name: str, layout: Layout) -> Callable[[Builder], Builder]:
    """Register a network under `kind: NAME`: a function of width, channels of the images and number of classes.

    Args:
        name: the kind that a configuration names.
        layout: its stages, as planning must know them without torch.
    """

    def register(build: Builder) -> Builder:
        if len(layout.channels) != len(layout.strides):
            counts = f"{len(layout.channels)} channels and {len(layout.strides)} strides"
            raise CollabpipeError(f"network {name!r}: its layout has {counts}. Give one of each for each stage.")

        @wraps(build)
        def checked(width: int, channels: int, classes: int) -> StagedNetwork:
            made = build(width, channels, classes)
            if tuple(stages := getattr(made, "stages", ())) != layout.names:
                found = ", ".join(stages) or f"none, but a {type(made).__name__}"
                told = f"must return a StagedNetwork with stages {', '.join(layout.names)}, as its layout says"
                raise CollabpipeError(f"{place_of_function(build)}: network {name!r} {told}. It returned: {found}.")
            return made

        add_entry(LAYOUTS, name, replace(layout, build=checked))
        return build

    return register


@used_as("@plugin.term, without parentheses, before a class", type)
def term(model: type[AnyTerm]) -> type[AnyTerm]:
    """Register a loss term under the default of its field `term`; a kind of method puts it into a composition."""
    if not issubclass(model, OwnTerm) or (model.loss is OwnTerm.loss and model.module is OwnTerm.module):
        raise CollabpipeError(
            f"{model.__name__} is no term. Derive it from plugin.OwnTerm and give it loss(self, step)."
        )
    add_entry(TERMS, _default(model, "term"), model)
    return model


@used_as("@plugin.kind, without parentheses, before a class", type)
def kind(model: type[AnyKind]) -> type[AnyKind]:
    """Register a kind of method under the default of its field `kind`."""
    if not issubclass(model, Kind) or model.compose is Kind.compose:
        raise CollabpipeError(f"{model.__name__} is no kind. Derive it from plugin.Kind and give it compose.")
    name, composing = _default(model, "kind"), model.compose

    @wraps(composing)
    def checked(self: Kind, stages: Stages, resolve: Resolve) -> Composition:
        made = composing(self, stages, resolve)
        if not isinstance(made, Composition):
            raise CollabpipeError(
                f"{place_of_function(composing)}: compose of method kind {name!r} returned a "
                f"{type(made).__name__}. Return a plugin.Composition."
            )
        return made

    model.compose = checked  # type: ignore[method-assign]
    add_entry(KINDS, name, model)
    return model


def _default(model: type[Kind | OwnTerm], field: str) -> str:
    """The name that a class is registered under."""
    default = model.model_fields[field].default if field in model.model_fields else None
    if not isinstance(default, str):
        raise CollabpipeError(f'{model.__name__} needs a name. Give it the field {field}: Literal["NAME"] = "NAME".')
    return default


@used_as('@plugin.noise("NAME") before a function', str)
def noise(name: str, sources: tuple[str, ...] = ()) -> Callable[[Generator], Generator]:
    """Register a kind of noise, which a configuration writes as `NAME-RATE`.

    The function takes what is known of the clean images, the noise's settings and a numpy generator. It returns the
    noisy labels (N,) int64.

    Args:
        name: what a configuration names.
        sources: the only sources that can have it; empty: all.
    """

    def register(draw: Generator) -> Generator:
        @wraps(draw)
        def checked(clean: Clean, settings: NoiseSettings, generator: np.random.Generator) -> Labels:
            labels = np.asarray(without_global_draws(draw)(clean, settings, generator))
            right = labels.shape == clean.labels.shape and np.issubdtype(labels.dtype, np.integer)
            if not right or labels.min() < 0 or labels.max() >= clean.classes:
                told = f"must return a label for each of {len(clean.labels)} images, from 0 to {clean.classes - 1}"
                found = f"shape {labels.shape}, type {labels.dtype}, from {labels.min()} to {labels.max()}"
                raise CollabpipeError(f"{place_of_function(draw)}: noise {name!r} {told}. It returned: {found}.")
            return labels.astype(np.int64)

        add_entry(NOISES, name, Noise(sources, checked))
        return draw

    return register


@used_as('@plugin.source("NAME", plugin.Source(...)) before a function', str)
def source(name: str, about: Source) -> Callable[[Reader], Reader]:
    """Register a source of data: a function of the recipe and of the verified files by name.

    It returns the training and the test set.

    Args:
        name: what a data set names as its `source`.
        about: its classes, sizes and files.
    """

    def register(read: Reader) -> Reader:
        add_entry(SOURCES, name, replace(about, read=without_global_draws(read)))
        return read

    return register
