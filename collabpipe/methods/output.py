"""The output layer: virtual heads agree on their predictions."""

from __future__ import annotations

from typing import Annotated, Literal

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Positive, ProperFraction, Weight
from collabpipe.methods.base import Resolve, VirtualHeads
from collabpipe.methods.composition import (
    COSTLESS,
    DISTINCT,
    Branches,
    Composition,
    Label,
    Passes,
    Problem,
    Ramp,
    Term,
    equal_heads,
)

Form = Literal["symmetric_kl", "song_chai", "jensen_shannon", "stop_gradient", "confident"]


class AgreementTerm(Term):
    """Consistency of the output layer: the heads' predictions must agree."""

    term: Literal["agreement"] = "agreement"
    form: Form
    temperature: Annotated[Positive, COSTLESS] = 1.0
    temperature_squared: bool = False

    def problem(self, passes: Passes | Branches, stages: tuple[str, ...]) -> Problem | None:
        """One head has nothing to agree with, equal heads agree already."""
        if passes.heads < 2:
            return Problem("heads", str(passes.heads), ("2 or more: one head agrees with itself",))
        return Problem("drop", "0.0", DISTINCT) if equal_heads(passes) else None


class Output(VirtualHeads):
    """Consistency of the output layer between virtual heads."""

    kind: Literal["output"] = "output"
    agreement: Form = "symmetric_kl"
    """How agreement is measured."""
    weight: Weight | None = None
    """Weight of the agreement. None: 3; for song_chai, whose equation has no weight of its own, 1."""
    ramp: Ramp | None = None
    """Share of training over which the weight rises from 0. None: 0.6; for song_chai, whose equation has none, 0."""
    balance: ProperFraction = 0.5
    """For song_chai: the share of the label in the loss."""
    temperature: Positive = 2.0
    """For song_chai: the temperature of the softmax."""
    temperature_squared: bool = False
    """For song_chai: multiply the agreement by the temperature's square."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        if self.agreement != "song_chai":
            weight = 3.0 if self.weight is None else self.weight
            ramp = 0.6 if self.ramp is None else self.ramp
            term = AgreementTerm(form=self.agreement, weight=weight, ramp=ramp)
            return Composition(passes=self.passes(), terms=(term,))
        # Song and Chai weigh label against agreement by one number; weight and ramp still act on the agreement.
        term = AgreementTerm(
            form="song_chai",
            weight=(1.0 if self.weight is None else self.weight) * (1.0 - self.balance),
            ramp=self.ramp or 0.0,
            temperature=self.temperature,
            temperature_squared=self.temperature_squared,
        )
        return Composition(passes=self.passes(), label=Label(scale=self.balance), terms=(term,))
