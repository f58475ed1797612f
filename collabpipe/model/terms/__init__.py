"""The losses of the terms, with torch: one module per method family, named as in `collabpipe.methods`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from collabpipe.common.global_draws import without_global_draws
from collabpipe.methods.composition import OwnTerm, Term
from collabpipe.model.networks import StagedNetwork
from collabpipe.model.terms.base import OwnLoss, TermLoss


def build_term(term: Term, network: StagedNetwork, images: int) -> TermLoss[Any]:
    """The loss of a term: its own, or from the module that is named as the term's own."""
    if isinstance(term, OwnTerm):
        own = term.module(network, images)
        of = term.loss if own is None else own.forward
        own = own or OwnLoss(term, network, images)
        own.forward = without_global_draws(own.forward, of)  # type: ignore[method-assign]
        return own
    family = type(term).__module__.rpartition(".")[2]
    loss: type[TermLoss[Any]] = import_module(f"{__name__}.{family}").TERMS[type(term)]
    return loss(term, network, images)
