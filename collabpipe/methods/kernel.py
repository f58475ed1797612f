"""The convolution kernels: kernels do not repeat each other."""

from __future__ import annotations

from typing import Literal

from collabpipe.catalogue.stages import Stages
from collabpipe.common.validation import Weight
from collabpipe.methods.base import Resolve, WithPasses
from collabpipe.methods.composition import Composition, Term


class KernelTerm(Term):
    """Similarity of the convolution kernels: kernels must not repeat each other."""

    term: Literal["kernel"] = "kernel"
    variant: Literal["rows", "one_sided", "self_convolution"]


class Kernel(WithPasses):
    """Similarity of the convolution kernels."""

    kind: Literal["kernel"] = "kernel"
    variant: Literal["rows", "one_sided", "self_convolution"] = "rows"
    weight: Weight = 0.1

    def compose(self, stages: Stages, resolve: Resolve) -> Composition:
        return Composition(passes=self.passes(), terms=(KernelTerm(variant=self.variant, weight=self.weight),))
