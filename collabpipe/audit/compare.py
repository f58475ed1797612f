"""Compares texts that were computed twice, perhaps on two kinds of processor."""

from __future__ import annotations

import math
import re

NUMBER = re.compile(r"(?<![\w.-])(-?\d+(?:\.\d+(?:e[+-]\d+)?|e[+-]\d+))(?![\w.])")
"""Matches a number with a fraction or an exponent. Integers and digests must be equal exactly."""


def alike(first: str, second: str) -> bool:
    """Whether two texts are equal except for the last digits of numbers.

    Another processor may round these differently.
    """
    if first == second:
        return True
    one, other = NUMBER.split(first), NUMBER.split(second)
    return len(one) == len(other) and all(
        a == b or (i % 2 == 1 and _close(float(a), float(b))) for i, (a, b) in enumerate(zip(one, other, strict=True))
    )


def _close(a: float, b: float) -> bool:
    return math.isfinite(a) and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
