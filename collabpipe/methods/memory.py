"""Methods that remember the run's own predictions: temporal ensembling and early-learning regularisation."""

from __future__ import annotations

from typing import Annotated, Literal

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Fraction, Weight
from collabpipe.methods.base import Resolve, WithPasses
from collabpipe.methods.composition import COSTLESS, Composition, Ramp, Term


class MemoryTerm(Term):
    """A term that remembers predictions of each image, with the momentum of their average."""

    momentum: Annotated[Fraction, COSTLESS]


class TemporalTerm(MemoryTerm):
    """Agreement with the run's own predictions averaged over earlier epochs."""

    term: Literal["temporal"] = "temporal"


class ElrTerm(MemoryTerm):
    """Early-learning regularisation."""

    term: Literal["elr"] = "elr"


class Temporal(WithPasses):
    """Temporal ensembling (Laine and Aila, 2017): agreement with the average of earlier predictions."""

    kind: Literal["temporal"] = "temporal"
    weight: Weight = 3.0
    """Weight of the agreement with earlier predictions."""
    ramp: Ramp = 0.6
    """Share of training over which the weight rises from 0."""
    momentum: Fraction = 0.7
    """Share of the earlier average that each new average keeps."""
    drop: Fraction = 0.5
    channel_drop: Fraction = 0.1

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        term = TemporalTerm(weight=self.weight, ramp=self.ramp, momentum=self.momentum)
        return Composition(passes=self.passes(), terms=(term,))


class Elr(WithPasses):
    """Early-learning regularisation (Liu et al., 2020)."""

    kind: Literal["elr"] = "elr"
    weight: Weight = 7.0
    """Weight of the regularisation."""
    momentum: Fraction = 0.9
    """Share of the earlier average that each new average keeps."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), terms=(ElrTerm(weight=self.weight, momentum=self.momentum),))
