"""What a configuration may name: the package's own entries, and those that the plugins in use have entered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Registry(dict[str, Entry], Generic[Entry]):
    """Entries of one kind by name.

    Args:
        what: a word for an entry, for messages.
        own: the package's own entries.
    """

    def __init__(self, what: str, own: Mapping[str, Entry]):
        super().__init__(own)
        self.what = what
        self.own = frozenset(own)
        self.digests: dict[str, str] = {}
        """The digests of the plugins that the other entries come from, by the entries' names."""

    def plugins(self, *names: str) -> tuple[str, ...]:
        """The digests of the plugins that these entries come from."""
        return tuple(sorted({self.digests[name] for name in names if name in self.digests}))
