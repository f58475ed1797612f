"""A block of recipes in one job: each is tried, and all faults are reported together."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.plugins import faults_with_lines
from collabpipe.plan.recipes import AnyRecipe, read_recipe


def for_each(
    paths: Sequence[Path], model: type[AnyRecipe], work: Callable[[AnyRecipe], None], at_once: int = 1
) -> None:
    """Do `work` for every recipe; one that fails does not keep the others from finishing.

    Args:
        paths: of the recipes.
        model: their kind.
        work: what to do.
        at_once: for how many at a time, each in a thread of its own.

    Raises:
        CollabpipeError: what went wrong, for all that failed.
    """
    if at_once == 1:
        failures = [_failure(path, model, work) for path in paths]
    else:
        with ThreadPoolExecutor(at_once) as pool:
            failures = list(pool.map(_failure, paths, repeat(model), repeat(work)))
    if told := [failure for failure in failures if failure]:
        raise CollabpipeError("\n".join(told))


def _failure(path: Path, model: type[AnyRecipe], work: Callable[[AnyRecipe], None]) -> str:
    """What went wrong with one recipe; empty if nothing did."""
    try:
        with faults_with_lines():
            work(read_recipe(path, model))
    except CollabpipeError as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"
    except OSError as error:
        return f"{path}: {error.filename or 'input or output'}: {error.strerror or error}"
    except Exception as error:  # a defect: it is reported in full, and the other recipes continue
        traceback.print_exc()
        return f"{path}: {type(error).__name__}: {error}"
    return ""
