"""To come."""

from __future__ import annotations

from benchmarks.rounds import Context, Row


def measure(context: Context) -> list[Row]:
    """None yet."""
    return []
