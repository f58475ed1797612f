"""The paper's four losses, their combination and controls, and the heads of Song and Chai."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from collabpipe.composition import (
    AgreementTerm,
    Branches,
    Composition,
    Fraction,
    IntermediateTerm,
    KernelTerm,
    Label,
    Passes,
    Positive,
    RepresentationTerm,
    Term,
    Weight,
    downstream,
)
from collabpipe.kinds.base import Kind, Resolve, VirtualHeads, WithPasses

Taps = tuple[str, ...] | None


class Baseline(Kind):
    """Cross-entropy alone."""

    kind: Literal["baseline"] = "baseline"

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition()


class Dropout(Kind):
    """Cross-entropy with dropout, one pass."""

    kind: Literal["dropout"] = "dropout"
    drop: Fraction = 0.5
    channel_drop: Fraction = 0.1

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(passes=Passes(drop=self.drop, channel_drop=self.channel_drop))


class LabelSmoothing(Kind):
    """Cross-entropy against smoothed labels."""

    kind: Literal["label_smoothing"] = "label_smoothing"
    smoothing: Fraction = 0.1

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(label=Label(smoothing=self.smoothing))


class Output(VirtualHeads):
    """Consistency of the output layer between virtual heads."""

    kind: Literal["output"] = "output"
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
    variant: Literal["rows", "one_sided", "self_convolution"] = "rows"
    weight: Weight = 0.1

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), terms=(KernelTerm(variant=self.variant, weight=self.weight),))


class Combined(Kind):
    """Several methods of the study at once: the passes and the label of one of them, the terms of all."""

    kind: Literal["combined"] = "combined"
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


class Control(Kind):
    """The matched control of another method."""

    control_of: str

    def compose(self, stages: tuple[str, ...], resolve: Resolve) -> Composition:
        return resolve(self.control_of).control()
