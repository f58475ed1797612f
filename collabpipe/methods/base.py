"""What every kind of method shares, and the keys of those that may run virtual heads."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field, model_validator

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Fraction, Positive, Strict, Weight, Wrong
from collabpipe.methods.composition import Composition, Passes, Views

Resolve = Callable[[str, float | None], Composition]
Taps = tuple[str, ...] | None
"""The stages that a term looks at; None: those of the method's default."""


class Kind(Strict):
    """A method of a configuration; `compose` resolves it for a network's stages in a training."""

    learning_rate: Positive | None = None
    """In place of `training.learning_rate`. None: that value; a control: that of the method that it controls."""
    weight_decay: Weight | None = None
    """In place of `training.weight_decay`. None: that value; a control: that of the method that it controls."""

    @property
    def own_training(self) -> dict[str, float]:
        """The keys of training that the method sets in place of the study's."""
        return self.model_dump(include={"learning_rate", "weight_decay"}, exclude_none=True)

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        """The composition; `resolve` gives that of another method by name, with another weight where one is given."""
        raise TypeError(f"{type(self).__name__} composes nothing")


class WithPasses(Kind):
    """Keys shared by the kinds that may run virtual heads."""

    heads: int = Field(default=1, ge=1, le=16)
    """How many times the part behind the split runs."""
    split: str = "classifier"
    """Where the heads separate: `input`, a stage, or `classifier`. Refused for one head."""
    views: Views = "same"
    """One augmented image for all heads, or one per head. `independent` needs `split: input`, and crop, flip or
    dropout, or else all heads are equal. Refused for one head."""
    drop: Fraction = 0.0
    """Rate of dropout before the classifier."""
    channel_drop: Fraction = 0.0
    """Rate of channel dropout after each stage but the last."""

    @model_validator(mode="after")
    def _one_head_runs_once(self) -> WithPasses:
        for key in ("split", "views"):
            if self.heads == 1 and getattr(self, key) != type(self).model_fields[key].default:
                raise Wrong(getattr(self, key), ("no value for one head, which runs once; set heads",), key, (key,))
        return self

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
