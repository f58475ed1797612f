"""Other losses of the label, and mixup: what the literature on label noise would compare with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Fraction, Positive, ProperFraction
from collabpipe.methods.base import Kind, Resolve, VirtualHeads
from collabpipe.methods.composition import Composition, Label


class Gjs(VirtualHeads):
    """Generalised Jensen-Shannon over the label and the passes (Englesson and Azizpour, 2021)."""

    kind: Literal["gjs"] = "gjs"
    split: str = "input"
    drop: Fraction = 0.3
    pi: ProperFraction = 0.7
    """The weight of the label among the distributions that are compared."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), label=Label(loss="gjs", pi=self.pi))


class Js(VirtualHeads):
    """Jensen-Shannon between the label and the mean prediction: gjs without its agreement part."""

    kind: Literal["js"] = "js"
    split: str = "input"
    drop: Fraction = 0.3
    pi: ProperFraction = 0.7
    """The weight of the label among the distributions that are compared."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), label=Label(loss="js", pi=self.pi))


class Gce(Kind):
    """Generalised cross-entropy (Zhang and Sabuncu, 2018)."""

    kind: Literal["gce"] = "gce"
    q: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """From cross-entropy (towards 0) to the mean absolute error (1)."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(label=Label(loss="gce", q=self.q))


class Mixup(Kind):
    """Mixup (Zhang et al., 2018)."""

    kind: Literal["mixup"] = "mixup"
    alpha: Positive = 1.0
    """Of the beta distribution that shares are drawn from: both its parameters."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(label=Label(mixup=self.alpha))
