"""Configurations that are taken: files that are merged, short forms, searches and combinations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from collabpipe.common.errors import CollabpipeError
from collabpipe.methods.composition import Branches, Passes
from collabpipe.methods.output import AgreementTerm
from collabpipe.methods.resolve import compose
from collabpipe.settings.data import parse_noise
from collabpipe.settings.study import Settings, check_settings, load_settings
from tests.settings.good import GOOD, changed
from tests.workspaces import REPOSITORY, altered


def test_the_configuration_that_the_mistakes_start_from_is_good(tmp_path: Path) -> None:
    found = load_settings([changed(tmp_path / "good.yaml", "small", "small")])

    assert list(found.methods) == ["baseline", "output", "output_control"]
    assert found.noise["symmetric-0.5"].rate == 0.5
    assert found.seeds == (0, 1)


def test_a_later_file_overrides_an_earlier_one_key_by_key(tmp_path: Path) -> None:
    first = changed(tmp_path / "first.yaml", "small", "small")
    second = tmp_path / "second.yaml"
    second.write_text("seeds: [7]\nmethods:\n  output: {weight: 3}\n  kernel: {}\ntraining: {batch_size: 32}\n")

    found = load_settings([first, second])

    assert found.seeds == (7,), "a list is replaced as a whole"
    assert list(found.methods) == ["baseline", "output", "output_control", "kernel"]
    output = compose(found.methods, "output", found.stages_of("digits", "resnet8"))
    assert output.passes == Passes(heads=2, split="stage2", drop=0.5, channel_drop=0.1), "heads and split stay"
    assert isinstance(output.terms[0], AgreementTerm)
    assert output.terms[0].weight == 3.0
    assert (found.training.epochs, found.training.batch_size) == (2, 32)
    assert load_settings([second, first]).seeds == (0, 1), "the order of the files decides"


def test_an_error_names_the_file_that_holds_the_value(tmp_path: Path) -> None:
    first = changed(tmp_path / "first.yaml", "validation_size: 50", "validation_size: 0")
    second = tmp_path / "second.yaml"
    second.write_text("# shorter\ntraining:\n  epochs: many\n")

    with pytest.raises(CollabpipeError) as caught:
        load_settings([first, second])

    told = str(caught.value).splitlines()
    assert sorted(told) == sorted(
        [
            f"{first}:4: datasets.digits.validation_size: value 0 is not allowed: "
            "input should be greater than or equal to 1.",
            f"{second}:3: training.epochs: value 'many' is not allowed: "
            "input should be a valid integer, unable to parse string as an integer.",
        ]
    )


def test_numbers_that_yaml_takes_for_words_are_numbers(tmp_path: Path) -> None:
    # YAML 1.1 wants a point before the e; nobody knows that.
    file = changed(tmp_path / "study.yaml", "epochs: 2", "epochs: 2\n  learning_rate: 1e-2")

    assert isinstance(yaml.safe_load(file.read_text())["training"]["learning_rate"], str)
    assert load_settings([file]).training.learning_rate == 0.01


def load(tmp_path: Path, old: str, new: str) -> Settings:
    return load_settings([changed(tmp_path / "study.yaml", old, new)])


@pytest.mark.parametrize("key", ["on", "'on'", "true", "yes"])
def test_the_word_on_is_a_key_although_yaml_reads_it_as_true(key: str, tmp_path: Path) -> None:
    searched = f"drop: [0.1, 0.5], select: {{{key}: validation, seeds: [7]}}"

    found = load(tmp_path, "split: stage2", searched).searches["output"].select

    assert (found.on, found.seeds) == ("validation", (7,))


def test_noise_and_training_of_a_data_set_stand_in_place_of_the_studys(tmp_path: Path) -> None:
    own = "validation_size: 50\n    noise: [pair-0.4]\n    training: {epochs: 7, schedule: steps}"
    found = load(
        tmp_path, "validation_size: 50", f"{own}\n  other: {{source: digits, validation_size: 9, training: {{}}}}"
    )

    assert list(found.noise_of("digits")) == ["pair-0.4"]
    assert list(found.noise_of("other")) == ["none", "symmetric-0.5"]
    assert found.training_of("other") == found.training
    assert found.training_of("digits") == found.training.model_copy(update={"epochs": 7, "schedule": "steps"})


def test_kinds_of_noise_that_only_some_data_sets_can_have_stand_at_those(tmp_path: Path) -> None:
    others = """\
  cifar10: {validation_size: 50, human_labels: true, noise: [asymmetric-0.4, human-worst, human-aggre]}
  cifar100: {validation_size: 50, human_labels: true, noise: [superclass-0.2, superclass_legacy-0.2, human-fine]}
"""
    found = load(tmp_path, "    validation_size: 50\n", "    validation_size: 50\n" + others)

    assert [noise.annotator for noise in found.noise_of("cifar10").values()] == [None, "worst", "aggre"]
    assert [noise.kind for noise in found.noise_of("cifar100").values()] == ["superclass", "superclass_legacy", "human"]


def test_an_image_folder_is_described_by_its_folder_size_and_quality(tmp_path: Path) -> None:
    faces = "  faces: {source: image_folder, data_dir: frames, image_size: 64, quality: c23, validation_size: 50}"
    found = load(tmp_path, "  digits:\n    validation_size: 50", faces).datasets["faces"]

    assert (found.data_dir, found.image_size, found.quality) == (str(tmp_path / "frames"), 64, "c23")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("[c23]", "c23"),
        ("[c23, c40]", {"train": ("c23", "c40"), "test": ("c23", "c40")}),
        ("{train: c23, test: [c23, c40]}", {"train": ("c23",), "test": ("c23", "c40")}),
        ("{train: a, val: b, test: c}", {"train": ("a",), "val": ("b",), "test": ("c",)}),
    ],
)
def test_a_quality_is_a_level_a_list_or_one_of_these_per_split(given: str, found: object, tmp_path: Path) -> None:
    faces = f"  faces: {{source: image_folder, data_dir: frames, image_size: 64, quality: {given}}}"

    settings = load(tmp_path, "  digits:\n    validation_size: 50", faces).datasets["faces"]

    assert settings.quality == found
    assert settings.validation_size is None, "the folder may have a validation set of its own"


def test_a_control_may_search_as_much_as_its_method_does(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        "split: stage2}\n  output_control: {control_of: output}",
        "drop: [0.1, 0.5], select: {seeds: [7]}}\n"
        "  output_control: {control_of: output, channel_drop: [0.0, 0.1], select: {seeds: [7]}}",
    )

    assert list(found.searches) == ["output", "output_control"]


def test_a_carried_noise_need_not_be_on_every_data_set_but_on_one() -> None:
    searched = {"output": {"weight": [0.1, 1.0], "select": {"seeds": [7], "carry": {"pair-0.4": "none"}}}}
    further = {"few": {"source": "digits", "validation_size": 50, "noise": ["none", "pair-0.4"]}}
    config = altered({"noise": ["none"], "methods": searched | {"output_control": None}, "datasets": further})

    assert check_settings(config, {}).searches["output"].select.carry == {"pair-0.4": "none"}
    del config["datasets"]["few"]
    with pytest.raises(CollabpipeError, match=r"carry: noise 'pair-0\.4' is not allowed"):
        check_settings(config, {})


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ({"output": {"weight": [1.0, 1.0], "select": {"seeds": [7]}}}, r"output\.weight: .*each value once"),
        ({"output": {"wieght": [1.0, 2.0], "select": {"seeds": [7]}}}, r"output\.wieght: unknown key.*'weight'"),
        ({"output": {}, "o": {"control_of": "output", "drop": [0.1, 0.5], "select": {"seeds": [7]}}}, "no search"),
        ({"o" * 81: {"kind": "baseline"}}, "at most 80 letters"),
        # With the second candidate of output the heads of both are equal before the classifier.
        (
            {
                "output": {"split": "stage2", "channel_drop": [0.1, 0.0], "select": {"seeds": [7]}},
                "intermediate": {"variant": "virtual"},
                "combined": {"of": "output+intermediate"},
            },
            r"combined\.channel_drop: .*equal",
        ),
    ],
    ids=[
        "a value twice",
        "a misspelt list",
        "a search for the control alone",
        "a long name",
        "what cannot be combined",
    ],
)
def test_searches_that_cannot_be_meant_are_refused(methods: dict[str, Any], says: str) -> None:
    config = altered({}) | {"methods": methods}

    with pytest.raises(CollabpipeError, match=says):
        check_settings(config, {})


@given(digits=st.text("0123456789", min_size=1, max_size=6))
def test_every_rate_in_the_unit_interval_is_read(digits: str) -> None:
    found = parse_noise(f"symmetric-0.{digits}")

    assert (found.kind, found.rate) == ("symmetric", float(f"0.{digits}"))


def composed(methods: dict[str, Any], name: str) -> Any:
    """The composition of a method in a study that holds `methods`, on resnet8."""
    found = check_settings(yaml.safe_load(GOOD) | {"methods": methods}, {})
    return compose(found.methods, name, found.stages_of("digits", "resnet8"))


@pytest.mark.parametrize("of", ["gce+kernel", "kernel+gce", "label_smoothing+kernel", "mixup+kernel"])
def test_a_combination_drops_no_members_loss_of_the_label(of: str) -> None:
    """It may be refused, but not trained as cross-entropy under the other's name."""
    members: dict[str, Any] = {name: {} for name in of.split("+")}
    try:
        found = composed({**members, "combined": {"of": of}}, "combined")
    except CollabpipeError:
        return

    label = next(name for name in members if name != "kernel")
    assert found.label == composed(members, label).label


@pytest.mark.parametrize("of", ["dropout+output", "temporal+output"])
def test_a_combination_with_virtual_heads_runs_them_whatever_the_order(of: str) -> None:
    """Agreement between one head and itself is nothing: refused, or run with the heads that it needs."""
    members: dict[str, Any] = {name: {} for name in of.split("+")}
    try:
        found = composed({**members, "combined": {"of": of}}, "combined")
    except CollabpipeError:
        return

    assert found.passes.heads == 2


@pytest.mark.parametrize("of", ["multi_head+kernel", "multi_head+output", "output+multi_head"])
def test_a_combination_with_song_and_chais_heads_has_them_whatever_the_order(of: str) -> None:
    """Their loss and its scale without their heads would be another method under their name."""
    members: dict[str, Any] = {name: {} for name in of.split("+")}
    try:
        found = composed({**members, "combined": {"of": of}}, "combined")
    except CollabpipeError:
        return

    assert isinstance(found.passes, Branches)


def test_a_combination_splits_where_its_earliest_member_does() -> None:
    methods = {
        "output": {"split": "classifier"},
        "intermediate": {"variant": "virtual", "split": "stage2"},
        "kernel": {},
    }
    for of in ("output+intermediate+kernel", "kernel+intermediate+output"):
        found = composed({**methods, "combined": {"of": of}}, "combined")
        assert found.passes == Passes(heads=2, split="stage2", drop=0.5, channel_drop=0.1)
        assert [term.term for term in found.terms] == of.replace("output", "agreement").split("+")


def test_the_order_in_which_splits_are_named_does_not_matter() -> None:
    one = composed({"multi_head": {"heads": 4, "splits": ["stage2", "stage3"]}}, "multi_head")
    other = composed({"multi_head": {"heads": 4, "splits": ["stage3", "stage2"]}}, "multi_head")

    assert isinstance(one.passes, Branches)
    assert one == other


def test_the_default_study_of_the_repository_is_good() -> None:
    found = load_settings([REPOSITORY / "config" / "config.yaml"])

    assert re.fullmatch(r"[a-z_]+", found.study)
    assert {"baseline", "output", "intermediate", "representation", "kernel", "combined"} <= set(found.methods)
