"""The plugins that a configuration names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.plugins import activate, load
from collabpipe.common.validation import Place, beside, place_of


def plugin_paths(value: Any, places: Mapping[Place, str]) -> tuple[str, ...]:
    """The paths under `plugins`, relative to the file that names them; none where the value is no list of texts."""
    if not isinstance(value, list | tuple) or not all(isinstance(path, str) for path in value):
        return ()
    return tuple(beside(path, ("plugins", str(number)), places) for number, path in enumerate(value))


def use_plugins(value: Any, places: Mapping[Place, str]) -> None:
    """Let the registries hold what these plugins enter, and what no other does.

    Raises:
        CollabpipeError: a plugin cannot be read or is named twice, or something in it is wrong; with file and line.
    """
    paths = plugin_paths(value, places)
    for number, path in enumerate(paths):
        place = place_of(("plugins", str(number)), places)
        if not Path(path).is_file():
            raise CollabpipeError(f"{place}: {path} is no file. A path is relative to the file that names it.")
        if path in paths[:number]:
            raise CollabpipeError(f"{place}: {path} is named twice. Name each plugin once.")
    activate([load(Path(path)) for path in paths])
