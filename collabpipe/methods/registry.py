"""All kinds of method and all terms: a new one is entered here, and nowhere else.

What the paper fixes and what was chosen here is described in docs/methods.md, one card per kind.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from collabpipe.common.registry import Registry
from collabpipe.common.validation import Wrong
from collabpipe.methods.base import Kind
from collabpipe.methods.baselines import Baseline, Dropout, LabelSmoothing, OnePass
from collabpipe.methods.composition import Composition, Term
from collabpipe.methods.derived import Combined
from collabpipe.methods.intermediate import Intermediate, IntermediateTerm
from collabpipe.methods.kernel import Kernel, KernelTerm
from collabpipe.methods.label import Gce, Gjs, Js, Mixup
from collabpipe.methods.memory import Elr, ElrTerm, Temporal, TemporalTerm
from collabpipe.methods.multi_head import MultiHead
from collabpipe.methods.output import AgreementTerm, Output
from collabpipe.methods.representation import Representation, RepresentationTerm

KINDS: Registry[type[Kind]] = Registry(
    "method kind",
    {
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
    },
)
"""By the name that a configuration gives; of each, the short form that it may write."""

TERMS: Registry[type[Term]] = Registry(
    "term",
    {
        "agreement": AgreementTerm,
        "intermediate": IntermediateTerm,
        "representation": RepresentationTerm,
        "kernel": KernelTerm,
        "temporal": TemporalTerm,
        "elr": ElrTerm,
    },
)
"""By the name that a recipe gives; the loss of each is in `collabpipe.model.terms`, in the module of its family."""


def _with_terms(value: Any) -> Any:
    """Each term of a composition that was read from a file, by its own model."""
    if not isinstance(value, Mapping) or not isinstance(value.get("terms"), list):
        return value
    return {**value, "terms": [_term(keys) for keys in value["terms"]]}


def _term(keys: Any) -> Any:
    if not isinstance(keys, Mapping):
        return keys
    if keys.get("term") not in TERMS:
        raise Wrong(keys.get("term"), tuple(TERMS), "term", ("terms",))
    return TERMS[keys["term"]].model_validate(keys)


def read_composition(value: Mapping[str, Any]) -> Composition:
    """A composition from a record."""
    return Composition.model_validate(_with_terms(value))


AnyComposition = Annotated[Composition, BeforeValidator(_with_terms)]
"""A composition in a recipe, which may hold any term."""
