"""The exception for users' mistakes. Its message is printed without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class CollabpipeError(Exception):
    """What is wrong, where, what is allowed and what to do; the command line prints it without a traceback."""


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error


def unwritable(path: object, error: Exception) -> CollabpipeError:
    """What to raise where a file or folder cannot be written."""
    return CollabpipeError(
        f"cannot write {path}: {_reason(error)}. Make room or set its permissions, and run the same command again."
    )


def unreadable(path: object, error: Exception) -> CollabpipeError:
    """What to raise where a file or folder cannot be read."""
    return CollabpipeError(
        f"{path}: cannot be read: {_reason(error)}. Correct its name or permissions, and run the same command again."
    )


def listed(faults: Sequence[str], most: int = 20) -> str:
    """The first `most` faults, one per line, and how many there are if those are not all."""
    more = [f"and {len(faults) - most} more: {len(faults)} in all."] if len(faults) > most else []
    return "\n".join([*faults[:most], *more])


def nearest(value: object, allowed: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the allowed word nearest to `value`, or the empty string."""
    match = difflib.get_close_matches(str(value), list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""
