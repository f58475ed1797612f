"""Methods that build on others of the study: their combination, and the matched control of one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Fraction, Weight, Wrong
from collabpipe.methods.base import Kind, Resolve
from collabpipe.methods.composition import Branches, Composition, Label, Passes


class Combined(Kind):
    """Several methods of the study at once: the terms of all, run by the passes that all of them can share.

    The passes are those of the first member with several heads (else of the first with dropout), split where the
    earliest member splits. One member at most brings a loss of the label other than plain cross-entropy.
    """

    kind: Literal["combined"] = "combined"
    of: tuple[str, ...] = ("output", "intermediate", "representation", "kernel")
    """Two or more methods of the study: a list, or `a+b`."""
    weights: dict[str, Weight] = Field(default_factory=dict)
    """Weights in place of the members' own, by the member's name."""
    factor: Weight = 0.5
    """What the weights of all terms are multiplied by: at 1 the sum of tuned parts is too much under noise."""

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
        terms = [term.under(passes, stages.names) for member in members for term in member.terms]
        weighted = tuple(term.model_copy(update={"weight": self.factor * term.weight}) for term in terms)
        return Composition(passes=passes, label=labels.pop() if labels else Label(), terms=weighted)


def _shared_passes(members: list[Passes | Branches], stages: tuple[str, ...]) -> Passes | Branches:
    several = [passes for passes in members if passes.heads > 1]
    lead = next((passes for passes in (*several, *members) if passes != Passes()), Passes())
    if not isinstance(lead, Passes) or not several:
        return lead
    places = ("input", *stages, "classifier")
    splits = [passes.split for passes in several if isinstance(passes, Passes) and passes.split in places]
    return lead.model_copy(update={"split": min(splits, key=places.index, default=lead.split)})


class Control(Kind):
    """The matched control of another method; with rates of its own where these are searched for it too."""

    control_of: str
    """The name of the method that it controls. It replaces `kind`."""
    drop: Fraction | None = None
    """Rate of dropout before the classifier. None: that of the method."""
    channel_drop: Fraction | None = None
    """Rate of channel dropout after each stage but the last. None: that of the method."""

    @property
    def is_plain(self) -> bool:
        """Whether it has no keys of its own: then it is what its method is, without the collaboration."""
        return self.drop is None and self.channel_drop is None and not self.own_training

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        control = resolve(self.control_of, None).control()
        rates = {key: getattr(self, key) for key in ("drop", "channel_drop") if getattr(self, key) is not None}
        return control.model_copy(update={"passes": control.passes.model_copy(update=rates)})
