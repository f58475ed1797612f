"""What several commands print with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console

Item = TypeVar("Item")
MOST_LINES = 10
"""Of a list, so many are shown."""


def console() -> Console:
    """Where tables are printed."""
    # A log or a pipe is no terminal of 80 columns: a table must not be folded there.
    return Console(width=None if sys.stdout.isatty() else 200)


def first_few(title: str, items: Sequence[Item], tell: Callable[[Item], str]) -> list[str]:
    """A title and the first items below it, as `tell` words them; nothing where there are none."""
    more = [f"and {len(items) - MOST_LINES} more"] if len(items) > MOST_LINES else []
    return ["\n  ".join([title, *map(tell, items[:MOST_LINES]), *more])] if items else []


def duration(seconds: float) -> str:
    """A length of time with two or three figures in the unit that suits it."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            number = seconds / size
            return f"{number:,.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.2g} seconds"
