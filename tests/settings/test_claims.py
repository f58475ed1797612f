"""The claims' file: the messages for a wrong one, and that the shipped one holds what the abstract claims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from collabpipe.common.errors import CollabpipeError
from collabpipe.settings.claims import FAMILY_LIMIT, ORIGINAL, Claim, Claims, load_claims
from tests.workspaces import REPOSITORY, altered

SHIPPED = REPOSITORY / "config" / "claims.yaml"
CLAIM: dict[str, Any] = {
    "source": "abstract, sentence 9",
    "says": "It errs less.",
    "metric": "error",
    "methods": ["combined"],
    "against": ["baseline"],
    "expected": 9.28,
    "readings": ["last points", "last relative"],
    "places": ["stl10/none/resnet18"],
}
OVERHEAD = {"metric": "overhead", "expected": None, "readings": ["saved_bytes"]}


def load(folder: Path, claims: Any) -> Claims:
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": claims}, sort_keys=False), encoding="utf-8")
    return load_claims(path)


def message(folder: Path, changes: dict[str, Any]) -> str:
    with pytest.raises(CollabpipeError) as caught:
        load(folder, {"stl10": altered(changes, CLAIM)})
    return str(caught.value)


# --- what a file says -------------------------------------------------------------------------------------------------


def test_a_claim_is_read_with_its_name_and_its_pairs(tmp_path: Path) -> None:
    found = load(tmp_path, {"stl10": {**CLAIM, "methods": ["a", "b"], "against": ["c", "d"]}}).claims[0]

    assert found.name == "stl10"
    assert found.members == (("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"))
    assert found.control is None
    assert found.expects == "9.28"


def test_what_is_expected_and_how_it_is_read_in_words(tmp_path: Path) -> None:
    helps, costs = load(
        tmp_path, {"helps": altered({"expected": None}, CLAIM), "costs": altered(OVERHEAD, CLAIM)}
    ).claims

    assert (helps.expects, costs.expects) == ("> 0", "< 1")
    assert helps.in_words("last points") == "points of error, last epoch"
    assert helps.in_words("best relative") == "percent of the other's error, best-on-validation epoch"
    assert costs.in_words("saved_bytes") == "ratio of bytes saved for the backward pass"


def test_claims_survive_a_recipes_json_in_their_order() -> None:
    claims = load_claims(SHIPPED)
    # A recipe's keys are sorted when it is written.
    text = json.dumps(claims.model_dump(mode="json"), sort_keys=True)

    assert Claims.model_validate_json(text) == claims
    assert list(Claims.model_validate_json(text).families) == list(claims.families)


def test_analogues_are_claims_at_other_places_in_families_of_their_own(tmp_path: Path) -> None:
    analogues = {"digits": {"places": ["digits/none/resnet8"], "readings": ["last relative"]}}
    claims = load(tmp_path, {"a": {**CLAIM, "analogues": analogues}, "b": CLAIM})

    assert {family: [claim.name for claim in stated] for family, stated in claims.families.items()} == {
        ORIGINAL: ["a", "b"],
        "digits": ["a"],
    }
    moved = claims.families["digits"][0]
    assert (moved.places, moved.readings) == (("digits/none/resnet8",), ("last relative",))
    assert (moved.expected, moved.says) == (9.28, "It errs less.")


def test_an_analogue_without_readings_has_the_claims_own(tmp_path: Path) -> None:
    claims = load(tmp_path, {"a": {**CLAIM, "analogues": {"digits": {"places": ["digits/none/resnet8"]}}}})

    assert claims.families["digits"][0].readings == ("last points", "last relative")


def test_margins_and_rivals_are_inherited_and_overridden(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    places = {"places": ["digits/none/resnet8"]}
    analogues = {"digits": {**places, "margin": 2.0, "rival": "b"}, "fashion": places}
    claim = {**CLAIM, "margin": 0.5, "analogues": analogues}
    silent = {**CLAIM, "places": ["cifar10/none/resnet18"], "rival": []}
    text = {"diverged": 0, "rival": [{"method": "a", "epoch": "best"}, "c"], "claims": {"x": claim, "y": silent}}
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    claims = load_claims(path)

    own = claims.families[ORIGINAL][0]
    assert (own.margin, [(one.method, one.epoch) for one in own.rival or ()]) == (0.5, [("a", "best"), ("c", None)])
    assert [one.at("last") for one in own.rival or ()] == [("a", "best"), ("c", "last")]
    (digits,), (fashion,) = claims.families["digits"], claims.families["fashion"]
    assert (digits.margin, [one.method for one in digits.rival or ()]) == (2.0, ["b"])
    assert (fashion.margin, fashion.rival) == (0.5, own.rival)
    assert claims.families[ORIGINAL][1].rival == ()
    assert claims.rivals == {"a", "b", "c"}
    assert claims.diverged == 0
    assert [one.method for one in claims.rivals_at("stl10/none/resnet18")] == ["a", "c"]
    assert Claims.model_validate_json(claims.model_dump_json()) == claims


def test_a_file_that_declares_nothing_has_chance_and_no_rival(tmp_path: Path) -> None:
    claims = load(tmp_path, {"a": CLAIM})

    assert (claims.diverged, claims.rivals, claims.families[ORIGINAL][0].margin) == ("chance", frozenset(), None)


@pytest.mark.parametrize(
    ("top", "told"),
    [
        ({"diverged": "chanse"}, r"claims\.yaml:\d+: diverged: value 'chanse' .*Did you mean 'chance'"),
        ({"diverged": 101}, r"diverged: value '101' is not allowed.*from 0 to 100"),
        ({"rival": {"method": "a", "epoch": "first"}}, r"rival\.0\.epoch: value 'first'.*last, best"),
        ({"rival": ["a", {"name": "b"}]}, r"rival\.1"),
        ({"rival": ["a", "a"]}, r"rival\.1: .*each once"),
        ({"rival": 3}, r"rival\.0: "),
    ],
    ids=str,
)
def test_what_is_wrong_beside_the_claims_is_told_with_its_place(tmp_path: Path, top: dict[str, Any], told: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({**top, "claims": {"a": CLAIM}}), encoding="utf-8")

    with pytest.raises(CollabpipeError, match=told):
        load_claims(path)


# --- what a person is told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "key", "told"),
    [
        ({"metric": "errors"}, "claims.stl10.metric", "Did you mean 'error'?"),
        ({"reading": ["last points"]}, "claims.stl10.reading", "Did you mean 'readings'?"),
        ({"readings": ["last point"]}, "claims.stl10.readings.0", "Did you mean 'last points'?"),
        ({"readings": ["last points", "saved_bytes"]}, "claims.stl10.readings.1", "Allowed: last points"),
        ({"readings": ["last points"] * 2}, "claims.stl10.readings.1", "each once"),
        ({"readings": []}, "claims.stl10.readings", "at least 1 item"),
        ({"places": ["stl10/resnet18"]}, "claims.stl10.places.0", "DATASET/NOISE/NETWORK"),
        ({"expected": -1.0}, "claims.stl10.expected", "greater than 0"),
        ({"methods": ["baseline"]}, "claims.stl10.methods.0", "not in 'against'"),
        ({"source": None}, "claims.stl10.source", "missing"),
        ({**OVERHEAD, "expected": 0.5}, "claims.stl10.expected", "no number"),
        ({**OVERHEAD, "readings": ["last points"]}, "claims.stl10.readings.0", "reading of overhead"),
        ({"analogues": {"digits": {"place": []}}}, "claims.stl10.analogues.digits", "missing"),
        (
            {"analogues": {"digits": {"places": ["a/b/c"], "readings": ["saved_bytes"]}}},
            "claims.stl10.analogues.digits.readings.0",
            "reading of error",
        ),
        ({"margin": 9.28}, "claims.stl10.margin", "less than the claimed 9.28"),
        ({"margin": 0}, "claims.stl10.margin", "greater than 0"),
        ({**OVERHEAD, "margin": 0.5}, "claims.stl10.margin", "no margin"),
        ({"rival": {"method": "a", "epochs": "last"}}, "claims.stl10.rival.0.epochs", "Did you mean 'epoch'?"),
        ({"analogues": {"digits": 3}}, "claims.stl10.analogues.digits", "keys such as"),
    ],
    ids=str,
)
def test_a_wrong_value_is_told_with_its_place_and_what_is_allowed(
    tmp_path: Path, changes: dict[str, Any], key: str, told: str
) -> None:
    found = message(tmp_path, changes)

    assert f": {key}" in found
    assert told in found


def test_the_line_is_that_of_the_wrong_value(tmp_path: Path) -> None:
    found = message(tmp_path, {"readings": ["last points", "last relativ"]})
    path = tmp_path / "claims.yaml"
    line = path.read_text(encoding="utf-8").splitlines().index("    - last relativ") + 1

    assert found.startswith(f"{path}:{line}: ")


def test_more_claims_than_can_be_corrected_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match=r"number of claims '7' is not allowed.*at most 6"):
        load(tmp_path, {f"claim{number}": CLAIM for number in range(FAMILY_LIMIT + 1)})


@pytest.mark.parametrize("claims", [{}, [], None, "stl10"], ids=str)
def test_no_claims_are_no_file_of_claims(tmp_path: Path, claims: Any) -> None:
    with pytest.raises(CollabpipeError, match=r"claims\.yaml:1: claims: "):
        load(tmp_path, claims)


@pytest.mark.parametrize("text", ["", "[]", "claims: {a: 1, a: 2}", "claims: ["], ids=str)
def test_a_file_that_is_no_mapping_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(CollabpipeError, match=r"claims\.yaml"):
        load_claims(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match=r"none\.yaml"):
        load_claims(tmp_path / "none.yaml")


# --- the shipped file -------------------------------------------------------------------------------------------------

SINGLE = ("output", "intermediate", "representation", "kernel")


@pytest.fixture(scope="module")
def shipped() -> dict[str, Claim]:
    return {claim.name: claim for claim in load_claims(SHIPPED).claims}


def test_every_claim_of_the_abstract_is_there(shipped: dict[str, Claim]) -> None:
    facts = {
        name: (claim.metric, claim.methods, claim.against, claim.expected, claim.places[0])
        for name, claim in shipped.items()
    }
    assert facts == {
        "each_way_helps": ("accuracy", SINGLE, ("baseline",), None, "cifar10/none/resnet18"),
        "combining_helps_more": ("accuracy", ("combined",), SINGLE, None, "cifar10/none/resnet18"),
        "stl10_resnet18": ("error", ("combined",), ("baseline",), 9.28, "stl10/none/resnet18"),
        "stl10_vgg16": ("error", ("combined",), ("baseline",), 5.45, "stl10/none/vgg16"),
        "cifar10_noisy_labels": ("accuracy", ("combined",), ("baseline",), 3.53, "cifar10/symmetric-0.5/resnet18"),
        "less_overhead": ("overhead", ("combined",), ("multi_head",), None, "cifar10/none/resnet18"),
    }


def test_claims_without_a_number_have_a_margin_and_all_name_their_rivals(shipped: dict[str, Claim]) -> None:
    for name, claim in shipped.items():
        assert (claim.margin is not None) == (claim.expected is None and claim.metric != "overhead"), name
    for stated in load_claims(SHIPPED).families.values():
        assert all({one.method for one in claim.rival or ()} >= {"dropout", "baseline"} for claim in stated)


def test_both_readings_of_every_number_are_judged(shipped: dict[str, Claim]) -> None:
    for name in ("stl10_resnet18", "stl10_vgg16", "cifar10_noisy_labels"):
        assert {"last points", "last relative"} <= set(shipped[name].readings)
        assert shipped[name].readings[0].startswith("last"), "the last epoch is the headline"
    noisy = shipped["cifar10_noisy_labels"]
    assert {"best points", "best relative"} <= set(noisy.readings)
    assert {place.split("/")[1] for place in noisy.places} == {"symmetric-0.5", "symmetric_inclusive-0.5"}
    assert set(shipped["less_overhead"].readings) == {"saved_bytes", "params_train", "peak_bytes", "step_seconds"}


def test_a_claim_on_several_data_sets_names_them_all(shipped: dict[str, Claim]) -> None:
    for name in ("each_way_helps", "combining_helps_more"):
        places = {place.split("/")[0] for place in shipped[name].places}
        assert places == {"cifar10", "cifar100", "stl10", "imagenet32"}


def test_every_family_is_small_and_every_claim_says_where_it_stands(shipped: dict[str, Claim]) -> None:
    families = load_claims(SHIPPED).families

    assert list(families) == [ORIGINAL, "digits", "fashion_mnist"]
    assert all(len(stated) <= FAMILY_LIMIT for stated in families.values())
    assert all(claim.source.startswith("abstract, sentence ") and claim.says for claim in shipped.values())


@pytest.mark.parametrize(
    ("family", "study"), [(ORIGINAL, "paper.yaml"), ("digits", "config.yaml"), ("fashion_mnist", "fashion.yaml")]
)
def test_claims_name_what_their_study_runs(family: str, study: str) -> None:
    config = yaml.safe_load((REPOSITORY / "config" / study).read_text(encoding="utf-8"))
    for claim in load_claims(SHIPPED).families[family]:
        assert {*claim.methods, *claim.against} <= set(config["methods"])
        for place in claim.places:
            dataset, noise, network = place.split("/")
            assert dataset in config["datasets"]
            assert noise in config["datasets"][dataset].get("noise", config["noise"])
            assert network in config["networks"]


def test_the_file_says_when_it_was_written_and_what_a_change_does() -> None:
    text = SHIPPED.read_text(encoding="utf-8")

    assert "WRITTEN BEFORE THE TEST SET IS READ" in text
    assert "digest" in text
