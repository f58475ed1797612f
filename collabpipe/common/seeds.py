"""Named seeds: every source of randomness has its own, derived from the run's seed and its name."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

Purpose = Literal["subset", "noise", "split", "initialisation", "order", "augmentation", "dropout", "method"]
"""What a seed is for: the first three make a replicate's labels, the others its training."""


def derive_seed(seed: int, purpose: str) -> int:
    """A seed in [0, 2**63) for one purpose ("noise", "split", "order", ...) of the run's `seed`.

    Seeds of different purposes are unrelated, so two runs can share their labels and differ in their masks.
    """
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(seed: int) -> np.random.Generator:
    """numpy's PCG64 generator, whose stream is documented to be stable for the methods that are used here."""
    return np.random.Generator(np.random.PCG64(seed))
