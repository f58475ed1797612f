"""The paper's four losses, their combination and controls, and the heads of Song and Chai."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from collabpipe.catalogue.stages import SAMPLES_PER_CHANNEL, Stages
from collabpipe.common.validation import Fraction, Positive, Weight, Wrong
from collabpipe.methods.base import Kind, Resolve, VirtualHeads, WithPasses
from collabpipe.methods.composition import (
    AgreementTerm,
    Branches,
    Composition,
    IntermediateTerm,
    KernelTerm,
    Label,
    Passes,
    RepresentationTerm,
    Term,
    downstream,
)

Taps = tuple[str, ...] | None


class Baseline(Kind):
    """Cross-entropy alone."""

    kind: Literal["baseline"] = "baseline"

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition()


class Dropout(Kind):
    """Cross-entropy with dropout, one pass."""

    kind: Literal["dropout"] = "dropout"
    drop: Fraction = 0.5
    channel_drop: Fraction = 0.1

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=Passes(drop=self.drop, channel_drop=self.channel_drop))


class OnePass(Kind):
    """What one pass can do without collaboration, dropout and label smoothing at once: the rival of every method."""

    kind: Literal["one_pass"] = "one_pass"
    drop: Fraction = 0.5
    channel_drop: Fraction = 0.1
    smoothing: Fraction = 0.0

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        passes = Passes(drop=self.drop, channel_drop=self.channel_drop)
        return Composition(passes=passes, label=Label(smoothing=self.smoothing))


class LabelSmoothing(Kind):
    """Cross-entropy against smoothed labels."""

    kind: Literal["label_smoothing"] = "label_smoothing"
    smoothing: Fraction = 0.1

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
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

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
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


class Intermediate(Kind):
    """Consistency of the intermediate layers.

    Unless told otherwise `virtual` runs two heads under dropout from the second stage on, the earliest split at which
    masks differ; the other variants run one pass without dropout.
    """

    kind: Literal["intermediate"] = "intermediate"
    variant: Literal["virtual", "partition", "to_output"] = "virtual"
    weight: Weight = 5.0
    ramp: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    taps: Taps = None
    temperature: Positive = 1.0
    heads: int | None = Field(default=None, ge=1, le=16)
    split: str | None = None
    views: Literal["same", "independent"] = "same"
    drop: Fraction | None = None
    channel_drop: Fraction | None = None

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

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        taps = self._sampled(stages) if self.taps is None else self.taps
        term = RepresentationTerm(variant=self.variant, weight=self.weight, taps=taps)
        return Composition(passes=self.passes(), terms=(term,))

    def _sampled(self, stages: Stages) -> tuple[str, ...]:
        """The stages at which correlations are more than chance."""
        if self.variant == "per_sample":
            return stages.names
        batches = stages.batches(pooled=self.variant == "pooled")
        taps = tuple(name for name, least in batches.items() if stages.batch >= least)
        if not taps:
            none = f"none: a batch of {stages.batch} has no stage with {SAMPLES_PER_CHANNEL} samples for each channel"
            wanted = f"a batch_size of at least {min(batches.values())}"
            raise Wrong(none, ("taps: [...] with stages of your choice", wanted), "default of taps", ("taps",))
        return taps


class Kernel(WithPasses):
    """Similarity of the convolution kernels."""

    kind: Literal["kernel"] = "kernel"
    variant: Literal["rows", "one_sided", "self_convolution"] = "rows"
    weight: Weight = 0.1

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), terms=(KernelTerm(variant=self.variant, weight=self.weight),))


class Combined(Kind):
    """Several methods of the study at once: the terms of all, run by the passes that all of them can share.

    The passes are those of the first member with several heads (else of the first with dropout), split where the
    earliest member splits. One member at most brings a loss of the label other than plain cross-entropy.
    """

    kind: Literal["combined"] = "combined"
    of: tuple[str, ...] = ("output", "intermediate", "representation", "kernel")
    weights: dict[str, Weight] = Field(default_factory=dict)
    """Weights in place of the members' own, by the member's name."""
    factor: Weight = 1.0
    """What the weights of all terms are multiplied by."""

    @field_validator("of", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _names(cls, value: object) -> object:
        return tuple(value.split("+")) if isinstance(value, str) else value

    @field_validator("of")
    @classmethod
    def _several(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or len(value) < 2:
            raise ValueError("name two or more different methods")
        return value

    @field_validator("weights")
    @classmethod
    def _of_members(cls, value: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        for name in value:
            if name not in info.data.get("of", (name,)):
                raise Wrong(name, info.data["of"], "member", (name,))
        return value

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        members = [resolve(name, self.weights.get(name)) for name in self.of]
        passes = _shared_passes([member.passes for member in members], stages.names)
        branched = any(isinstance(member.passes, Branches) for member in members)
        if branched and any(member.passes not in (passes, Passes()) for member in members):
            raise Wrong(
                "+".join(self.of), ("virtual heads or Song and Chai's heads, not both",), "combination", ("of",)
            )
        labels = {member.label for member in members} - {Label()}
        if len(labels) > 1:
            raise Wrong("+".join(self.of), ("one member with a loss of the label of its own",), "combination", ("of",))
        terms: list[Term] = []
        for member in members:
            for term in member.terms:
                if isinstance(term, IntermediateTerm) and term.variant == "virtual":
                    running = downstream(passes, stages.names)
                    term = term.model_copy(update={"taps": tuple(tap for tap in term.taps if tap in running)})
                terms.append(term.model_copy(update={"weight": self.factor * term.weight}))
        return Composition(passes=passes, label=labels.pop() if labels else Label(), terms=tuple(terms))


def _shared_passes(members: list[Passes | Branches], stages: tuple[str, ...]) -> Passes | Branches:
    several = [passes for passes in members if passes.heads > 1]
    lead = next((passes for passes in (*several, *members) if passes != Passes()), Passes())
    if not isinstance(lead, Passes) or not several:
        return lead
    places = ("input", *stages, "classifier")
    splits = [passes.split for passes in several if isinstance(passes, Passes) and passes.split in places]
    return lead.model_copy(update={"split": min(splits, key=places.index, default=lead.split)})


class MultiHead(Kind):
    """Song and Chai (2018): heads of their own weights over a shared trunk, head 0 kept for inference."""

    kind: Literal["multi_head"] = "multi_head"
    pattern: Literal["hierarchical", "simple", "instances"] = "hierarchical"
    heads: int = Field(default=4, ge=2, le=16)
    splits: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
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

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        levels = self.heads.bit_length() - 1
        default = {"instances": ("input",), "simple": stages.names[-1:], "hierarchical": stages.names[-levels:]}
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
    """The matched control of another method; with rates of its own where these are searched for it too."""

    control_of: str
    drop: Fraction | None = None
    channel_drop: Fraction | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it has no keys of its own: then it is what its method is, without the collaboration."""
        return self.drop is None and self.channel_drop is None and not self.own_training

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        control = resolve(self.control_of, None).control()
        rates = {key: getattr(self, key) for key in ("drop", "channel_drop") if getattr(self, key) is not None}
        return control.model_copy(update={"passes": control.passes.model_copy(update=rates)})
