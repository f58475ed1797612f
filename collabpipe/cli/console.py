"""Where the commands print their tables."""

from __future__ import annotations

import sys

from rich.console import Console


def console() -> Console:
    """Where tables are printed."""
    # A log or a pipe is no terminal of 80 columns: a table must not be folded there.
    return Console(width=None if sys.stdout.isatty() else 200)
