"""Several trainings on one GPU at once, in one process: a small one leaves most of the device idle."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from collabpipe.training.engine import Training


def train_together(trainings: Sequence[Training]) -> None:
    """Carry all trainings to their ends, each on a stream and in a thread of its own.

    Each trains to the same weights as alone: they share the device and nothing else.
    """
    with ThreadPoolExecutor(len(trainings)) as pool:
        for _ in pool.map(_finish, trainings):
            pass


def _finish(training: Training) -> None:
    for _ in training.run():
        pass
