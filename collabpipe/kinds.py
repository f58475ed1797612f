"""The methods as a configuration names them: a short form a kind, each of which writes its `Composition`.

What the paper fixes and what was chosen here stands in docs/methods.md, one card a method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from collabpipe.composition import (
    AgreementTerm,
    Branches,
    Composition,
    ElrTerm,
    Fraction,
    IntermediateTerm,
    KernelTerm,
    Label,
    Passes,
    Positive,
    RepresentationTerm,
    Strict,
    TemporalTerm,
    Term,
    Weight,
    downstream,
)

Taps = tuple[str, ...] | None
Resolve = Callable[[str], Composition]


class Kind(Strict):
    """A method of a configuration; `compose` resolves it for a network with the given stages."""

    describes: ClassVar[str]
    """One line for the tables: what it does."""

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        """The composition; `resolve` gives that of another method of the study by its name."""
        raise TypeError(f"{type(self).__name__} composes nothing")


class Baseline(Kind):
    """Cross-entropy alone."""

    kind: Literal["baseline"] = "baseline"
    describes = "cross-entropy"

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition()


class Dropout(Kind):
    """Cross-entropy with dropout, one pass."""

    kind: Literal["dropout"] = "dropout"
    describes = "cross-entropy with dropout, one pass"
    drop: Fraction = 0.5
    channel_drop: Fraction = 0.1

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(passes=Passes(drop=self.drop, channel_drop=self.channel_drop))


class LabelSmoothing(Kind):
    """Cross-entropy against smoothed labels."""

    kind: Literal["label_smoothing"] = "label_smoothing"
    describes = "cross-entropy with smoothed labels"
    smoothing: Fraction = 0.1

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(label=Label(smoothing=self.smoothing))


class WithPasses(Kind):
    """Keys shared by the kinds that may run virtual heads."""

    heads: int = Field(default=1, ge=1, le=16)
    split: str = "classifier"
    views: Literal["same", "independent"] = "same"
    drop: Fraction = 0.0
    channel_drop: Fraction = 0.0

    def passes(self) -> Passes:
        """The passes these keys describe."""
        return Passes(
            heads=self.heads,
            split=self.split,
            views=self.views,
            drop=self.drop,
            channel_drop=self.channel_drop,
        )


class VirtualHeads(WithPasses):
    """The same keys where two heads under dropout are the default."""

    heads: int = Field(default=2, ge=2, le=16)
    drop: Fraction = 0.5
    channel_drop: Fraction = 0.1


class Output(VirtualHeads):
    """Consistency of the output layer between virtual heads."""

    kind: Literal["output"] = "output"
    describes = "consistency of the output layer"
    agreement: Literal["symmetric_kl", "song_chai", "jensen_shannon", "stop_gradient"] = "symmetric_kl"
    weight: Weight = 1.0
    ramp: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """None: over the first 60% of training; for song_chai, whose equation has none, no ramp."""
    balance: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    temperature: Positive = 2.0
    temperature_squared: bool = False

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        if self.agreement != "song_chai":
            ramp = 0.6 if self.ramp is None else self.ramp
            term = AgreementTerm(form=self.agreement, weight=self.weight, ramp=ramp)
            return Composition(passes=self.passes(), terms=(term,))
        # Song and Chai weigh label against agreement by one number; weight and ramp still act on the agreement.
        term = AgreementTerm(
            form="song_chai",
            weight=self.weight * (1.0 - self.balance),
            ramp=self.ramp or 0.0,
            temperature=self.temperature,
            temperature_squared=self.temperature_squared,
        )
        return Composition(passes=self.passes(), label=Label(scale=self.balance), terms=(term,))


class Intermediate(WithPasses):
    """Consistency of the intermediate layers."""

    kind: Literal["intermediate"] = "intermediate"
    describes = "consistency of the intermediate layers"
    variant: Literal["virtual", "partition", "to_output"] = "virtual"
    weight: Weight = 5.0
    ramp: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    taps: Taps = None
    temperature: Positive = 1.0

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        passes = self.passes()
        if self.variant == "virtual" and not {"heads", "split"} & self.model_fields_set:
            # Two heads from the second stage on: the earliest split at which masks differ.
            passes = Passes(
                heads=2,
                split=stages[1],
                drop=self.drop if "drop" in self.model_fields_set else 0.5,
                channel_drop=self.channel_drop if "channel_drop" in self.model_fields_set else 0.1,
            )
        default = {"virtual": downstream(passes, stages), "partition": stages, "to_output": stages[-1:]}
        term = IntermediateTerm(
            variant=self.variant,
            weight=self.weight,
            ramp=self.ramp,
            taps=default[self.variant] if self.taps is None else self.taps,
            temperature=self.temperature,
        )
        return Composition(passes=passes, terms=(term,))


class Representation(WithPasses):
    """Similarity of the intermediate representation."""

    kind: Literal["representation"] = "representation"
    describes = "similarity of the intermediate representation"
    variant: Literal["spatial", "pooled", "per_sample"] = "spatial"
    weight: Weight = 0.1
    taps: Taps = None

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        taps = stages if self.taps is None else self.taps
        term = RepresentationTerm(variant=self.variant, weight=self.weight, taps=taps)
        return Composition(passes=self.passes(), terms=(term,))


class Kernel(WithPasses):
    """Similarity of the convolution kernels."""

    kind: Literal["kernel"] = "kernel"
    describes = "similarity of the convolution kernels"
    variant: Literal["rows", "one_sided", "self_convolution"] = "rows"
    weight: Weight = 0.1

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), terms=(KernelTerm(variant=self.variant, weight=self.weight),))


class Combined(Kind):
    """Several methods of the study at once: the passes and the label of one of them, the terms of all."""

    kind: Literal["combined"] = "combined"
    describes = "several losses at once"
    of: tuple[str, ...] = ("output", "intermediate", "representation", "kernel")
    weights: dict[str, Weight] = Field(default_factory=dict)
    """Weights that replace those of a member, by the member's name."""

    @field_validator("of", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return tuple(value.split("+")) if isinstance(value, str) else value

    @field_validator("of")
    @classmethod
    def _several(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or len(value) < 2:
            raise ValueError("name two or more different methods")
        return value

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        members = {name: resolve(name) for name in self.of}
        lead = next((m for m in members.values() if m.passes != Passes()), Composition())
        terms: list[Term] = []
        for name, member in members.items():
            for term in member.terms:
                weight = self.weights.get(name, term.weight)
                changes: dict[str, object] = {"weight": weight}
                if isinstance(term, IntermediateTerm) and term.variant == "virtual":
                    # The lead's split decides which stages run more than once.
                    running = downstream(lead.passes, stages)
                    changes["taps"] = tuple(tap for tap in term.taps if tap in running)
                terms.append(term.model_copy(update=changes))
        return Composition(passes=lead.passes, label=lead.label, terms=tuple(terms))


class MultiHead(Kind):
    """Song and Chai (2018): heads of their own weights over a shared trunk, head 0 kept for inference."""

    kind: Literal["multi_head"] = "multi_head"
    describes = "Song and Chai's heads"
    pattern: Literal["hierarchical", "simple", "instances"] = "hierarchical"
    heads: int = Field(default=4, ge=2, le=16)
    splits: tuple[str, ...] | None = None
    balance: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    temperature: Positive = 2.0
    temperature_squared: bool = False
    drop: Fraction = 0.0
    channel_drop: Fraction = 0.0

    @field_validator("heads")
    @classmethod
    def _power_of_two(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("pattern") == "hierarchical" and value not in (2, 4, 8, 16):
            raise ValueError("the hierarchical pattern is a binary tree: 2, 4, 8 or 16 heads")
        return value

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        levels = self.heads.bit_length() - 1
        default = {"instances": ("input",), "simple": stages[-1:], "hierarchical": stages[-levels:]}
        fan_out = 2 if self.pattern == "hierarchical" else self.heads
        splits = dict.fromkeys(self.splits or default[self.pattern], fan_out)
        passes = Branches(
            pattern=self.pattern,
            heads=self.heads,
            splits=splits,
            drop=self.drop,
            channel_drop=self.channel_drop,
        )
        # A sum over the heads, as in their equation; the terms here are means.
        term = AgreementTerm(
            form="song_chai",
            weight=self.heads * (1.0 - self.balance),
            temperature=self.temperature,
            temperature_squared=self.temperature_squared,
        )
        return Composition(passes=passes, label=Label(scale=self.heads * self.balance), terms=(term,))


class Temporal(WithPasses):
    """Temporal ensembling (Laine and Aila, 2017): agreement with the average of earlier predictions."""

    kind: Literal["temporal"] = "temporal"
    describes = "targets averaged over epochs"
    weight: Weight = 3.0
    ramp: Annotated[float, Field(ge=0.0, le=1.0)] = 0.6
    momentum: Fraction = 0.9
    drop: Fraction = 0.5
    channel_drop: Fraction = 0.1

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        term = TemporalTerm(weight=self.weight, ramp=self.ramp, momentum=self.momentum)
        return Composition(passes=self.passes(), terms=(term,))


class Gjs(VirtualHeads):
    """Generalised Jensen-Shannon over the label and the passes (Englesson and Azizpour, 2021)."""

    kind: Literal["gjs"] = "gjs"
    describes = "generalised Jensen-Shannon over label and passes"
    split: str = "input"
    pi: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), label=Label(loss="gjs", pi=self.pi))


class Js(VirtualHeads):
    """Jensen-Shannon between the label and the mean prediction: gjs without its agreement part."""

    kind: Literal["js"] = "js"
    describes = "Jensen-Shannon between label and mean prediction"
    split: str = "input"
    pi: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), label=Label(loss="js", pi=self.pi))


class Elr(WithPasses):
    """Early-learning regularisation (Liu et al., 2020)."""

    kind: Literal["elr"] = "elr"
    describes = "early-learning regularisation"
    weight: Weight = 3.0
    momentum: Fraction = 0.7

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), terms=(ElrTerm(weight=self.weight, momentum=self.momentum),))


class Gce(Kind):
    """Generalised cross-entropy (Zhang and Sabuncu, 2018)."""

    kind: Literal["gce"] = "gce"
    describes = "generalised cross-entropy"
    q: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(label=Label(loss="gce", q=self.q))


class Mixup(Kind):
    """Mixup (Zhang et al., 2018)."""

    kind: Literal["mixup"] = "mixup"
    describes = "convex mixtures of images and labels"
    alpha: Positive = 1.0

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(label=Label(mixup=self.alpha))


class Control(Kind):
    """The matched control of another method."""

    control_of: str
    describes = "matched control"

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return resolve(self.control_of).control()


KINDS: dict[str, type[Kind]] = {
    "baseline": Baseline,
    "dropout": Dropout,
    "label_smoothing": LabelSmoothing,
    "output": Output,
    "intermediate": Intermediate,
    "representation": Representation,
    "kernel": Kernel,
    "combined": Combined,
    "multi_head": MultiHead,
    "temporal": Temporal,
    "gjs": Gjs,
    "js": Js,
    "elr": Elr,
    "gce": Gce,
    "mixup": Mixup,
}
