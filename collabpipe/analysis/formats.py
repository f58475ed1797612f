"""Numbers as tables show them. What is not known is nan, and leaves its place empty."""

from __future__ import annotations

import math


def number(value: float, form: str = ".2f") -> str:
    """A number in a format of Python's: `91.20`."""
    return "" if math.isnan(value) else f"{value:{form}}"


def with_spread(mean: float, spread: float, form: str = ".2f") -> str:
    """A mean with the standard deviation behind it: `91.20 ± 0.31`."""
    return number(mean, form) if math.isnan(spread) else f"{mean:{form}} ± {spread:{form}}"


def with_interval(estimate: float, low: float, high: float, form: str = "+.2f") -> str:
    """An estimate with its interval: `+1.20 [+0.40, +2.00]`. Without the estimate the interval alone is left."""
    interval = "" if math.isnan(low) else f"[{low:{form}}, {high:{form}}]"
    return f"{number(estimate, form)} {interval}".strip()
