"""A kind of method from what the package has: two heads under dropout, label smoothing and the kernels' similarity."""

from typing import Literal

from collabpipe import plugin
from collabpipe.methods.kernel import KernelTerm


@plugin.kind
class Smoothed(plugin.Kind):
    """Two heads that run the last stage twice, a smoothed label, and kernels that do not repeat each other."""

    kind: Literal["smoothed"] = "smoothed"
    smoothing: plugin.Fraction = 0.1
    weight: plugin.Weight = 0.05

    def compose(self, stages, resolve):
        return plugin.Composition(
            passes=plugin.Passes(heads=2, split=stages.names[-1], drop=0.3, channel_drop=0.1),
            label=plugin.Label(smoothing=self.smoothing),
            terms=(KernelTerm(variant="rows", weight=self.weight),),
        )
