"""The methods as a configuration names them: a short form a kind, each of which writes its `Composition`.

What the paper fixes and what was chosen here stands in docs/methods.md, one card a method.
"""

from collabpipe.kinds.anchors import Elr, Gce, Gjs, Js, Mixup, Temporal
from collabpipe.kinds.base import Kind
from collabpipe.kinds.paper import (
    Baseline,
    Combined,
    Control,
    Dropout,
    Intermediate,
    Kernel,
    LabelSmoothing,
    MultiHead,
    OnePass,
    Output,
    Representation,
)

__all__ = ["KINDS", "Baseline", "Combined", "Control", "Kind"]

KINDS: dict[str, type[Kind]] = {
    "baseline": Baseline,
    "dropout": Dropout,
    "label_smoothing": LabelSmoothing,
    "one_pass": OnePass,
    "output": Output,
    "intermediate": Intermediate,
    "representation": Representation,
    "kernel": Kernel,
    "combined": Combined,
    "multi_head": MultiHead,
    "temporal": Temporal,
    "gjs": Gjs,
    "js": Js,
    "elr": Elr,
    "gce": Gce,
    "mixup": Mixup,
}
