"""What a method asks of a training step: the passes, the loss of the label and the terms beside it.

Every method of the study, the four losses, their combination, their controls, the heads of Song and Chai and the
robust anchors, is one `Composition`; `collabpipe.methods.registry` writes it from the short form of a configuration and
`collabpipe.model.method` runs it. This module knows no torch: planning imports it.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from collabpipe.common.validation import Fraction, Positive, Strict, Weight


class Passes(Strict):
    """How a batch runs through the one network.

    Up to `split` it runs once; the rest, the same weights, runs `heads` times in one concatenated call under
    independent dropout masks. Channel dropout follows every stage but the last, dropout precedes the classifier;
    the mask in front of the split belongs to the part that is run again.
    """

    heads: int = Field(default=1, ge=1, le=16)
    split: str = "classifier"
    views: Literal["same", "independent"] = "same"
    drop: Fraction = 0.0
    channel_drop: Fraction = 0.0


class Branches(Strict):
    """Song and Chai's heads: copies of the stages from each split on, in place of virtual heads."""

    pattern: Literal["hierarchical", "simple", "instances"]
    heads: int = Field(ge=2, le=16)
    splits: dict[str, int]
    """The first stage of each split ("stage2") or "input", and the fan-out there."""
    drop: Fraction = 0.0
    channel_drop: Fraction = 0.0


class Label(Strict):
    """The loss of the label, a mean over the heads."""

    loss: Literal["cross_entropy", "gce", "js", "gjs"] = "cross_entropy"
    scale: Positive = 1.0
    smoothing: Fraction = 0.0
    q: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Exponent of gce."""
    pi: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Weight of the label among the distributions of js and gjs."""
    mixup: Weight = 0.0
    """Parameter of mixup's Beta distribution; 0: no mixup."""


class Weighted(Strict):
    """A term with its weight and its ramp: the share of training over which the weight rises from 0 (0: no ramp)."""

    weight: Weight
    ramp: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class AgreementTerm(Weighted):
    """Consistency of the output layer: the heads' predictions shall agree."""

    term: Literal["agreement"] = "agreement"
    form: Literal["symmetric_kl", "song_chai", "jensen_shannon", "stop_gradient"]
    temperature: Positive = 1.0
    temperature_squared: bool = False


class IntermediateTerm(Weighted):
    """Consistency of the intermediate layers."""

    term: Literal["intermediate"] = "intermediate"
    variant: Literal["virtual", "partition", "to_output"]
    taps: tuple[str, ...]
    temperature: Positive = 1.0


class RepresentationTerm(Weighted):
    """Similarity of the intermediate representation: channels shall not repeat each other."""

    term: Literal["representation"] = "representation"
    variant: Literal["spatial", "pooled", "per_sample"]
    taps: tuple[str, ...]


class KernelTerm(Weighted):
    """Similarity of the convolution kernels: kernels shall not repeat each other."""

    term: Literal["kernel"] = "kernel"
    variant: Literal["rows", "one_sided", "self_convolution"]


class TemporalTerm(Weighted):
    """Agreement with the run's own predictions averaged over earlier epochs."""

    term: Literal["temporal"] = "temporal"
    momentum: Fraction


class ElrTerm(Weighted):
    """Early-learning regularisation."""

    term: Literal["elr"] = "elr"
    momentum: Fraction


Term = Annotated[
    AgreementTerm | IntermediateTerm | RepresentationTerm | KernelTerm | TemporalTerm | ElrTerm,
    Field(discriminator="term"),
]


class Composition(Strict):
    """A method, fully resolved for one network."""

    passes: Passes | Branches = Passes()
    label: Label = Label()
    terms: tuple[Term, ...] = ()

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


def problem(composition: Composition, stages: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]] | None:
    """What does not fit a network with `stages`: the key, the value and what is allowed; None if all fits."""
    passes = composition.passes
    places = ("input", *stages, "classifier")
    if isinstance(passes, Passes):
        if passes.split not in places:
            return "split", passes.split, places
        if passes.views == "independent" and passes.split != "input":
            return "split", f"{passes.split} (independent views need two whole passes)", ("input",)
    else:
        for split in passes.splits:
            if split not in places[:-1]:
                return "splits", split, places[:-1]
        if math.prod(passes.splits.values()) != passes.heads:
            makes = f"{', '.join(passes.splits)} (gives {math.prod(passes.splits.values())} heads)"
            return "splits", makes, (f"as many splits as give {passes.heads} heads",)
    equal = _equal_stages(passes) and passes.drop == 0.0
    distinct = ("a rate above 0 behind the split, or independent views: else all heads are equal",)
    if equal and composition.label.loss == "gjs":
        return "drop", "0.0", distinct
    for term in composition.terms:
        if isinstance(term, AgreementTerm) and passes.heads < 2:
            return "heads", str(passes.heads), ("2 or more: one head agrees with itself",)
        virtual = isinstance(term, IntermediateTerm) and term.variant == "virtual"
        allowed = downstream(passes, stages) if virtual else stages
        if isinstance(term, IntermediateTerm | RepresentationTerm):
            wrong = [tap for tap in term.taps if tap not in allowed]
            if wrong:
                return "taps", wrong[0], allowed
            if not term.taps:
                return "taps", "[]", allowed or ("stages behind an earlier split: here no stage runs more than once",)
        if virtual and _equal_stages(passes):
            return "channel_drop", "0.0", ("a rate above 0, or independent views: without either all heads are equal",)
        if isinstance(term, AgreementTerm) and equal:
            return "drop", "0.0", distinct
    return None


def _equal_stages(passes: Passes | Branches) -> bool:
    """Whether no mask and no view distinguishes the virtual heads before the classifier's own dropout."""
    if not isinstance(passes, Passes) or passes.views == "independent":
        return False
    return passes.channel_drop == 0.0 or passes.split == "classifier"


def downstream(passes: Passes | Branches, stages: tuple[str, ...]) -> tuple[str, ...]:
    """The stages that virtual heads run more than once, under masks of their own or on views of their own."""
    if not isinstance(passes, Passes) or passes.heads < 2 or passes.split == "classifier":
        return ()
    # Before the first mask the heads of one view are still equal: stage1 has nothing to be consistent about.
    first = 0 if passes.views == "independent" else 1
    start = 0 if passes.split == "input" else stages.index(passes.split) if passes.split in stages else 0
    return stages[max(first, start) :]
