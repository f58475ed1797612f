"""The digest of every recipe of every preset: an equal digest says that a study asks for the same results as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from collabpipe.plan.plan import Plan
from tests.workspaces import REPOSITORY

CONFIG = REPOSITORY / "config"
PRESETS = sorted(file.stem for file in CONFIG.glob("*.yaml") if not file.stem.endswith("claims"))
# Nothing here writes this file. Who changes on purpose what a preset asks for enters the digest that the test shows.
GOLDEN = json.loads(Path(__file__).with_name("digests.json").read_text(encoding="utf-8"))


def digests(plan: Plan) -> Iterator[str]:
    """The digest of each recipe of a study."""
    for recipes in (plan.data, plan.labels, plan.selections, plan.trainings):
        yield from (recipe.digest for recipe in recipes.values())
    yield plan.overhead.digest
    yield plan.study.digest


def test_every_preset_has_a_digest() -> None:
    assert sorted(GOLDEN) == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_asks_for_what_it_asked_before(name: str) -> None:
    plan = Plan.from_files([CONFIG / f"{name}.yaml"], Path("results"))

    assert sha256("\n".join(sorted(digests(plan))).encode()).hexdigest() == GOLDEN[name]
