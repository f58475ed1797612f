"""The intermediate layers: stages agree between heads, between halves of their channels or with the output."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Fraction, Positive, Weight
from collabpipe.methods.base import Kind, Resolve, Taps
from collabpipe.methods.composition import (
    COSTLESS,
    Branches,
    Composition,
    Passes,
    Problem,
    Ramp,
    Term,
    Views,
    downstream,
    equal_stages,
    problem_of_taps,
)

Variant = Literal["virtual", "partition", "to_output"]


class IntermediateTerm(Term):
    """Consistency of the intermediate layers."""

    term: Literal["intermediate"] = "intermediate"
    variant: Variant
    taps: tuple[str, ...]
    temperature: Annotated[Positive, COSTLESS] = 1.0

    def problem(self, passes: Passes | Branches, stages: tuple[str, ...]) -> Problem | None:
        """Virtual heads compare stages that run more than once, and differ there."""
        if self.variant != "virtual":
            return problem_of_taps(self.taps, stages)
        found = problem_of_taps(self.taps, downstream(passes, stages))
        if found is None and equal_stages(passes):
            allowed = ("a rate above 0, or independent views: without either all heads are equal",)
            return Problem("channel_drop", "0.0", allowed)
        return found

    def under(self, passes: Passes | Branches, stages: tuple[str, ...]) -> Self:
        """Virtual heads compare the stages alone that run more than once."""
        if self.variant != "virtual":
            return self
        running = downstream(passes, stages)
        return self.model_copy(update={"taps": tuple(tap for tap in self.taps if tap in running)})


WEIGHTS = {"virtual": 1.0, "partition": 10.0, "to_output": 10.0}
"""The default by variant, on whose scale it depends (`docs/results/defaults.py`)."""


class Intermediate(Kind):
    """Consistency of the intermediate layers.

    Unless told otherwise `virtual` runs two heads under dropout from the second stage on, the earliest split at which
    masks differ; the other variants run one pass without dropout.
    """

    kind: Literal["intermediate"] = "intermediate"
    variant: Variant = "to_output"
    """What agrees with what."""
    weight: Weight | None = None
    """Weight of the consistency. None: 10; for virtual 1."""
    ramp: Ramp = 0.0
    """Share of training over which the weight rises from 0."""
    taps: Taps = None
    """The stages that agree. None: for virtual those behind the split, for partition all, for to_output the last."""
    temperature: Positive = 1.0
    """For to_output: the temperature of the softmax."""
    heads: int | None = Field(default=None, ge=1, le=16)
    """How many times the part behind the split runs. None: 1; for virtual 2."""
    split: str | None = None
    """Where the heads separate. None: at the classifier; for virtual at the second stage, or at the input if the views
    are independent."""
    views: Views = "same"
    """One augmented image for all heads, or one per head."""
    drop: Fraction | None = None
    """Rate of dropout before the classifier. None: 0; for virtual 0.5."""
    channel_drop: Fraction | None = None
    """Rate of channel dropout after each stage but the last. None: 0; for virtual 0.1."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        names, virtual = stages.names, self.variant == "virtual"
        early = "input" if self.views == "independent" else names[1]
        heads = self.heads or (2 if virtual else 1)
        passes = Passes(
            heads=heads,
            split=self.split or (early if virtual and heads > 1 else "classifier"),
            views=self.views,
            drop=(0.5 if virtual else 0.0) if self.drop is None else self.drop,
            channel_drop=(0.1 if virtual else 0.0) if self.channel_drop is None else self.channel_drop,
        )
        default = {"virtual": downstream(passes, names), "partition": names, "to_output": names[-1:]}
        term = IntermediateTerm(
            variant=self.variant,
            weight=WEIGHTS[self.variant] if self.weight is None else self.weight,
            ramp=self.ramp,
            taps=default[self.variant] if self.taps is None else self.taps,
            temperature=self.temperature,
        )
        return Composition(passes=passes, terms=(term,))
