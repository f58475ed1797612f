"""Numbers in messages."""

from __future__ import annotations


def counted(number: int, one: str, many: str) -> str:
    """A number with the words that go with it: `1 run lies`, `2 runs lie`."""
    return f"{number:,} {one if number == 1 else many}"
