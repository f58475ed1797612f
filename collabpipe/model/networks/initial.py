"""The initial weights of a network, all drawn from the recipe's generator."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.global_draws import GLOBAL_GENERATORS


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Let what a constructor draws from torch's global generator, such as a buffer, come from `seed` as well.

    The generator itself, which trainings in other threads share, is left as it was.
    """
    with GLOBAL_GENERATORS, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)
DRAWING = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)
"""Layers that draw from torch's global generator at every step."""


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights from `generator`: He et al. (2015) for convolutions, torch's default for the classifier.

    Embeddings are drawn from N(0, 1) and normalisations begin as the identity, both as torch has them.

    Raises:
        CollabpipeError: a part has parameters of its own and is of no kind that is known here, so that its constructor
            has drawn them from torch's global generator, which no recipe seeds; or it draws from that in training.
    """
    for name, part in module.named_modules():
        if isinstance(part, CONVOLUTIONS):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, NORMALISATIONS):
            # Absent where the layer has no affine part.
            for values, start in ((part.weight, 1.0), (part.bias, 0.0)):
                if values is not None:
                    nn.init.constant_(values, start)
        elif isinstance(part, nn.Linear):
            bound = 1.0 / math.sqrt(part.in_features)
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
            if part.bias is not None:
                nn.init.uniform_(part.bias, -bound, bound, generator=generator)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, generator=generator)
            if part.padding_idx is not None:
                nn.init.zeros_(part.weight[part.padding_idx])
        elif isinstance(part, DRAWING):
            raise CollabpipeError(
                f"{name} ({type(part).__name__}) draws from torch's global generator, which no recipe seeds. Leave it "
                "out of the network: a method's keys drop and channel_drop give dropout from the recipe's own seed."
            )
        elif own := [key for key, _ in part.named_parameters(recurse=False)]:
            known = ", ".join(kind.__name__ for kind in (*CONVOLUTIONS, *NORMALISATIONS, nn.Linear, nn.Embedding))
            raise CollabpipeError(
                f"{name or 'the module'} ({type(part).__name__}) has parameters of its own ({', '.join(own)}), drawn "
                f"by its constructor from torch's global generator. Known are {known}: build it of these, or add its "
                "kind to networks.initialise, which draws from the recipe's generator."
            )
