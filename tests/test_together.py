"""Several trainings in one process at once: each ends as it would alone."""

from __future__ import annotations

import threading

import pytest

from collabpipe.training.together import at_once, train_together
from collabpipe.training.weights import weights_digest
from tests.conftest import Lab


def test_trainings_at_once_end_as_each_does_alone(lab: Lab) -> None:
    methods = {"output": {"split": "stage2"}, "mixup": {}}
    recipes = [lab.recipe({"methods": methods}, name, seed) for name in ("output", "mixup") for seed in (0, 1)]
    together = [lab.training(recipe) for recipe in recipes]

    train_together(together)

    for training, recipe in zip(together, recipes, strict=True):
        alone = lab.trained(recipe)
        assert training.finished
        assert training.history == alone.history
        assert weights_digest(training.method.state_dict()) == weights_digest(alone.method.state_dict())


def test_no_more_than_the_most_are_at_work_and_one_that_fails_leaves_the_others() -> None:
    done, busy, seen = [], 0, []
    lock, both = threading.Lock(), threading.Barrier(2)

    def work(number: int) -> None:
        nonlocal busy
        with lock:
            busy += 1
            seen.append(busy)
        if number < 2:  # two are at work at a time: each waits for the other
            both.wait()
        if number == 0:
            raise ValueError("the first fails")
        with lock:
            busy -= 1
            done.append(number)

    with pytest.raises(ValueError, match="the first fails"):
        at_once(work, range(6), 2)
    assert sorted(done) == [1, 2, 3, 4, 5]
    assert max(seen) <= 2 + 1, "the one that failed still counts"
