"""The convolution kernels: kernels do not repeat each other."""

from __future__ import annotations

from typing import Literal

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Weight
from collabpipe.methods.base import Resolve, WithPasses
from collabpipe.methods.composition import Composition, Term

Variant = Literal["rows", "one_sided", "self_convolution"]


class KernelTerm(Term):
    """Similarity of the convolution kernels: kernels must not repeat each other."""

    term: Literal["kernel"] = "kernel"
    variant: Variant


WEIGHTS = {"rows": 30.0, "one_sided": 30.0, "self_convolution": 300.0}
"""The default by variant, on whose scale it depends (`docs/results/defaults.py`); `one_sided` was not searched."""


class Kernel(WithPasses):
    """Similarity of the convolution kernels."""

    kind: Literal["kernel"] = "kernel"
    variant: Variant = "self_convolution"
    """How similarity of kernels is measured."""
    weight: Weight | None = None
    """Weight of the penalty. None: 300; for rows and one_sided 30."""

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        weight = WEIGHTS[self.variant] if self.weight is None else self.weight
        return Composition(passes=self.passes(), terms=(KernelTerm(variant=self.variant, weight=weight),))
