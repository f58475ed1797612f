"""From settings to recipes: what is asked for, how often, and what a change of the configuration changes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.seeds import derive_seed
from collabpipe.common.validation import Place
from collabpipe.methods.resolve import compose
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import DataRecipe, LabelsRecipe, TrainRecipe, read_recipe
from collabpipe.plan.study_recipes import StudyRecipe
from collabpipe.results.workflow import Workflow
from collabpipe.settings.study import check_settings
from tests.workspaces import REPOSITORY, SMALL, altered

Config = dict[str, Any]
DATASETS: Config = {
    "digits": {"validation_size": 50},
    "few": {"source": "digits", "train_size": 100, "validation_size": 30, "crop": 1},
    "fashion_mnist": {"image_size": 14, "validation_size": 99, "flip": True},
}
NOISE = ["none", "symmetric-0.5", "symmetric_inclusive-0.25", "pair-0.4"]
NETWORKS: Config = {"resnet8": {"width": 4}, "resnet18": {}, "vgg16": {"width": 16}}
METHODS: Config = {
    "baseline": {},
    "dropout": {"drop": 0.3},
    "output": {"split": "stage2"},
    "output_control": {"control_of": "output"},
    "intermediate": {"heads": 2, "split": "stage2", "drop": 0.5, "channel_drop": 0.1},
    "representation": {},
    "kernel": {"weight": 0.5},
    "combined": {"of": "output+intermediate+kernel", "weights": {"kernel": 2.0}},
    "both": {"kind": "combined", "of": "output+representation"},
    "multi_head": {"heads": 2},
    "gjs": {},
}
# What a method of the pool cannot be without.
NEEDS = {
    "output_control": {"output"},
    "combined": {"output", "intermediate", "kernel"},
    "both": {"output", "representation"},
}
# The combined methods that take a member's own weight: `combined` gives kernel one of its own.
TAKEN_BY = {"output": {"combined", "both"}, "intermediate": {"combined"}, "representation": {"both"}, "kernel": set()}


def some(keys: Mapping[str, Any], most: int) -> st.SearchStrategy[Config]:
    """Some entries of a mapping, in any order."""
    names = st.lists(st.sampled_from(sorted(keys)), min_size=1, max_size=most, unique=True)
    return names.map(lambda chosen: {name: copy.deepcopy(keys[name]) for name in chosen})


def with_needs(methods: Config) -> Config:
    """The chosen methods, and those that they name."""
    needed = set().union(*(NEEDS.get(name, set()) for name in methods))
    return {**methods, **{name: copy.deepcopy(METHODS[name]) for name in sorted(needed - set(methods))}}


SEEDS = st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 12), min_size=1, max_size=4, unique=True)
STUDIES = st.fixed_dictionaries(
    {
        "study": st.just("small"),
        "datasets": some(DATASETS, 2),
        "noise": st.lists(st.sampled_from(NOISE), min_size=1, max_size=2, unique=True),
        "networks": some(NETWORKS, 2),
        "methods": some(METHODS, 4).map(with_needs),
        "seeds": SEEDS,
        "training": st.just({"epochs": 2}),
        "execution": st.fixed_dictionaries({"seeds_per_job": st.integers(1, 5)}),
    }
)
# A busy machine draws studies slowly; that is no fault of theirs.
quickly = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# The claims lie beside the default study.
SHIPPED: dict[Place, str] = {("claims",): f"{REPOSITORY / 'config' / 'config.yaml'}:1"}


def plan(config: Config) -> Plan:
    return Plan(check_settings(copy.deepcopy(config), SHIPPED), Path("results"))


def digests(config: Config) -> dict[str, str]:
    """The digest of every recipe of a training, by the run's name."""
    return {name: recipe.digest for name, recipe in plan(config).runs.items()}


@given(config=STUDIES)
@quickly
def test_there_is_a_run_for_every_combination_and_each_has_a_name_of_its_own(config: Config) -> None:
    made = plan(config)
    sizes = [len(config[key]) for key in ("datasets", "noise", "networks", "methods", "seeds")]

    assert len(made.runs) == sizes[0] * sizes[1] * sizes[2] * sizes[3] * sizes[4]
    assert len(made.labels) == sizes[0] * sizes[1] * sizes[4]
    assert set(made.data) == set(config["datasets"])
    assert [str(recipe.run) for recipe in made.runs.values()] == list(made.runs)
    folders = {made.paths.run(recipe.run) for recipe in made.runs.values()}
    assert len(folders) == len(made.runs) == len({recipe.digest for recipe in made.runs.values()})
    assert [name for name, _ in made.study.runs] == [recipe.run for recipe in made.runs.values()]


@given(config=STUDIES)
@quickly
def test_recipes_come_back_from_json_with_the_same_digest(config: Config) -> None:
    made = plan(config)

    for recipe in (*made.runs.values(), *made.labels.values(), *made.data.values(), made.study):
        text = json.dumps(recipe.model_dump(mode="json"))
        back = type(recipe).model_validate(json.loads(text))
        assert back == recipe
        assert back.digest == recipe.digest


@given(config=STUDIES, data=st.data())
@quickly
def test_the_same_settings_ask_for_the_same_whatever_the_order_of_their_keys(
    config: Config, data: st.DataObject
) -> None:
    shuffled = {key: config[key] for key in data.draw(st.permutations(sorted(config)))}
    shuffled["methods"] = {
        name: dict(reversed(config["methods"][name].items()))
        for name in data.draw(st.permutations(sorted(config["methods"])))
    }

    assert digests(shuffled) == digests(config)


@given(config=STUDIES, method=st.sampled_from(sorted(TAKEN_BY)))
@quickly
def test_a_weight_changes_its_method_and_the_combinations_that_take_it(config: Config, method: str) -> None:
    config["methods"].setdefault(method, copy.deepcopy(METHODS[method]))
    before = digests(config)
    config["methods"][method]["weight"] = 17.0
    after = digests(config)

    changed = {name for name in before if before[name] != after[name]}
    expected = {method, *TAKEN_BY[method]} & set(config["methods"])
    assert changed == {name for name in before if name.split("/")[3] in expected}


@given(config=STUDIES, data=st.data())
@quickly
def test_a_further_seed_adds_its_own_recipes_and_no_other(config: Config, data: st.DataObject) -> None:
    *kept, new = config["seeds"] + [data.draw(st.integers(0, 99).filter(lambda seed: seed not in config["seeds"]))]
    before, after = digests({**config, "seeds": kept}), digests({**config, "seeds": [new, *kept]})

    assert {name: after[name] for name in before} == before
    added = set(after) - set(before)
    assert {name.split("/")[4] for name in added} == {f"seed{new}"}
    assert len(added) == len(before) // len(kept)


@given(
    seeds=st.lists(st.integers(0, 40), min_size=2, max_size=12, unique=True),
    size=st.integers(2, 5),
    data=st.data(),
)
@quickly
def test_no_seed_changes_its_block_when_another_comes_or_goes(seeds: list[int], size: int, data: st.DataObject) -> None:
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    config["execution"] = {"seeds_per_job": size}
    fewer = data.draw(st.lists(st.sampled_from(seeds), min_size=1, unique=True))

    def block_of(chosen: list[int]) -> dict[int, int]:
        blocks = Workflow(plan({**config, "seeds": chosen})).blocks
        assert sorted(seed for block in blocks for seed in block.seeds) == sorted(chosen)
        assert all(1 <= len(block.seeds) <= size for block in blocks)
        return {int(seed): int(block.name) for block in blocks for seed in block.seeds}

    before = block_of(seeds)
    assert block_of(fewer) == {seed: before[seed] for seed in fewer}


def test_where_each_seed_has_a_job_one_block_stands_for_all() -> None:
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    config["methods"]["searched"] = {"kind": "output", "weight": [1.0, 2.0], "select": {"seeds": [7]}}
    made = plan({**config, "seeds": [0, 1, 2], "execution": {"seeds_per_job": 1}})
    (block,) = Workflow(made).blocks

    assert all(re.fullmatch(block.methods, recipe.run.method) for recipe in made.trainings.values())
    names = {"dataset": "digits", "noise": "none", "network": "resnet8", "method": "searched.candidate1"}
    wanted = made.candidates[f"{'/'.join(names.values())}/seed7"]
    recipes = Workflow(made).recipes(block.job("train"), **names, seed="7")
    assert recipes == [made.paths.recipes / f"{wanted.digest}.json"]


def test_a_copy_of_a_recipe_has_a_digest_of_its_own() -> None:
    recipe = next(iter(plan(yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())).runs.values()))
    digest = recipe.digest
    changed = recipe.model_copy(update={"crop": recipe.crop + 1})

    assert changed.digest != digest
    assert changed.model_copy(update={"crop": recipe.crop}).digest == digest
    assert recipe.digest == digest


def test_an_edited_recipe_is_written_anew_and_one_that_is_whole_is_left_alone(tmp_path: Path) -> None:
    recipe = next(iter(plan(yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())).runs.values()))
    path = recipe.write(tmp_path)
    whole, time_before = path.read_text(), path.stat().st_mtime_ns

    assert recipe.write(tmp_path).stat().st_mtime_ns == time_before
    for damaged in (whole.replace('"crop": 0', '"crop": 1'), whole[:-20], ""):
        assert damaged != whole
        path.write_text(damaged)
        assert recipe.write(tmp_path).read_text() == whole


@given(config=STUDIES)
@quickly
def test_all_methods_of_a_replicate_share_labels_and_seeds(config: Config) -> None:
    replicates: dict[tuple[str, str, int], list[TrainRecipe]] = {}
    for recipe in plan(config).runs.values():
        replicates.setdefault((recipe.run.dataset, recipe.run.noise, recipe.run.seed), []).append(recipe)

    for recipes in replicates.values():
        assert len(recipes) == len(config["networks"]) * len(config["methods"])
        assert len({recipe.labels.digest for recipe in recipes}) == 1
        assert len({recipe.seeds.model_dump_json() for recipe in recipes}) == 1
        assert recipes[0].labels.replicate == recipes[0].run.seed
    assert len({recipes[0].labels.digest for recipes in replicates.values()}) == len(replicates)


@given(config=STUDIES)
@quickly
def test_every_purpose_has_a_seed_of_its_own(config: Config) -> None:
    drawn: dict[int, set[int]] = {}
    for recipe in plan(config).runs.values():
        mine = [*recipe.seeds.model_dump().values(), *recipe.labels.seeds.model_dump().values()]
        assert len(set(mine)) == len(mine) == 8
        drawn.setdefault(recipe.run.seed, set()).update(mine)

    # The methods of a replicate share their seeds, and replicates share none.
    assert {len(seeds) for seeds in drawn.values()} == {8}
    assert len(set().union(*drawn.values())) == 8 * len(drawn)


@given(seed=st.integers(0, 2**31 - 1), purpose=st.sampled_from(["noise", "order", "dropout"]))
def test_a_derived_seed_fits_every_generator(seed: int, purpose: str) -> None:
    assert 0 <= derive_seed(seed, purpose) < 2**63
    assert derive_seed(seed, purpose) == derive_seed(seed, purpose)


@given(config=STUDIES, save=st.floats(0, 100), folder=st.text("abc/", min_size=1))
@quickly
def test_how_jobs_are_cut_and_where_files_lie_is_in_no_recipe(config: Config, save: float, folder: str) -> None:
    for dataset in config["datasets"].values():
        dataset["source"] = "fashion_mnist"
    before = digests(config)
    study = plan(config).study.digest
    config["execution"] = {"seeds_per_job": 9, "save_seconds": save}
    for dataset in config["datasets"].values():
        dataset["data_dir"] = folder

    assert digests(config) == before
    assert plan(config).study.digest == study
    for recipe in plan(config).runs.values():
        assert "seeds_per_job" not in json.dumps(recipe.model_dump(mode="json"))
        assert "save_seconds" not in json.dumps(recipe.model_dump(mode="json"))


def study_of(methods: Config, networks: Config | None = None) -> Plan:
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    return plan({**config, "methods": methods, "networks": networks or {"resnet8": {}}})


def test_the_default_study_finds_the_matched_controls_that_it_has() -> None:
    made = Plan.from_files([REPOSITORY / "config" / "config.yaml"], Path("results"))

    assert made.study.baseline == "baseline"
    # Dropout and Song and Chai's heads differ from cross-entropy by more than an agreement: they have no control here.
    assert made.study.controls == {
        "resnet8/output": "output_control",
        "resnet8/intermediate": "output_control",
        "resnet8/combined": "output_control",
        "resnet8/representation": "baseline",
        "resnet8/kernel": "baseline",
    }


def test_a_control_has_the_passes_and_the_scale_and_no_term() -> None:
    made = study_of(
        {
            "output": {"agreement": "song_chai", "heads": 3, "split": "stage3", "drop": 0.2},
            "output_control": {"control_of": "output"},
        }
    )
    stages = made.settings.stages_of("digits", "resnet8")
    method, control = (compose(made.settings.methods, name, stages) for name in ("output", "output_control"))

    assert control.passes == method.passes
    assert control.label == method.label
    assert method.terms
    assert control.terms == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"split": "stage3"}, "another split"),
        ({"heads": 3}, "more passes"),
        ({"drop": 0.4}, "another rate"),
        ({"views": "independent", "split": "input"}, "other views"),
        ({"agreement": "song_chai"}, "another loss scale"),
    ],
)
def test_what_differs_in_more_than_the_agreement_is_no_control(change: Config, why: str) -> None:
    made = study_of(
        {
            "baseline": {},
            "output": {"split": "stage2"},
            "output_control": {"control_of": "output"},
            "other": {"kind": "output", "split": "stage2", **change},
        }
    )

    assert made.study.controls == {"resnet8/output": "output_control"}, why


def test_controls_are_matched_for_each_network_by_itself() -> None:
    # Left to itself `intermediate` splits at the network's second stage; written out, the two must agree everywhere.
    made = study_of(
        {"intermediate": {}, "control": {"control_of": "intermediate"}}, {"resnet8": {}, "vgg16": {}, "resnet18": {}}
    )

    assert made.study.controls == {f"{network}/intermediate": "control" for network in NETWORKS}
    assert made.study.baseline is None


def test_controls_with_rates_of_their_own_stand_beside_the_matched_one() -> None:
    made = study_of(
        {
            "output": {"split": "stage2", "weight": [0.3, 1.0], "select": {"seeds": [100]}},
            "plain": {"control_of": "output"},
            "searched": {"control_of": "output", "drop": [0.2, 0.7], "select": {"seeds": [100]}},
            "fixed": {"control_of": "output", "channel_drop": 0.3},
        }
    )

    assert made.study.controls == {"resnet8/output": "plain"}
    assert made.study.tuned_controls == {"output": ("searched", "fixed")}


@pytest.mark.parametrize(
    ("rival", "refused"), [("dropout", ""), ("absent", ""), ("output", "output"), ("kernel", "kernel")]
)
def test_a_rival_has_one_pass_and_no_collaboration(tmp_path: Path, rival: str, refused: str) -> None:
    claims = yaml.safe_load((REPOSITORY / "config" / "claims.yaml").read_text())
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({**claims, "rival": ["baseline", rival]}))
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    made = plan({**config, "claims": str(path)})

    if not refused:
        assert made.study.claims is not None
        return
    with pytest.raises(CollabpipeError) as caught:
        _ = made.study
    assert f"{path}: rival: method '{refused}' is not allowed" in str(caught.value)
    assert "Allowed: baseline, dropout." in str(caught.value)


def test_a_study_names_rivals_of_its_own_and_one_that_names_none_keeps_its_digest() -> None:
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text()) | {"claims": None}
    silent, made = plan(config), plan({**config, "rival": ["baseline", {"method": "dropout", "epoch": "best"}]})

    assert [(one.method, one.epoch) for one in made.study.rival] == [("baseline", None), ("dropout", "best")]
    assert made.study.claims is None
    assert [one.method for one in made.study.rivals_at("digits/none/resnet8")] == ["baseline", "dropout"]
    assert "rival" not in silent.study.model_dump(mode="json")
    assert StudyRecipe.model_validate_json(made.study.model_dump_json()) == made.study
    assert {recipe.digest for recipe in made.trainings.values()} == {r.digest for r in silent.trainings.values()}


@pytest.mark.parametrize(("reading", "refit"), [("best points", True), ("best points", False), ("last points", True)])
def test_after_a_refit_no_claim_is_declared_at_the_best_epoch(tmp_path: Path, reading: str, refit: bool) -> None:
    claims = yaml.safe_load((REPOSITORY / "config" / "claims.yaml").read_text())
    (analogue,) = [one["analogues"]["digits"] for name, one in claims["claims"].items() if name == "each_way_helps"]
    analogue["readings"] = [reading]
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(claims))
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    made = plan({**config, "claims": str(path), "refit": refit})

    if not (refit and reading == "best points"):
        assert made.study.claims is not None
        return
    with pytest.raises(CollabpipeError) as caught:
        _ = made.study
    assert f"{path}: claims.each_way_helps.readings" in str(caught.value)
    assert "Allowed: a first reading at the last epoch, or refit: false." in str(caught.value)


def test_a_renamed_method_asks_for_the_same_training() -> None:
    one = study_of({"kernel": {}}).runs["digits/none/resnet8/kernel/seed0"]
    other = study_of({"mine": {"kind": "kernel"}}).runs["digits/none/resnet8/mine/seed0"]
    inputs = {"labels": "a", "train.arrow": "b"}

    assert one.digest != other.digest, "the tables tell them apart"
    assert one.key(inputs) == other.key(inputs), "the store need not train twice"
    assert one.key(inputs) != one.key({**inputs, "labels": "c"})
    heavier = study_of({"kernel": {"weight": 3}}).runs["digits/none/resnet8/kernel/seed0"]
    assert heavier.key(inputs) != one.key(inputs)


def test_recipes_are_files_named_by_their_digest_and_never_rewritten(tmp_path: Path) -> None:
    recipe = next(iter(study_of({"baseline": {}}).runs.values()))
    path = recipe.write(tmp_path)
    before = path.stat()

    assert path == tmp_path / f"{recipe.digest}.json"
    assert read_recipe(path, TrainRecipe) == recipe
    assert recipe.write(tmp_path) == path
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda text: text.replace('"crop"', '"cropp"'), "crop"),
        (lambda text: text.replace('"kind": "train"', '"kind": "labels"'), "kind"),
        (lambda text: text[:100], "no valid JSON"),
        (lambda _: "[]", "holds no keys"),
    ],
    ids=["unknown key", "another kind", "cut short", "no mapping"],
)
def test_a_recipe_that_was_broken_is_refused_by_name(edit: Any, words: str, tmp_path: Path) -> None:
    recipe = next(iter(study_of({"baseline": {}}).runs.values()))
    path = recipe.write(tmp_path)
    path.write_text(edit(path.read_text()))

    with pytest.raises(CollabpipeError) as caught:
        read_recipe(path, TrainRecipe)

    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_recipe_of_another_kind_or_none_at_all_is_refused(tmp_path: Path) -> None:
    labels = next(iter(study_of({"baseline": {}}).labels.values()))

    with pytest.raises(CollabpipeError, match="is a recipe of kind 'labels'; this command takes kind 'data'"):
        read_recipe(labels.write(tmp_path), DataRecipe)
    with pytest.raises(CollabpipeError, match="is missing"):
        read_recipe(tmp_path / "none.json", LabelsRecipe)


def test_a_recipe_edited_below_its_digest_is_refused_and_written_anew(tmp_path: Path) -> None:
    recipe = next(iter(study_of({"baseline": {}}).runs.values()))
    path = recipe.write(tmp_path)
    path.write_text(path.read_text().replace('"learning_rate": 0.1', '"learning_rate": 0.2'))
    with pytest.raises(CollabpipeError, match="was edited"):
        read_recipe(path, TrainRecipe)
    # Under a name of its own it is a recipe like any other.
    assert read_recipe(path.rename(tmp_path / "mine.json"), TrainRecipe).training.learning_rate == 0.2
    assert read_recipe(recipe.write(tmp_path), TrainRecipe) == recipe


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"numerics": 4', '"numerics": 99', "numerics 99"),
        ('"method": "baseline"', '"method": "../escape"', "run.method"),
        ('"split": "classifier"', '"split": "stage9"', "stage9"),
    ],
)
def test_a_recipe_by_hand_is_held_to_what_a_configuration_is_held_to(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    text = next(iter(study_of({"baseline": {}}).runs.values())).write(tmp_path).read_text()
    assert old in text
    path = tmp_path / "mine.json"
    path.write_text(text.replace(old, new))
    with pytest.raises(CollabpipeError, match=words):
        read_recipe(path, TrainRecipe)


def test_the_plan_of_a_merged_configuration_is_that_of_its_files() -> None:
    file = REPOSITORY / "config" / "config.yaml"
    merged = yaml.safe_load(file.read_text())

    assert Plan.from_config(merged, [file]).study == Plan.from_files([file], Path("results")).study


def test_the_recipes_of_a_block_are_those_of_its_seeds(tmp_path: Path) -> None:
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    packed = plan({**config, "seeds": [0, 1, 2], "execution": {"seeds_per_job": 2}})
    made = Plan(packed.settings, tmp_path)

    files = Workflow(made).recipes("train/digits/none/resnet8/kernel/block0")

    expected = [made.runs[f"digits/none/resnet8/kernel/seed{seed}"].digest for seed in (0, 1)]
    assert files == [tmp_path / "recipes" / f"{digest}.json" for digest in expected]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"seeds": [-1]}, "option --config: seeds.0: "),
        ({"noise": ["symmetric-1.5"]}, "option --config: noise.0: "),
        ({"training": {"epochs": -1}}, "option --config: training.epochs: "),
    ],
)
def test_the_fault_of_an_option_is_told_of_the_option_and_not_of_the_file(
    option: dict[str, Any], told: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(SMALL))

    with pytest.raises(CollabpipeError, match=f"^{re.escape(told)}"):
        Plan.from_config(SMALL | option, [file], option)


STL10 = {"validation_size": 100, "data_dir": "~nobody-here/stl10"}


def test_the_home_of_a_user_that_nobody_knows_is_a_missing_folder(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(altered({"datasets": {"digits": None, "stl10": STL10}})))

    folder = Plan.from_files([file], Path("results")).data_dir("stl10")

    assert folder is not None
    assert folder.name == "stl10"
    assert not folder.exists()
