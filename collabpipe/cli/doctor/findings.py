"""What a check finds, and whether it is well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """What was found, whether it is well, and what to do if it is not."""

    level: Level
    found: str
    fix: str = ""


def ok(found: str) -> Finding:
    """Well."""
    return Finding("ok", found)


def warning(found: str, fix: str = "") -> Finding:
    """Not as it should be, or not known; a study can be made all the same."""
    return Finding("warning", found, fix)


def failure(found: str, fix: str = "") -> Finding:
    """A study cannot be made, or not made well."""
    return Finding("failure", found, fix)
