"""Several trainings in one process at once: each ends as it would alone."""

from __future__ import annotations

from benchmarks.together import at_once
from collabpipe.training.checkpoint import weights_digest
from tests.workspaces import Lab


def test_trainings_at_once_end_as_each_does_alone(lab: Lab) -> None:
    methods = {"output": {"split": "stage2"}, "mixup": {}}
    recipes = [lab.recipe({"methods": methods}, name, seed) for name in ("output", "mixup") for seed in (0, 1)]
    together = [lab.training(recipe) for recipe in recipes]

    at_once(together)

    for training, recipe in zip(together, recipes, strict=True):
        alone = lab.trained(recipe)
        assert training.finished
        assert training.history == alone.history
        assert weights_digest(training.method.state_dict()) == weights_digest(alone.method.state_dict())
