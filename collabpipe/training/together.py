"""Several trainings on one GPU at once, in one process: a small one leaves most of the device idle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from collabpipe.training.engine import Training

Item = TypeVar("Item")


def train_together(trainings: Sequence[Training]) -> None:
    """Carry all trainings to their ends, each on a stream and in a thread of its own.

    Each trains to the same weights as alone: they share the device and nothing else.
    """
    at_once(_finish, trainings, len(trainings))


def _finish(training: Training) -> None:
    for _ in training.run():
        pass


def at_once(work: Callable[[Item], None], items: Sequence[Item], most: int) -> None:
    """Do `work` on every item, at most so many at a time; an error is raised when the others have ended."""
    with ThreadPoolExecutor(max_workers=max(1, most)) as pool:
        for done in [pool.submit(work, item) for item in items]:
            done.result()
