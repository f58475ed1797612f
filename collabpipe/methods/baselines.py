"""Plain cross-entropy, and what one pass can do without a loss of its own: dropout and label smoothing."""

from __future__ import annotations

from typing import Literal

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Fraction
from collabpipe.methods.base import Kind, Resolve
from collabpipe.methods.composition import Composition, Label, Passes


class Baseline(Kind):
    """Cross-entropy alone."""

    kind: Literal["baseline"] = "baseline"

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition()


class Dropout(Kind):
    """Cross-entropy with dropout, one pass."""

    kind: Literal["dropout"] = "dropout"
    drop: Fraction = 0.5
    """Rate of dropout before the classifier."""
    channel_drop: Fraction = 0.2
    """Rate of channel dropout after each stage but the last."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=Passes(drop=self.drop, channel_drop=self.channel_drop))


class OnePass(Kind):
    """What one pass can do without collaboration, dropout and label smoothing at once: the rival of every method."""

    kind: Literal["one_pass"] = "one_pass"
    drop: Fraction = 0.5
    """Rate of dropout before the classifier."""
    channel_drop: Fraction = 0.2
    """Rate of channel dropout after each stage but the last."""
    smoothing: Fraction = 0.0
    """Share of a label that is spread over all classes."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        passes = Passes(drop=self.drop, channel_drop=self.channel_drop)
        return Composition(passes=passes, label=Label(smoothing=self.smoothing))


class LabelSmoothing(Kind):
    """Cross-entropy against smoothed labels."""

    kind: Literal["label_smoothing"] = "label_smoothing"
    smoothing: Fraction = 0.1
    """Share of a label that is spread over all classes."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(label=Label(smoothing=self.smoothing))
