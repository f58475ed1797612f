"""The intermediate representation: channels do not repeat each other."""

from __future__ import annotations

from typing import Literal

from collabpipe.catalogue.stages import SAMPLES_PER_CHANNEL, Stages
from collabpipe.common.validation import Weight, Wrong
from collabpipe.methods.base import Resolve, Taps, WithPasses
from collabpipe.methods.composition import Branches, Composition, Passes, Problem, Term, problem_of_taps

Variant = Literal["spatial", "pooled", "per_sample"]


class RepresentationTerm(Term):
    """Similarity of the intermediate representation: channels must not repeat each other."""

    term: Literal["representation"] = "representation"
    variant: Variant
    taps: tuple[str, ...]

    def problem(self, passes: Passes | Branches, stages: tuple[str, ...]) -> Problem | None:
        """The stages must be the network's."""
        return problem_of_taps(self.taps, stages)


class Representation(WithPasses):
    """Similarity of the intermediate representation."""

    kind: Literal["representation"] = "representation"
    variant: Variant = "spatial"
    """Between what channels are correlated: all positions, pooled images, or the maps of one image."""
    weight: Weight = 0.3
    """Weight of the penalty."""
    taps: Taps = None
    """The stages whose channels count. None: all with at least four samples per channel in a batch."""

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
