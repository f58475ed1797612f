"""The methods as a configuration names them: a short form a kind, each of which writes its `Composition`.

What the paper fixes and what was chosen here stands in docs/methods.md, one card a method.
"""

from collabpipe.methods.anchors import Elr, Gce, Gjs, Js, Mixup, Temporal
from collabpipe.methods.base import Kind
from collabpipe.methods.paper import (
    Baseline,
    Combined,
    Dropout,
    Intermediate,
    Kernel,
    LabelSmoothing,
    MultiHead,
    OnePass,
    Output,
    Representation,
)

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
