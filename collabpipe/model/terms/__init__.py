"""The losses of the terms, with torch: one module per method family, named as in `collabpipe.methods`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from collabpipe.methods.composition import OwnTerm, Term
from collabpipe.model.networks import StagedNetwork
from collabpipe.model.terms.base import OwnLoss, TermLoss


def build_term(term: Term, network: StagedNetwork, images: int) -> TermLoss[Any]:
    """The loss of a term: its own, or from the module that is named as the term's own."""
    if isinstance(term, OwnTerm):
        return term.module(network, images) or OwnLoss(term, network, images)
    family = type(term).__module__.rpartition(".")[2]
    loss: type[TermLoss[Any]] = import_module(f"{__name__}.{family}").TERMS[type(term)]
    return loss(term, network, images)
