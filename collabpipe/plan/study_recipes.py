"""The recipes of what a whole study ends in: its tables, and the measured overhead of its methods."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from collabpipe.common.validation import Strict
from collabpipe.methods.registry import AnyComposition
from collabpipe.plan.recipes import DataRecipe, Recipe, RunName, Undecided
from collabpipe.settings.claims import Claims, Rivals
from collabpipe.settings.training import NetworkSettings, TrainingSettings

TABLES_NUMERICS = 6
"""Raised whenever the same runs would give other tables or figures; then they are made again."""

REPORT_NUMERICS = 3
"""Raised whenever the same tables and figures would give another page; then it is written again."""

OVERHEAD_NUMERICS = 1
"""Raised whenever the same methods would be measured otherwise."""


class StudyRecipe(Recipe):
    """What the tables were asked to show: the runs in order, with the digests of their recipes."""

    kind: Literal["study"] = "study"
    study: str
    runs: tuple[tuple[RunName, str], ...]
    baseline: str | None
    """The name of the method that is cross-entropy alone."""
    controls: dict[str, str]
    """The matched control of each network/method that has one, by name."""
    tuned_controls: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The controls of each method that have rates of their own."""
    selections: tuple[str, ...] = ()
    """The digests of the selections' recipes."""
    tests: tuple[tuple[RunName, str, str], ...] = Field(default=(), exclude_if=lambda tests: not tests)
    """The evaluations on further test sets: run, name of the test set, digest of the recipe."""
    claims: Claims | None = None
    # Left out where there is none: studies that name none keep their digests.
    rival: Rivals = Field(default=(), exclude_if=lambda named: not named)
    """Rivals that the study names beside those of its claims."""
    overhead: str = ""
    """The digest of the recipe of the overhead table that belongs to the study."""
    tables_numerics: int = TABLES_NUMERICS

    def rivals_at(self, place: str) -> Rivals:
        """The rivals at a place for a table of all methods."""
        return (*(self.claims.rivals_at(place) if self.claims else ()), *self.rival)


class MeasuredMethod(Strict):
    """A method of the study, as its overhead is measured."""

    network_name: str
    network: NetworkSettings
    method: str
    composition: AnyComposition
    undecided: Undecided | None = None


class OverheadRecipe(Recipe):
    """Whose overhead is measured, on images of which shape."""

    kind: Literal["overhead"] = "overhead"
    data: DataRecipe
    training: TrainingSettings
    methods: tuple[MeasuredMethod, ...]
    overhead_numerics: int = OVERHEAD_NUMERICS
