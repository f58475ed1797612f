"""Hyper-parameters that the pipeline chooses: the grid of candidates, the choice, and what is trained from it."""

from __future__ import annotations

import copy
import itertools
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collabpipe.cli import main
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import json_digest, read_json, write_json
from collabpipe.jobs.choose import choose, decide
from collabpipe.methods.composition import Composition, Passes
from collabpipe.methods.kernel import KernelTerm
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import SelectionRecipe, TrainRecipe
from collabpipe.settings.study import check_settings, load_settings
from tests.workspaces import Lab, altered

Config = dict[str, Any]
CELL = "digits/symmetric-0.5/resnet8"
SEEDS = [10, 11]
SELECT = {"seeds": SEEDS}
INPUTS = {"train.arrow": "a", "labels": "b"}
KERNEL: Config = {"kernel": {"variant": "rows", "weight": [0.1, 1.0, 10.0], "select": SELECT}}


def study(methods: Config, **changes: Any) -> Config:
    """The small study with `methods` in place of its own."""
    return {**altered(changes), "methods": copy.deepcopy(methods)}


def plan(config: Config, root: Path = Path("results")) -> Plan:
    return Plan(check_settings(config, {}), root)


@dataclass(frozen=True)
class Bench:
    """A results folder in which the candidates' trainings are what a test says they were."""

    plan: Plan

    @classmethod
    def of(cls, config: Config, root: Path) -> Bench:
        bench = cls(plan(config, root))
        for recipe in (*bench.plan.trainings.values(), *bench.plan.selections.values()):
            recipe.write(bench.paths.recipes)
        return bench

    @property
    def paths(self) -> Paths:
        return self.plan.paths

    def selection(self, method: str, noise: str = "symmetric-0.5") -> SelectionRecipe:
        return self.plan.selections["digits", noise, "resnet8", method]

    def candidate(self, method: str, number: int, seed: int) -> TrainRecipe:
        return self.plan.candidates[f"{CELL}/{method}.candidate{number}/seed{seed}"]

    def trained(self, recipe: TrainRecipe, curve: Sequence[float] | None) -> None:
        """Write what a training leaves behind that had this validation accuracy an epoch; None: it diverged."""
        folder = self.paths.run(recipe.run)
        status = "diverged" if curve is None else "finished"
        record = {"recipe": recipe.digest, "run": recipe.run.model_dump(), "status": status}
        write_json(folder / "record.json", record | {"digest": json_digest(str(recipe.run))})
        pq.write_table(
            pa.table({"validation_accuracy": [math.nan] if curve is None else curve}), folder / "history.parquet"
        )

    def choose(self, method: str, *accuracies: float | None, noise: str = "symmetric-0.5") -> dict[str, Any]:
        """The choice among candidates with these last accuracies, the same for every seed."""
        recipe = self.selection(method, noise)
        for one, accuracy in zip(recipe.candidates, accuracies, strict=True):
            for run, _ in one.runs:
                self.trained(self.plan.candidates[str(run)], None if accuracy is None else [accuracy])
        choose(recipe, self.paths)
        return self.choice(method, noise)

    def choice(self, method: str, noise: str = "symmetric-0.5") -> dict[str, Any]:
        choice: dict[str, Any] = read_json(self.paths.choice("digits", noise, "resnet8", method))
        return choice

    def decided(self, method: str, noise: str = "symmetric-0.5", seed: int = 0) -> TrainRecipe:
        recipe = self.plan.trainings[f"digits/{noise}/resnet8/{method}/seed{seed}"]
        return decide(recipe, "digits", "resnet8", self.paths)[0]


# --- the grid --------------------------------------------------------------------------------------------------------


def test_candidates_are_the_combinations_of_the_lists_and_the_last_list_runs_fastest() -> None:
    made = plan(
        study({"output": {"split": "stage2", "drop": [0.3, 0.5], "weight": [1.0, 3.0, 10.0], "select": SELECT}})
    )
    searched = made.settings.searches["output"]

    assert searched.values == tuple(
        {"drop": drop, "weight": weight} for drop in (0.3, 0.5) for weight in (1.0, 3.0, 10.0)
    )
    names = [f"{CELL}/output.candidate{number}/seed{seed}" for number in range(6) for seed in SEEDS]
    assert list(made.candidates) == names
    compositions = [made.candidates[f"{CELL}/output.candidate{number}/seed10"].composition for number in range(6)]
    assert [(c.passes.drop, c.terms[0].weight) for c in compositions] == [
        (drop, weight) for drop in (0.3, 0.5) for weight in (1.0, 3.0, 10.0)
    ]


def test_the_weights_of_a_combination_are_searched_one_by_one() -> None:
    weights = {"output": 2.0, "kernel": [0.1, 5.0]}
    combined = {"of": "output+kernel", "weights": weights, "factor": 1.0, "select": SELECT}
    made = plan(study({"output": {"split": "stage2"}, "kernel": {}, "combined": combined}))

    assert made.settings.searches["combined"].values == ({"weights.kernel": 0.1}, {"weights.kernel": 5.0})
    for number, weight in enumerate((0.1, 5.0)):
        composition = made.candidates[f"{CELL}/combined.candidate{number}/seed10"].composition
        assert [term.weight for term in composition.terms] == [2.0, weight]


def test_keys_that_are_lists_by_nature_are_not_searched() -> None:
    made = plan(
        study(
            {
                "output": {"split": "stage2"},
                "representation": {"taps": ["stage1", "stage3"], "weight": [0.1, 1.0], "select": SELECT},
                "multi_head": {"heads": 4, "splits": ["stage2", "stage3"], "drop": [0.0, 0.5], "select": SELECT},
                "combined": {"of": ["output", "representation"], "weights": {"output": [1, 2]}, "select": SELECT},
            }
        )
    )

    assert {name: [list(v) for v in kind.values] for name, kind in made.settings.searches.items()} == {
        "representation": [["weight"]] * 2,
        "multi_head": [["drop"]] * 2,
        "combined": [["weights.output"]] * 2,
    }


def test_words_are_searched_like_numbers() -> None:
    made = plan(study({"kernel": {"variant": ["rows", "one_sided"], "select": SELECT}}))

    variants = [made.candidates[f"{CELL}/kernel.candidate{number}/seed10"].composition.terms[0] for number in (0, 1)]
    assert variants == [KernelTerm(variant="rows", weight=30.0), KernelTerm(variant="one_sided", weight=30.0)]


def test_a_hundred_candidates_are_allowed_and_no_more() -> None:
    def method(number: int) -> Config:
        return {"kernel": {"weight": [float(value) for value in range(number)], "select": SELECT}}

    assert len(plan(study(method(100))).settings.searches["kernel"].candidates) == 100
    with pytest.raises(CollabpipeError, match=r"methods\.kernel: number of candidates '101' is not allowed"):
        plan(study(method(101)))


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_value_that_does_not_fit_is_told_with_its_place_whichever_candidate_holds_it(
    position: int, tmp_path: Path
) -> None:
    splits = ["stage2", "stage3", "classifier"]
    splits[position] = "stage9"
    file = tmp_path / "study.yaml"
    config = study({"output": {"split": splits, "select": SELECT}})
    file.write_text(yaml.safe_dump(config, sort_keys=False, default_flow_style=None))
    line = 1 + next(n for n, text in enumerate(file.read_text().splitlines()) if "split" in text)

    with pytest.raises(CollabpipeError) as caught:
        load_settings([file])

    assert str(caught.value).startswith(f"{file}:{line}: methods.output.split: split for network resnet8 'stage9'")


RATES = st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.7]), min_size=1, max_size=2, unique=True)
AXES: st.SearchStrategy[dict[str, list[Any]]] = st.fixed_dictionaries(
    {},
    optional={
        "weight": st.lists(st.sampled_from([0.0, 0.3, 1, 7.5, 1e3]), min_size=1, max_size=3, unique=True),
        "drop": RATES,
        "channel_drop": RATES,
        "split": st.lists(st.sampled_from(["stage2", "stage3"]), min_size=1, max_size=2, unique=True),
        "agreement": st.lists(
            st.sampled_from(["symmetric_kl", "song_chai", "stop_gradient"]), min_size=1, max_size=2, unique=True
        ),
    },
)


@given(axes=AXES.filter(lambda axes: len(axes) > 0 and math.prod(map(len, axes.values())) <= 8), data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_candidates_and_what_is_chosen_ask_for_what_their_values_written_out_ask_for(
    axes: dict[str, list[Any]], data: st.DataObject
) -> None:
    def methods(values: Config) -> Config:
        output = {"heads": 2, **values} | ({} if "split" in axes else {"split": "stage2"})
        others = {"kernel": {}, "output_control": {"control_of": "output"}, "combined": {"of": "output+kernel"}}
        return {"output": output, **others}

    values = [dict(zip(axes, combination, strict=True)) for combination in itertools.product(*axes.values())]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.of(study(methods({**axes, "select": SELECT})), Path(folder))
        searched = bench.plan.settings.searches["output"]
        assert len(searched.candidates) == math.prod(len(axis) for axis in axes.values())
        assert list(searched.values) == values
        written_out = [plan(study(methods(one), seeds=[0, *SEEDS])).runs for one in values]
        for number, runs in enumerate(written_out):
            for seed in SEEDS:
                asked = bench.candidate("output", number, seed)
                assert asked.undecided is None
                assert asked.key(INPUTS) == runs[f"{CELL}/output/seed{seed}"].key(INPUTS)
        chosen = data.draw(st.integers(0, len(values) - 1))
        bench.choose("output", *(0.5 if number == chosen else 0.4 for number in range(len(values))))
        for method in ("output", "output_control", "combined"):
            asked = bench.plan.runs[f"{CELL}/{method}/seed0"]
            assert asked.undecided is not None
            expected = written_out[chosen][f"{CELL}/{method}/seed0"]
            assert bench.decided(method).key(INPUTS) == expected.key(INPUTS)
        assert bench.plan.runs[f"{CELL}/kernel/seed0"].undecided is None


def test_an_undecided_training_has_no_key() -> None:
    with pytest.raises(ValueError, match="undecided"):
        plan(study(KERNEL)).runs[f"{CELL}/kernel/seed0"].key(INPUTS)


def test_a_longer_grid_keeps_the_recipes_of_the_candidates_before() -> None:
    before = plan(study(KERNEL)).candidates
    longer = plan(study({"kernel": KERNEL["kernel"] | {"weight": [0.1, 1.0, 10.0, 100.0]}})).candidates

    assert {name: longer[name].digest for name in before} == {name: r.digest for name, r in before.items()}
    assert len(longer) == len(before) + len(SEEDS)


# --- the choice ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three weights of one method, nothing trained."""
    return Bench.of(study(KERNEL), tmp_path)


def test_the_highest_mean_at_the_last_epoch_wins_and_not_the_best_epoch(bench: Bench) -> None:
    curves = {
        (0, 10): [0.99, 0.99, 0.30],
        (0, 11): [0.99, 0.99, 0.50],
        (1, 10): [0.10, 0.20, 0.80],  # the best single training of all, and a mean of 0.45
        (1, 11): [0.10, 0.20, 0.10],
        (2, 10): [0.20, 0.20, 0.50],
        (2, 11): [0.20, 0.20, 0.42],
    }
    for (number, seed), curve in curves.items():
        bench.trained(bench.candidate("kernel", number, seed), curve)
    recipe = bench.selection("kernel")

    assert main(["choose", str(recipe.write(bench.paths.recipes)), *bench.paths.options]) == 0

    choice = bench.choice("kernel")
    assert (choice["chosen"], choice["values"]) == (2, {"weight": 10.0})
    assert [one["accuracy"] for one in choice["candidates"]] == [[0.3, 0.5], [0.8, 0.1], [0.5, 0.42]]
    assert [one["mean"] for one in choice["candidates"]] == pytest.approx([0.4, 0.45, 0.46])
    assert [one["values"] for one in choice["candidates"]] == [{"weight": w} for w in (0.1, 1.0, 10.0)]
    assert {tuple(one["seeds"]) for one in choice["candidates"]} == {tuple(SEEDS)}
    assert choice["recipe"] == recipe.digest
    assert choice["method"] == "kernel"
    assert "validation" in choice["on"]
    assert "last epoch" in choice["on"]
    assert bench.decided("kernel").composition == Composition(terms=(KernelTerm(variant="rows", weight=10.0),))


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [
        ((0.4, 0.4, 0.4), 0),
        ((0.3, 0.4, 0.4), 1),
        ((None, 0.1, None), 1),
        ((None, 0.0, 0.0), 1),
        ((0.2, None, 0.1), 0),
    ],
)
def test_of_equal_candidates_the_first_is_taken_and_a_diverged_one_cannot_win(
    accuracies: tuple[float | None, ...], chosen: int, bench: Bench
) -> None:
    choice = bench.choose("kernel", *accuracies)

    assert choice["chosen"] == chosen
    assert [one["mean"] for one in choice["candidates"]] == list(accuracies)


def test_one_diverged_seed_is_enough_to_lose(bench: Bench) -> None:
    bench.choose("kernel", 0.3, 0.9, 0.2)
    bench.trained(bench.candidate("kernel", 1, 11), None)

    choose(bench.selection("kernel"), bench.paths)

    choice = bench.choice("kernel")
    assert choice["chosen"] == 0
    assert choice["candidates"][1] == {"values": {"weight": 1.0}, "seeds": SEEDS, "accuracy": [0.9, None], "mean": None}


def test_a_choice_among_diverged_candidates_is_refused(bench: Bench) -> None:
    with pytest.raises(CollabpipeError, match=r"kernel on digits: every candidate diverged\. Give other values"):
        bench.choose("kernel", None, None, None)

    assert not bench.paths.choice("digits", "symmetric-0.5", "resnet8", "kernel").exists()


def test_a_training_that_is_missing_or_foreign_is_named_and_nothing_is_chosen(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.choose("kernel", 0.1, 0.2, 0.3)
    path = bench.paths.choice("digits", "symmetric-0.5", "resnet8", "kernel")
    path.unlink()
    recipe = bench.candidate("kernel", 1, 11)
    record = bench.paths.run(recipe.run) / "record.json"
    command = ["choose", str(bench.paths.recipes / f"{bench.selection('kernel').digest}.json")]

    def refused() -> str:
        assert main([*command, *bench.paths.options]) == 1
        assert not path.exists()
        return capsys.readouterr().err

    other = bench.candidate("kernel", 2, 11)
    write_json(record, read_json(record) | {"recipe": other.digest})
    message = refused()
    assert str(record.parent) in message
    assert f"another recipe ({other.digest[:12]}, asked for {recipe.digest[:12]})" in message
    record.unlink()
    assert f"{record}: is missing. Train the run" in refused()


def test_the_same_outcome_is_the_same_input_of_a_training_however_many_candidates_there_were(tmp_path: Path) -> None:
    few = Bench.of(study({"kernel": KERNEL["kernel"] | {"weight": [0.1, 1.0]}}), tmp_path / "few").choose(
        "kernel", 0, 1
    )
    more = Bench.of(study(KERNEL), tmp_path / "more").choose("kernel", 0.0, 1.0, 0.0)

    assert few["recipe"] != more["recipe"]
    assert few["digest"] == more["digest"] == json_digest(few["definition"])


def test_candidates_are_trained_and_chosen_without_a_single_test_image(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {
        "methods": {"output": None, "output_control": None, "kernel": {"weight": [0.1, 1e39], "select": SELECT}},
        "seeds": [0],
        "training": {"epochs": 3, "measure_every": 2},
    }
    paths, _ = lab.lay_out(tmp_path, changes)
    (paths.dataset("digits") / "test.arrow").unlink()
    made = plan(altered(changes), paths.root)
    results = paths.options
    candidates = [str(recipe.write(paths.recipes)) for recipe in made.candidates.values()]

    assert main(["train", *candidates, *results]) == 0
    selection = made.selections["digits", "symmetric-0.5", "resnet8", "kernel"]
    assert main(["choose", str(selection.write(paths.recipes)), *results]) == 0

    choice = read_json(paths.choice("digits", "symmetric-0.5", "resnet8", "kernel"))
    last = []
    for seed in SEEDS:
        folder = paths.run(f"digits/symmetric-0.5/resnet8/kernel.candidate0/seed{seed}")
        history = pq.read_table(folder / "history.parquet")
        last.append(history["validation_accuracy"].to_pylist()[-1])
    assert choice["chosen"] == 0
    assert choice["candidates"][0]["accuracy"] == last
    assert 0.0 < choice["candidates"][0]["mean"] < 1.0
    assert choice["candidates"][1]["accuracy"] == [None, None]
    # The final run trains from the choice, and it alone names what it was trained with.
    final = made.runs[f"{CELL}/kernel/seed0"]
    assert main(["train", str(final.write(paths.recipes)), *results]) == 0
    record = read_json(paths.run(final.run) / "record.json")
    assert record["choices"] == {"kernel": choice["digest"]}
    assert record["composition"]["terms"][0]["weight"] == 0.1
    assert record["recipe"] == final.digest
    # The counter-check: evaluation is what reads test images, and it fails.
    assert main(["evaluate", str(final.write(paths.recipes)), *results]) == 1
    assert "test.arrow" in capsys.readouterr().err


# --- what is trained from a choice -----------------------------------------------------------------------------------


def test_a_training_without_its_choice_says_what_to_do(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = bench.plan.runs[f"{CELL}/kernel/seed0"].write(bench.paths.recipes)

    assert main(["train", str(recipe), *bench.paths.options]) == 1

    path = bench.paths.choice("digits", "symmetric-0.5", "resnet8", "kernel")
    assert f"{path}: is missing. Choose again: collabpipe choose RECIPE." in capsys.readouterr().err


def test_a_choice_of_another_selection_is_refused(bench: Bench, tmp_path: Path) -> None:
    bench.choose("kernel", 0.1, 0.2, 0.3)
    longer = Bench.of(study({"kernel": KERNEL["kernel"] | {"weight": [0.1, 1.0, 10.0, 100.0]}}), tmp_path)

    with pytest.raises(CollabpipeError) as caught:
        longer.decided("kernel")

    made_from, asked = bench.selection("kernel").digest, longer.selection("kernel").digest
    path = bench.paths.choice("digits", "symmetric-0.5", "resnet8", "kernel")
    assert f"{path}: is of selection {made_from[:12]}, not {asked[:12]}. Choose again" in str(caught.value)


@pytest.mark.parametrize("edited", ["definition", "digest"])
def test_an_edited_choice_is_refused(edited: str, bench: Bench) -> None:
    choice = bench.choose("kernel", 0.1, 0.2, 0.3)
    path = bench.paths.choice("digits", "symmetric-0.5", "resnet8", "kernel")
    other = {"definition": choice["definition"] | {"weight": 500.0}, "digest": "0" * 64}
    write_json(path, choice | {edited: other[edited]})

    with pytest.raises(CollabpipeError) as caught:
        bench.decided("kernel")

    assert str(path) in str(caught.value)
    assert "edited" in str(caught.value)
    assert "Choose again: collabpipe choose RECIPE." in str(caught.value)


def test_a_choice_that_does_not_fit_the_network_is_told_with_what_is_allowed(bench: Bench) -> None:
    choice = bench.choose("kernel", 0.1, 0.2, 0.3)
    definition = choice["definition"] | {"heads": 2, "split": "stage9"}
    path = bench.paths.choice("digits", "symmetric-0.5", "resnet8", "kernel")
    write_json(path, choice | {"definition": definition, "digest": json_digest(definition)})

    allowed = "split for network resnet8 'stage9' is not allowed. Allowed: input, stage1, stage2, .*classifier"
    with pytest.raises(CollabpipeError, match=f"kernel: what was chosen does not go together. .* Here: {allowed}"):
        bench.decided("kernel")


def test_a_combination_takes_the_choices_of_all_its_members(tmp_path: Path) -> None:
    methods = {
        "output": {"split": "stage2", "drop": [0.2, 0.6], "select": SELECT},
        **KERNEL,
        "combined": {"of": "output+kernel", "factor": 1.0},
        "own": {"kind": "combined", "of": "output+kernel", "weights": {"kernel": 77.0}, "factor": 1.0},
        "combined_control": {"control_of": "combined"},
    }
    bench = Bench.of(study(methods), tmp_path)
    bench.choose("output", 0.1, 0.2)
    with pytest.raises(CollabpipeError, match=r"kernel\.json: is missing"):
        bench.decided("combined")
    bench.choose("kernel", 0.1, 0.3, 0.2)

    combined = bench.decided("combined")
    assert combined.composition.passes == Passes(heads=2, split="stage2", drop=0.6, channel_drop=0.1)
    assert [term.weight for term in combined.composition.terms] == [3.0, 1.0]
    assert bench.decided("own").composition.terms[1].weight == 77.0, "a weight of its own stays"
    assert bench.decided("combined_control").composition == Composition(passes=combined.composition.passes)
    choices = decide(bench.plan.runs[f"{CELL}/combined/seed0"], "digits", "resnet8", bench.paths)[1]
    assert choices == {name: bench.choice(name)["digest"] for name in ("output", "kernel")}


def test_a_controls_own_rates_are_chosen_beside_what_its_method_chose(tmp_path: Path) -> None:
    methods = {
        "output": {"split": ["stage2", "stage3"], "drop": 0.5, "select": SELECT},
        "plain": {"control_of": "output"},
        "tuned": {"control_of": "output", "drop": [0.1, 0.7], "select": SELECT},
    }
    bench = Bench.of(study(methods), tmp_path)
    assert list(bench.plan.selections) == [("digits", "symmetric-0.5", "resnet8", name) for name in ("output", "tuned")]
    waits = bench.plan.candidates[f"{CELL}/tuned.candidate1/seed10"].undecided
    assert waits is not None, "its split is not known before that of `output` is"
    assert list(waits.choices) == ["output"]
    bench.choose("output", 0.1, 0.2)

    candidates = [bench.decided(f"tuned.candidate{number}", seed=10).composition.passes for number in (0, 1)]
    assert candidates == [Passes(heads=2, split="stage3", drop=drop, channel_drop=0.1) for drop in (0.1, 0.7)]
    bench.choose("tuned", 0.3, 0.2)
    assert bench.decided("tuned").composition == Composition(passes=candidates[0])
    assert bench.decided("plain").composition.passes == Passes(heads=2, split="stage3", drop=0.5, channel_drop=0.1)
    assert bench.plan.study.controls == {"resnet8/output": "plain"}


def test_a_choice_is_carried_over_to_another_noise(tmp_path: Path) -> None:
    select = {"seeds": SEEDS, "carry": {"symmetric-0.8": "symmetric-0.5"}}
    config = study(
        {"kernel": {"weight": [0.1, 1.0], "select": select}}, noise=["symmetric-0.5", "symmetric-0.8", "none"]
    )
    bench = Bench.of(config, tmp_path)

    assert [key[1] for key in bench.plan.selections] == ["symmetric-0.5", "none"]
    assert {recipe.run.noise for recipe in bench.plan.candidates.values()} == {"symmetric-0.5", "none"}
    # No labels are made for trainings that nobody asks for.
    assert {seed for _, noise, seed in bench.plan.labels if noise == "symmetric-0.8"} == {0, 1}
    assert {seed for _, noise, seed in bench.plan.labels if noise == "none"} == {0, 1, *SEEDS}
    bench.choose("kernel", 0.1, 0.2)
    bench.choose("kernel", 0.2, 0.1, noise="none")

    def weight(noise: str) -> float:
        return bench.decided("kernel", noise).composition.terms[0].weight

    assert {noise: weight(noise) for noise in config["noise"]} == {"symmetric-0.5": 1, "symmetric-0.8": 1, "none": 0.1}


def test_candidates_share_labels_and_seeds_with_each_other_and_none_with_the_final_runs() -> None:
    made = plan(study(KERNEL))

    assert {recipe.run.seed for recipe in made.candidates.values()} == set(SEEDS)
    assert {recipe.run.seed for recipe in made.runs.values()} == {0, 1}
    for seed in SEEDS:
        recipes = [recipe for recipe in made.candidates.values() if recipe.run.seed == seed]
        assert len({recipe.seeds.model_dump_json() for recipe in recipes}) == 1
        assert len({recipe.labels.digest for recipe in recipes}) == 1
    assert set(made.study.runs).isdisjoint((r.run, r.digest) for r in made.candidates.values())
