"""Song and Chai's collaborative learning: heads with weights of their own that agree on their predictions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Fraction, Positive, ProperFraction
from collabpipe.methods.base import Kind, Resolve
from collabpipe.methods.composition import Branches, Composition, Label, Pattern
from collabpipe.methods.output import AgreementTerm


class MultiHead(Kind):
    """Song and Chai (2018): heads of their own weights over a shared trunk, head 0 kept for inference."""

    kind: Literal["multi_head"] = "multi_head"
    pattern: Pattern = "hierarchical"
    """A binary tree, all heads from one stage on, or whole networks."""
    heads: int = Field(default=4, ge=2, le=16)
    """Number of heads; hierarchical: 2, 4, 8 or 16."""
    splits: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The stages at which heads separate. None: the last, as many as the pattern needs; for instances the input."""
    balance: ProperFraction = 0.5
    """The share of the label in the loss."""
    temperature: Positive = 2.0
    """The temperature of the softmax."""
    temperature_squared: bool = False
    """Whether the agreement is multiplied by the temperature's square."""
    drop: Fraction = 0.7
    """Rate of dropout before the classifier."""
    channel_drop: Fraction = 0.1
    """Rate of channel dropout after each stage but the last."""

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
