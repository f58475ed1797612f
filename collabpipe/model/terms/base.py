"""What the terms of all methods share: what a term sees of a step, and the module that computes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from collabpipe.methods.composition import OwnTerm, Term
from collabpipe.model.heads import Activations
from collabpipe.model.networks import StagedNetwork

EPSILON = 1e-5
"""Where a channel may be dead: added to a variance, as in batch normalisation, or the least norm that is divided by."""

AnyTerm = TypeVar("AnyTerm", bound=Term)


@dataclass(frozen=True)
class Step:
    """The inputs of a term: activations, the batch's positions (B,) in the training set, and a generator."""

    activations: Activations
    index: Tensor
    generator: torch.Generator


class TermLoss(nn.Module, Generic[AnyTerm]):
    """The loss of a term, before its weight.

    Args:
        term: the term's numbers.
        network: the network that is trained; the term does not own its parameters.
        images: number of training images.
    """

    def __init__(self, term: AnyTerm, network: StagedNetwork, images: int):
        super().__init__()
        self.term = term

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        raise NotImplementedError


class OwnLoss(TermLoss[OwnTerm]):
    """The loss of a term that is a function of the step alone."""

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        return self.term.loss(step)
