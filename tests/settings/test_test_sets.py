"""Further test sets in a configuration: what is taken, and what is refused before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from collabpipe.catalogue.corruptions import CORRUPTIONS
from collabpipe.common.errors import CollabpipeError
from collabpipe.plan.plan import Plan
from collabpipe.settings.study import check_settings
from tests.workspaces import SMALL, altered

NPZ = {"source": "npz", "data_dir": "x.npz", "image_size": 8}
EIGHT = [name for name, one in CORRUPTIONS.items() if one.least <= 8]


def plan(tmp_path: Path, **changes: Any) -> Plan:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(altered(changes), sort_keys=False))
    return Plan.from_files([file], tmp_path / "results")


def with_test_on(*names: str, **more: Any) -> dict[str, Any]:
    return {"datasets": {"digits": {"test_on": list(names)}}, **more}


def test_a_study_without_them_asks_for_what_it_asked_before(tmp_path: Path) -> None:
    plain, with_unused = plan(tmp_path), plan(tmp_path, test_sets={"other": NPZ}, corruptions={"seed": 3})
    assert plain.study.digest == with_unused.study.digest
    assert plain.tests == {}
    assert "tests" not in plain.study.model_dump(mode="json")
    assert list(with_unused.data) == ["digits"], "what no data set names is not prepared"


def test_each_run_is_tested_on_what_its_data_set_names(tmp_path: Path) -> None:
    changes = with_test_on("corruptions", "other", test_sets={"other": NPZ}, corruptions={"kinds": EIGHT})
    made = plan(tmp_path, **changes)
    assert len(made.tests) == 2 * len(made.runs)
    recipe = made.tests["digits/symmetric-0.5/resnet8/output/seed1 on corruptions"]
    assert recipe.trained == made.runs["digits/symmetric-0.5/resnet8/output/seed1"]
    assert recipe.corruptions is not None
    assert recipe.corruptions.severities == (1, 2, 3, 4, 5)
    assert recipe.data == made.data["digits"]
    assert made.data["other"].test_only
    assert made.data_dir("other") == tmp_path / "x.npz", "relative to the file that names it"
    without = plan(tmp_path)
    assert {name: one.digest for name, one in made.runs.items()} == {n: one.digest for n, one in without.runs.items()}
    assert made.study.digest != without.study.digest


def test_a_data_set_can_be_tested_on_another_one_of_its_classes(tmp_path: Path) -> None:
    other = {"source": "digits", "validation_size": 100}
    made = plan(tmp_path, datasets={"digits": {"test_on": ["more"]}, "more": other})
    assert {recipe.name for recipe in made.tests.values()} == {"more"}
    assert not made.data["more"].test_only
    assert len(made.tests) == len(made.runs) / 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (with_test_on("corruption"), r"digits\.test_on\.0: test set 'corruption' is not allowed. Allowed: corruptions"),
        (with_test_on("digits"), r"test_on\.0: test set 'digits' is not allowed"),
        (with_test_on("other", "other", test_sets={"other": NPZ}), r"test_on\.1: test set 'other' .* each once"),
        (
            with_test_on("corruptions"),
            r"8 pixels a side no motion_blur \(from 16\), .*name others, as in corruptions: \{",
        ),
        (
            with_test_on("other", test_sets={"other": NPZ | {"image_size": 16}}),
            "images of 8 pixels a side, and other has 16: set its image_size",
        ),
        (
            with_test_on("f", test_sets={"f": {"source": "fashion_mnist", "image_size": 8}}),
            "a test set of the same classes: digits has 0, 1, 2, .* f has T-shirt/top, Trouser",
        ),
        ({"test_sets": {"digits": NPZ}}, r"test_sets\.digits: name 'digits' .* the name of a data set"),
        ({"test_sets": {"corruptions": NPZ}}, "the name of the generated test set"),
        ({"test_sets": {"other": {"source": "npz"}}}, r"test_sets\.other\.data_dir: value 'None' is not allowed"),
        ({"test_sets": {"other": NPZ | {"train_size": 9}}}, r"test_sets\.other\.train_size: unknown key"),
        ({"corruptions": {"kinds": ["mist"]}}, r"corruptions\.kinds\.0: value 'mist' is not allowed"),
        ({"corruptions": {"kinds": ["fog", "fog"]}}, r"corruptions\.kinds\.1: value 'fog' .* each once"),
        ({"corruptions": {"severities": [6]}}, r"corruptions\.severities\.0: value 6 is not allowed"),
        ({"corruptions": {"severities": []}}, r"corruptions\.severities"),
        (
            with_test_on("other", test_sets={"other": NPZ}, execution={"keep_weights": "half"}),
            r"execution\.keep_weights: value 'half' is not allowed. Allowed: all: further test sets",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError, match=says):
        plan(tmp_path, **changes)


CLAIM = """\
claims:
  robust:
    {{source: abstract, says: It is robust., metric: {metric}, methods: [output], against: [baseline],
      test_set: {test_set}, readings: [{reading}], places: [digits/symmetric-0.5/resnet8]}}
"""


def test_a_claim_names_a_test_set_of_its_data_set(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(CLAIM.format(metric="accuracy", test_set="other", reading="last points"))
    changes = {"claims": "claims.yaml", **with_test_on("other", test_sets={"other": NPZ})}
    claims = plan(tmp_path, **changes).study.claims
    assert claims is not None
    assert claims.claims[0].test_set == "other"
    assert plan(tmp_path, claims="claims.yaml").study.claims == claims, "a study without test sets may share its claims"

    (tmp_path / "claims.yaml").write_text(CLAIM.format(metric="accuracy", test_set="othr", reading="last points"))
    with pytest.raises(
        CollabpipeError, match=r"claims\.robust\.test_set: 'othr' is not allowed .* Did you mean 'other'"
    ):
        _ = plan(tmp_path, **changes).study
    (tmp_path / "claims.yaml").write_text(CLAIM.format(metric="overhead", test_set="other", reading="peak_bytes"))
    with pytest.raises(CollabpipeError, match="no test set: overhead is not measured on one"):
        _ = plan(tmp_path, **changes).study


def test_the_defaults_are_all_fifteen_at_all_severities() -> None:
    settings = check_settings(SMALL, {})
    assert settings.corruptions.kinds == tuple(CORRUPTIONS)
    assert settings.corruptions.severities == (1, 2, 3, 4, 5)
