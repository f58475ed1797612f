"""Describes a method's training step: its passes, its label loss and the additional terms.

Every method of a study is one `Composition`. The kinds of method, one module per family in this package, write it from
the short form of a configuration; `collabpipe.model.method` runs it. The families' modules hold the terms too;
`collabpipe.methods.registry` lists them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, SerializeAsAny

from collabpipe.common.validation import Fraction, Positive, ProperFraction, Strict, Weight, Wrong

if TYPE_CHECKING:
    from torch import Tensor

    from collabpipe.model.networks import StagedNetwork
    from collabpipe.model.terms.base import Step, TermLoss

Views = Literal["same", "independent"]
"""One augmented image for all heads, or one per head."""
Pattern = Literal["hierarchical", "simple", "instances"]
"""A binary tree, all heads from one stage on, or whole networks."""
Ramp = Annotated[float, Field(ge=0.0, le=1.0)]
"""The share of training over which a weight rises from 0; 0: no ramp."""
COSTLESS = "costless"
"""Marks a field that changes neither the operations nor the memory of a step: all its values cost the same."""


class Problem(NamedTuple):
    """What does not fit a network."""

    key: str
    value: str
    allowed: tuple[str, ...]

    def wrong(self, network: str, place: Sequence[object] = ()) -> Wrong:
        """What to raise, or to say, of a network of that kind."""
        return Wrong(self.value, self.allowed, f"{self.key} for network {network}", place)


class Passes(Strict):
    """How a batch runs through the one network.

    Up to `split` it runs once; the rest, the same weights, runs `heads` times in one concatenated call under
    independent dropout masks. Channel dropout follows every stage but the last, dropout precedes the classifier;
    the mask in front of the split belongs to the part that is run again.
    """

    heads: int = Field(default=1, ge=1, le=16)
    split: str = "classifier"
    views: Views = "same"
    drop: Annotated[Fraction, COSTLESS] = 0.0
    channel_drop: Annotated[Fraction, COSTLESS] = 0.0


class Branches(Strict):
    """Song and Chai's heads: copies of the stages from each split on, in place of virtual heads."""

    pattern: Pattern
    heads: int = Field(ge=2, le=16)
    splits: dict[str, int]
    """The first stage of each split ("stage2") or "input", and the fan-out there."""
    drop: Annotated[Fraction, COSTLESS] = 0.0
    channel_drop: Annotated[Fraction, COSTLESS] = 0.0


class Label(Strict):
    """The loss of the label, a mean over the heads."""

    loss: Literal["cross_entropy", "gce", "js", "gjs"] = "cross_entropy"
    scale: Annotated[Positive, COSTLESS] = 1.0
    smoothing: Annotated[Fraction, COSTLESS] = 0.0
    q: Annotated[float, Field(gt=0.0, le=1.0), COSTLESS] = 0.7
    """Exponent of gce."""
    pi: Annotated[ProperFraction, COSTLESS] = 0.5
    """Weight of the label among the distributions of js and gjs."""
    mixup: Weight = 0.0
    """Parameter of mixup's Beta distribution; 0: no mixup."""


class Term(Strict):
    """A loss in addition to the label loss, with its weight and its ramp.

    Each family's module derives its own and names it in `term`.
    """

    weight: Annotated[Weight, COSTLESS]
    ramp: Annotated[Ramp, COSTLESS] = 0.0
    """The share of training over which the weight rises from 0; 0: no ramp."""
    term: str

    def problem(self, passes: Passes | Branches, stages: tuple[str, ...]) -> Problem | None:
        """What does not fit these passes of a network with `stages`; None if all fits."""
        return None

    def under(self, passes: Passes | Branches, stages: tuple[str, ...]) -> Self:
        """The term in a combination that runs `passes`."""
        return self


class OwnTerm(Term):
    """A term that brings its own loss, as a plugin's does."""

    def loss(self, step: Step) -> Tensor:
        """A scalar from a training step, before the weight."""
        raise NotImplementedError(f"{type(self).__name__} needs a method loss(self, step)")

    def module(self, network: StagedNetwork, images: int) -> TermLoss[Any] | None:
        """What computes the loss if it looks at the network's weights or remembers earlier steps; None: `loss`."""
        return None


class Composition(Strict):
    """A method, fully resolved for one network."""

    passes: Passes | Branches = Passes()
    label: Label = Label()
    terms: tuple[SerializeAsAny[Term], ...] = ()

    def control(self) -> Composition:
        """The matched control: the same split, passes, dropout, views and loss scale, and no agreement."""
        loss: Literal["cross_entropy", "js"] = "js" if self.label.loss in ("js", "gjs") else "cross_entropy"
        label = Label(
            loss=loss,
            scale=self.label.scale,
            smoothing=self.label.smoothing,
            pi=self.label.pi if loss == "js" else Label().pi,
        )
        return Composition(passes=self.passes, label=label)


def problem(composition: Composition, stages: tuple[str, ...]) -> Problem | None:
    """What does not fit a network with `stages`; None if all fits."""
    passes = composition.passes
    found = _problem_of_passes(passes, stages)
    if found is None and composition.label.loss == "gjs" and equal_heads(passes):
        found = Problem("drop", "0.0", DISTINCT)
    problems = (term.problem(passes, stages) for term in composition.terms)
    # A plugin's term may return a plain tuple.
    return found or next((Problem(*one) for one in problems if one is not None), None)


def _problem_of_passes(passes: Passes | Branches, stages: tuple[str, ...]) -> Problem | None:
    places = ("input", *stages, "classifier")
    if isinstance(passes, Passes):
        if passes.split not in places:
            return Problem("split", passes.split, places)
        if passes.views == "independent" and passes.split != "input":
            return Problem("split", f"{passes.split} (independent views need two whole passes)", ("input",))
        return None
    for split in passes.splits:
        if split not in places[:-1]:
            return Problem("splits", split, places[:-1])
    heads = math.prod(passes.splits.values())
    if heads != passes.heads:
        makes = f"{', '.join(passes.splits)} (gives {heads} heads)"
        return Problem("splits", makes, (f"as many splits as give {passes.heads} heads",))
    return None


def problem_of_taps(taps: tuple[str, ...], allowed: tuple[str, ...]) -> Problem | None:
    """What is wrong with the stages that a term taps; None if all are allowed."""
    wrong = [tap for tap in taps if tap not in allowed]
    if wrong:
        return Problem("taps", wrong[0], allowed)
    if not taps:
        none = ("stages behind an earlier split: here no stage runs more than once",)
        return Problem("taps", "[]", allowed or none)
    return None


DISTINCT = ("a rate above 0 behind the split, or independent views: else all heads are equal",)
"""What is allowed where all heads would be equal."""


def equal_heads(passes: Passes | Branches) -> bool:
    """Whether nothing distinguishes the virtual heads' predictions."""
    return equal_stages(passes) and passes.drop == 0.0


def equal_stages(passes: Passes | Branches) -> bool:
    """Whether no mask and no view distinguishes the virtual heads before the classifier's own dropout."""
    if not isinstance(passes, Passes) or passes.views == "independent":
        return False
    return passes.channel_drop == 0.0 or passes.split == "classifier"


def downstream(passes: Passes | Branches, stages: tuple[str, ...]) -> tuple[str, ...]:
    """The stages in which virtual heads can differ, because they have different masks or views."""
    if not isinstance(passes, Passes) or passes.heads < 2 or passes.split == "classifier":
        return ()
    # Without a mask before it, stage1 has the same input for all heads of one view, so their outputs are equal.
    first = 0 if passes.views == "independent" else 1
    start = 0 if passes.split == "input" else stages.index(passes.split) if passes.split in stages else 0
    return stages[max(first, start) :]


def cost_key(part: object) -> object:
    """What the operations and the memory of a step depend on: a part of a composition without its costless fields."""
    if isinstance(part, Strict):
        fields = type(part).model_fields.items()
        kept = tuple((name, cost_key(getattr(part, name))) for name, field in fields if COSTLESS not in field.metadata)
        return type(part).__name__, kept
    return tuple(cost_key(one) for one in part) if isinstance(part, tuple) else repr(part)
