"""Robust anchors: what the literature on label noise would compare with; extensions, none of them the paper's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Fraction, Positive, Weight
from collabpipe.methods.base import Kind, Resolve, VirtualHeads, WithPasses
from collabpipe.methods.composition import Composition, ElrTerm, Label, TemporalTerm


class Temporal(WithPasses):
    """Temporal ensembling (Laine and Aila, 2017): agreement with the average of earlier predictions."""

    kind: Literal["temporal"] = "temporal"
    weight: Weight = 3.0
    ramp: Annotated[float, Field(ge=0.0, le=1.0)] = 0.6
    momentum: Fraction = 0.9
    drop: Fraction = 0.5
    channel_drop: Fraction = 0.1

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        term = TemporalTerm(weight=self.weight, ramp=self.ramp, momentum=self.momentum)
        return Composition(passes=self.passes(), terms=(term,))


class Gjs(VirtualHeads):
    """Generalised Jensen-Shannon over the label and the passes (Englesson and Azizpour, 2021)."""

    kind: Literal["gjs"] = "gjs"
    split: str = "input"
    pi: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), label=Label(loss="gjs", pi=self.pi))


class Js(VirtualHeads):
    """Jensen-Shannon between the label and the mean prediction: gjs without its agreement part."""

    kind: Literal["js"] = "js"
    split: str = "input"
    pi: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), label=Label(loss="js", pi=self.pi))


class Elr(WithPasses):
    """Early-learning regularisation (Liu et al., 2020)."""

    kind: Literal["elr"] = "elr"
    weight: Weight = 3.0
    momentum: Fraction = 0.7

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), terms=(ElrTerm(weight=self.weight, momentum=self.momentum),))


class Gce(Kind):
    """Generalised cross-entropy (Zhang and Sabuncu, 2018)."""

    kind: Literal["gce"] = "gce"
    q: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(label=Label(loss="gce", q=self.q))


class Mixup(Kind):
    """Mixup (Zhang et al., 2018)."""

    kind: Literal["mixup"] = "mixup"
    alpha: Positive = 1.0

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(label=Label(mixup=self.alpha))
