"""Equal budgets: candidates by name, learning rates of a method's own, and what one pass can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.jobs.choose import decide
from collabpipe.methods.composition import Composition, Label, Passes
from collabpipe.plan.recipes import TrainRecipe
from tests.jobs.test_choose import CELL, SELECT, Bench, plan, study

TUNED: dict[str, Any] = {
    "kind": "baseline",
    "learning_rate": [0.05, 0.2],
    "weight_decay": [0.0, 0.001],
    "select": SELECT,
}


def rates(recipe: TrainRecipe) -> tuple[float, float]:
    return recipe.training.learning_rate, recipe.training.weight_decay


def test_a_method_trains_at_its_own_rates_and_the_others_at_the_studys() -> None:
    methods = {
        "baseline": {},
        "slow": {"kind": "baseline", "learning_rate": 0.01},
        "output": {"weight_decay": 0.0},
        "plain": {"control_of": "output"},
        "own": {"control_of": "output", "learning_rate": 0.3},
        "combined": {"of": "output+slow"},
    }
    runs = plan(study(methods)).runs

    assert {name: rates(runs[f"{CELL}/{name}/seed0"]) for name in methods} == {
        "baseline": (0.1, 5e-4),
        "slow": (0.01, 5e-4),
        "output": (0.1, 0.0),
        "plain": (0.1, 0.0),
        "own": (0.3, 0.0),
        "combined": (0.1, 5e-4),
    }


def test_the_baselines_rates_are_chosen_like_any_other_hyper_parameter(tmp_path: Path) -> None:
    bench = Bench.of(study({"baseline": {}, "tuned": TUNED, "control": {"control_of": "tuned"}}), tmp_path)

    assert [rates(bench.candidate("tuned", number, 10)) for number in range(4)] == [
        (0.05, 0.0), (0.05, 0.001), (0.2, 0.0), (0.2, 0.001)
    ]  # fmt: skip
    waits = bench.plan.runs[f"{CELL}/tuned/seed0"]
    assert rates(waits) == (0.1, 5e-4), "the study's, until the choice is made"
    bench.choose("tuned", 0.1, 0.4, 0.3, 0.2)
    assert rates(bench.decided("tuned")) == rates(bench.decided("control")) == (0.05, 0.001)
    # What the run's record holds gives the same recipe again.
    decided, choices = decide(waits, "digits", "resnet8", bench.paths)
    assert waits.decided({"choices": choices, **decided.model_dump(mode="json")}) == decided
    assert bench.plan.study.baseline == "baseline"


def test_a_control_at_another_learning_rate_matches_nothing() -> None:
    methods = {"baseline": {}, "kernel": {"learning_rate": 0.05}, "slow": {"kind": "baseline", "learning_rate": 0.05}}

    assert plan(study(methods)).study.controls == {"resnet8/kernel": "slow"}
    del methods["slow"]
    assert plan(study(methods)).study.controls == {}
    assert (
        plan(study({"baseline": {}, "kernel": {"learning_rate": [0.05, 0.1], "select": SELECT}})).study.controls == {}
    )


def test_one_pass_covers_dropout_and_smoothing_with_candidates_by_name() -> None:
    candidates: list[dict[str, Any]] = [{}, {"drop": 0.7, "channel_drop": 0.2}, {"drop": 0.0, "smoothing": 0.2}]
    made = plan(study({"rival": {"kind": "one_pass", "channel_drop": 0.0, "candidates": candidates, "select": SELECT}}))

    assert list(made.settings.searches["rival"].values) == candidates
    assert [made.candidates[f"{CELL}/rival.candidate{number}/seed10"].composition for number in range(3)] == [
        Composition(passes=Passes(drop=0.5)),
        Composition(passes=Passes(drop=0.7, channel_drop=0.2)),
        Composition(label=Label(smoothing=0.2)),
    ]


@pytest.mark.parametrize(
    ("keys", "place", "says"),
    [
        ({"candidates": []}, "kernel", "number of candidates '0'"),
        ({"candidates": {"weight": 1}}, "kernel.candidates", "a list such as"),
        ({"candidates": [{"weight": 1}, {"weight": 1}]}, "kernel.candidates.1", "each once"),
        ({"candidates": [{"weight": 1}, 2]}, "kernel.candidates.1", "a list such as"),
        ({"candidates": [{"weight": 1}, {"wieght": 2}]}, "kernel.candidates.1.wieght", "Did you mean 'weight'"),
        ({"candidates": [{"weight": 1}], "variant": ["rows", "one_sided"]}, "kernel.variant", "with all their values"),
        ({"candidates": [{"weight": 1}], "select": None}, "kernel.candidates", "together with select"),
    ],
)
def test_candidates_that_are_wrong_are_told_with_their_place(keys: dict[str, Any], place: str, says: str) -> None:
    method = {key: value for key, value in ({"select": SELECT} | keys).items() if value is not None}

    with pytest.raises(CollabpipeError) as caught:
        plan(study({"kernel": method}))

    assert f"methods.{place}: " in str(caught.value)
    assert says in str(caught.value)


PASSES: dict[str, Any] = {"heads": 2, "split": "stage2", "drop": 0.5, "channel_drop": 0.1}
MEMBERS: dict[str, dict[str, Any]] = {
    "output": PASSES,
    "virtual": {"kind": "intermediate", "variant": "virtual"} | PASSES,
    "partition": {"kind": "intermediate", "variant": "partition"} | PASSES,
    "to_output": {"kind": "intermediate", "variant": "to_output"} | PASSES,
    "representation": PASSES,
    "kernel": PASSES,
}


@pytest.mark.parametrize("name", MEMBERS)
def test_every_way_runs_at_the_passes_of_the_combination_and_has_the_same_control(name: str) -> None:
    methods = {**MEMBERS, "combined": {"of": "+".join(MEMBERS), "factor": 1.0}, "control": {"control_of": "combined"}}
    made = plan(study(methods))
    asked = {method: made.compositions["digits", "resnet8", method] for method in methods}

    assert asked[name].passes == asked["combined"].passes == Passes(**PASSES)
    assert asked[name].control() == asked["control"]
    assert asked["combined"].terms == tuple(term for member in MEMBERS for term in asked[member].terms)
    assert made.study.controls[f"resnet8/{name}"] == "control"


def test_a_combination_searches_one_factor_on_the_weights_that_its_members_chose(tmp_path: Path) -> None:
    methods = {
        "combined": {"of": "output+kernel", "factor": [0.5, 2.0], "select": SELECT},
        "output": PASSES | {"weight": [1.0, 3.0], "select": SELECT},
        "kernel": PASSES | {"weight": [10.0, 100.0], "select": SELECT},
        "control": {"control_of": "combined"},
    }
    bench = Bench.of(study(methods), tmp_path)
    order = [method for _, _, _, method in bench.plan.selections]
    assert sorted(order[:2]) == ["kernel", "output"], "members are chosen before what combines them"
    assert order[2] == "combined"
    bench.choose("output", 0.1, 0.2)
    bench.choose("kernel", 0.2, 0.1)

    def weights(method: str, seed: int) -> list[float]:
        return [term.weight for term in bench.decided(method, seed=seed).composition.terms]

    assert [weights(f"combined.candidate{number}", 10) for number in (0, 1)] == [[1.5, 5.0], [6.0, 20.0]]
    bench.choose("combined", 0.1, 0.2)
    assert weights("combined", 0) == [6.0, 20.0]
    assert bench.decided("control").composition == Composition(passes=Passes(**PASSES))
