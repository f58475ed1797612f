"""The kinds of label noise that a study may name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collabpipe.common.registry import Registry


@dataclass(frozen=True)
class Noise:
    """A kind of noise.

    sources: the only sources that can have it; empty: all. draw: what draws it, if a plugin brings it; the package's
    own are in `collabpipe.data.noise`.
    """

    sources: tuple[str, ...] = ()
    draw: Callable[..., Any] | None = None


NOISES: Registry[Noise] = Registry(
    "noise",
    {
        "none": Noise(),
        "symmetric": Noise(),
        "symmetric_inclusive": Noise(),
        "pair": Noise(),
        "asymmetric": Noise(("cifar10",)),
        "superclass": Noise(("cifar100",)),
        "superclass_legacy": Noise(("cifar100",)),
        "instance": Noise(),
        "human": Noise(("cifar10", "cifar100")),  # of the annotators each source has its own
        "file": Noise(),
    },
)
