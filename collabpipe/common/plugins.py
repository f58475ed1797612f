"""Plugins: a user's own Python files, which enter networks, methods, noise and data into the package's registries.

A plugin is known by the digest of its text. It is loaded once per process, and its entries are in the registries as
long as a study (or a recipe) that uses it is at work. A copy of its text lies beside the recipes, so that jobs need
nothing but their recipe.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from pydantic import ValidationError

from collabpipe.common.errors import CollabpipeError, unreadable
from collabpipe.common.files import atomic_path
from collabpipe.common.plugin_text import faults
from collabpipe.common.registry import Registry

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}")


@dataclass(frozen=True)
class Entered:
    """An entry of a plugin, and the line that entered it."""

    registry: Registry[Any]
    name: str
    value: Any
    line: int

    @property
    def what(self) -> str:
        """The entry for a message."""
        return f"{self.registry.what} {self.name!r}"


@dataclass(eq=False)
class Plugin:
    """A plugin that is loaded."""

    path: Path
    text: bytes
    entries: list[Entered] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the text."""
        return hashlib.sha256(self.text).hexdigest()

    @property
    def copied_as(self) -> str:
        """The name of its copies: its own and its digest, so that messages of jobs say whose line they mean."""
        return f"{self.path.stem.removesuffix(f'-{self.digest}')}-{self.digest}.py"

    def clashes(self, other: Plugin) -> tuple[Entered, Entered] | None:
        """An entry of each that have one name, if there are any."""
        pairs = ((own, its) for own in self.entries for its in other.entries)
        return next(((a, b) for a, b in pairs if a.registry is b.registry and a.name == b.name), None)


_loaded: dict[str, Plugin] = {}
_in_use: dict[str, Plugin] = {}
_loading: list[Plugin] = []
_files: set[str] = set()
_lock = threading.RLock()


def load(path: Path) -> Plugin:
    """The plugin in `path`, executed if no plugin of its text was before.

    Raises:
        CollabpipeError: it cannot be read, or something in it is wrong; with file and line.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise unreadable(f"plugin {path}", error) from error
    plugin = Plugin(path, text)
    with _lock:
        if plugin.digest not in _loaded:
            _execute(plugin)
            _loaded[plugin.digest] = plugin
        return replace(_loaded[plugin.digest], path=path)


def _execute(plugin: Plugin) -> None:
    code = _compiled(plugin)
    module = ModuleType(f"collabpipe_plugin_{plugin.digest[:16]}")
    module.__file__ = str(plugin.path)
    sys.modules[module.__name__] = module  # pydantic looks up the annotations of a class in its module
    _files.add(str(plugin.path))
    _loading.append(plugin)
    try:
        exec(code, module.__dict__)  # noqa: S102 (the user's own code, which the configuration names)
    except (Exception, SystemExit) as error:
        told = str(error) if isinstance(error, CollabpipeError) else f"{type(error).__name__}: {error}"
        raise CollabpipeError(f"{place_of_fault(error) or plugin.path}: {told}") from error
    finally:
        _loading.pop()


def _compiled(plugin: Plugin) -> CodeType:
    try:
        tree = ast.parse(plugin.text, str(plugin.path))
        found = faults(tree)
        if not found:
            return compile(tree, str(plugin.path), "exec")
    except SyntaxError as error:
        place = f"{plugin.path}:{error.lineno}" if error.lineno else f"{plugin.path}"
        raise CollabpipeError(f"{place}: is no valid Python: {error.msg}. Correct it.") from error
    except ValueError as error:
        raise CollabpipeError(f"{plugin.path}: is no valid Python: {error}. Correct it.") from error
    raise CollabpipeError("\n".join(f"{plugin.path}:{line}: {fault}" for line, fault in found))


def add_entry(registry: Registry[Any], name: str, value: Any) -> None:
    """Enter `value` under `name` for the plugin that is being loaded.

    Raises:
        CollabpipeError: no plugin is being loaded, or the name is taken or cannot be written in a configuration.
    """
    if not _loading:
        raise CollabpipeError("only a file under plugins: of a configuration can register anything. Name it there.")
    plugin = _loading[-1]
    lines = [frame.lineno or 0 for frame in traceback.extract_stack() if frame.filename == str(plugin.path)]
    entered = Entered(registry, name, value, lines[-1] if lines else 0)
    if not NAME.fullmatch(name):
        raise CollabpipeError(
            f"{entered.what} is not allowed. Allowed: up to 50 letters, digits and _, a letter first."
        )
    if name in registry.own:
        raise CollabpipeError(f"{entered.what} is one of the package's own. Choose another name.")
    earlier = next((one for one in plugin.entries if one.registry is registry and one.name == name), None)
    if earlier:
        raise CollabpipeError(f"{entered.what} is registered in line {earlier.line} already. Choose another name.")
    plugin.entries.append(entered)


def activate(plugins: Sequence[Plugin]) -> None:
    """Let the registries hold the entries of these plugins, and of no other.

    Raises:
        CollabpipeError: two of them register one name.
    """
    for position, plugin in enumerate(plugins):
        for other in plugins[:position]:
            if clash := plugin.clashes(other):
                raise CollabpipeError(
                    f"{plugin.path}:{clash[0].line}: {clash[0].what} is registered in {other.path}:{clash[1].line} "
                    "already. Choose another name, or leave out one of the two plugins."
                )
    with _lock:
        _take_out(one for one in _in_use.values() if one.digest not in {plugin.digest for plugin in plugins})
        _put_in(plugins)


def _take_out(plugins: Iterable[Plugin]) -> None:
    for plugin in list(plugins):
        del _in_use[plugin.digest]
        for one in plugin.entries:
            del one.registry[one.name], one.registry.digests[one.name]


def _put_in(plugins: Iterable[Plugin]) -> None:
    # What is in use stays untouched: trainings in other threads look at it.
    for plugin in (one for one in plugins if one.digest not in _in_use):
        _in_use[plugin.digest] = plugin
        for one in plugin.entries:
            one.registry[one.name] = one.value
            one.registry.digests[one.name] = plugin.digest


def activate_copies(digests: Iterable[str], folder: Path) -> None:
    """Let the registries hold the entries of these plugins, whose copies lie in `folder`, beside those in use.

    What clashes with them, another version of the same plugin for instance, goes.

    Raises:
        CollabpipeError: a copy is missing, or is not the text that it is named after.
    """
    with _lock:
        new = [_copied(digest, folder) for digest in digests if digest not in _in_use]
        _take_out(one for one in _in_use.values() if any(one.clashes(plugin) for plugin in new))
        _put_in(new)


def _copied(digest: str, folder: Path) -> Plugin:
    if digest in _loaded:
        return _loaded[digest]
    path = next(folder.glob(f"*-{digest}.py"), None)
    if path is None:
        raise CollabpipeError(
            f"{folder}: lacks a plugin that the recipe was made with (…-{digest}.py). Plan its study again, which "
            "puts it there: collabpipe plan --write CONFIG."
        )
    plugin = load(path)
    if plugin.digest != digest:
        raise CollabpipeError(
            f"{path}: was edited, so that its name no longer ends in its digest. Edit the plugin that the "
            "configuration names, and plan again: collabpipe plan --write CONFIG."
        )
    return plugin


def write_copies(digests: Iterable[str], folder: Path) -> None:
    """Put the texts of loaded plugins into `folder`, each under its name and digest."""
    for plugin in (_loaded[digest] for digest in digests):
        path = folder / plugin.copied_as
        if not path.exists() or path.read_bytes() != plugin.text:
            with atomic_path(path, durable=False) as temporary:
                temporary.write_bytes(plugin.text)


def place_of_fault(error: BaseException) -> str | None:
    """`file:line` of the innermost line of a plugin that an error came through; None if it came through none."""
    found = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _files]
    return f"{found[-1].filename}:{found[-1].lineno}" if found else None


@contextmanager
def faults_with_lines() -> Iterator[None]:
    """Turn an error out of a plugin's code into a user's error with file and line.

    Raises:
        CollabpipeError: in place of any other error that came through a plugin.
    """
    try:
        yield
    except (CollabpipeError, ValidationError):
        raise
    except Exception as error:
        place = place_of_fault(error)
        if place is None:
            raise
        raise CollabpipeError(f"{place}: {type(error).__name__}: {error}") from error
