"""Whether a function draws from a global generator, told by the generators' states before and after it."""

from __future__ import annotations

import inspect
import random
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from collabpipe.common.errors import CollabpipeError

P = ParamSpec("P")
R = TypeVar("R")

GLOBAL_GENERATORS = threading.RLock()
"""Held by whoever moves a global generator on purpose, and by whoever watches that no one does."""


def place_of_function(function: Callable[..., Any]) -> str:
    """`file:line` of a function; the name of what was called in place of one."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else _name(function)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def without_global_draws(function: Callable[P, R], of: Callable[..., Any] | None = None) -> Callable[P, R]:
    """`function`, refused if a call moves a global generator: Python's, numpy's or torch's, on any device.

    Args:
        function: what is called.
        of: the user's own function, which the message names; None: `function` itself.

    Raises:
        CollabpipeError: it did, with file and line of the function.
    """
    told = of or function

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with GLOBAL_GENERATORS:
            before = _states()
            result = function(*args, **kwargs)
            after = _states()
            # Torch may have been imported within the call.
            before |= {name: _undrawn(name) for name in after.keys() - before.keys()}
        if before != after:
            place = place_of_function(told)
            raise CollabpipeError(
                f"{place}: {_name(told)} draws from global randomness, which no recipe seeds. Draw from the generator "
                "that it is given (a loss: generator=step.generator), or from one of a fixed seed: "
                "numpy.random.default_rng(0). A network draws nothing: use a method's keys drop and channel_drop."
            )
        return result

    return call


def _states() -> dict[str, object]:
    """The states of all global generators by name; torch's only if torch is imported, as nothing here imports it."""
    _, keys, *rest = np.random.get_state(legacy=True)
    states: dict[str, object] = {"random": random.getstate(), "numpy": (np.asarray(keys).tobytes(), *rest)}
    if default := getattr(sys.modules.get("torch"), "default_generator", None):
        torch = sys.modules["torch"]
        states["torch"] = default.get_state().numpy().tobytes()
        # While a step is captured its generators have no state. The same step ran uncaptured before, and was watched.
        if torch.cuda.is_initialized() and not torch.cuda.is_current_stream_capturing():
            for number, generator in enumerate(torch.cuda.default_generators):
                states[f"cuda:{number}"] = generator.get_state().numpy().tobytes()
    return states


def _undrawn(name: str) -> object:
    """The state of torch's generator `name` as long as nothing is drawn from it."""
    torch = sys.modules["torch"]
    found = torch.default_generator if name == "torch" else torch.cuda.default_generators[int(name.rpartition(":")[2])]
    return torch.Generator(found.device).manual_seed(found.initial_seed()).get_state().numpy().tobytes()
