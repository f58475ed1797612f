"""The JSON schema that editors use: in step with the settings, and of one mind with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from collabpipe.common.errors import CollabpipeError
from collabpipe.methods.registry import KINDS
from collabpipe.settings.schema import settings_schema
from collabpipe.settings.study import check_settings
from tests.workspaces import REPOSITORY, SMALL

SCHEMA = Draft202012Validator(settings_schema())
CONFIGS = sorted(path.name for path in (REPOSITORY / "config").glob("*.yaml") if "study:" in path.read_text())


def complaints(config: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in SCHEMA.iter_errors(config)]


def changed(**keys: Any) -> dict[str, Any]:
    return {**SMALL, **keys}


def test_the_schema_in_the_repository_is_that_of_the_settings() -> None:
    # Written by `make reference`; a golden that rewrote itself would notice nothing.
    written = json.loads((REPOSITORY / "config" / "schema.json").read_text(encoding="utf-8"))

    assert written == settings_schema()


def test_the_command_prints_and_writes_the_same_schema(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "collabpipe"), "schema"]

    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    subprocess.run([*command, "--out", str(tmp_path / "schema.json")], check=True)

    assert json.loads(printed.stdout) == json.loads((tmp_path / "schema.json").read_text()) == settings_schema()


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(settings_schema())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_configurations_of_the_repository_validate(name: str) -> None:
    config = yaml.safe_load((REPOSITORY / "config" / name).read_text())

    assert complaints(config) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_method_validates_by_its_name_alone(kind: str) -> None:
    assert complaints(changed(methods={kind: {}})) == []


WRONG: dict[str, dict[str, Any]] = {
    "unknown key": changed(trainig={}),
    "unknown key in training": changed(training={"epochs": 1, "epoch": 2}),
    "unknown key in a data set": changed(datasets={"digits": {"validation_size": 5, "size": 3}}),
    "unknown key in a network": changed(networks={"resnet8": {"depth": 3}}),
    "unknown key in a method": changed(methods={"output": {"wieght": 1}}),
    "unknown kind": changed(methods={"output": {"kind": "outpt"}}),
    "unknown noise": changed(noise=["symetric-0.5"]),
    "rate without its zero": changed(noise=["symmetric-.5"]),
    "rate in another notation": changed(noise=["symmetric-5e-1"]),
    "rate of one": changed(noise=["symmetric-1.0"]),
    "rate that is no number": changed(noise=["symmetric-x"]),
    "no rate": changed(noise=["symmetric"]),
    "negative rate": changed(noise=["symmetric--0.1"]),
    "missing key": {key: value for key, value in SMALL.items() if key != "seeds"},
    "wrong type": changed(training={"epochs": "many"}),
    "no seeds": changed(seeds=[]),
    "unknown key in a candidate": changed(
        methods={"kernel": {"candidates": [{"wieght": 1}], "select": {"seeds": [9]}}}
    ),
    "no candidates": changed(methods={"kernel": {"candidates": [], "select": {"seeds": [9]}}}),
    "a number to combine": changed(methods={"combined": {"of": 3}}),
}


@pytest.mark.parametrize("name", WRONG)
def test_schema_and_settings_refuse_the_same_mistakes(name: str) -> None:
    assert complaints(WRONG[name])
    with pytest.raises(CollabpipeError):
        check_settings(WRONG[name], {})


RIGHT: dict[str, dict[str, Any]] = {
    "small": SMALL,
    "rates as people write them": changed(noise=["none", "symmetric-0", "pair-0.45", "symmetric_inclusive-0.50"]),
    "a list to combine": changed(methods={"baseline": {}, "output": {}, "combined": {"of": ["baseline", "output"]}}),
    "a sum to combine": changed(methods={"baseline": {}, "output": {}, "combined": {"of": "baseline+output"}}),
    "a network by its kind": changed(networks={"narrow": {"kind": "resnet8"}}),
    "a data set by its source": changed(datasets={"few": {"source": "digits", "validation_size": 3}}),
    "candidates by name": changed(
        methods={"one_pass": {"candidates": [{"drop": 0.5}, {"smoothing": 0.2}], "select": {"seeds": [9]}}}
    ),
    "a learning rate of its own": changed(
        methods={"baseline": {"learning_rate": [0.1, 0.2], "select": {"seeds": [9]}}}
    ),
    "a common factor": changed(methods={"output": {}, "kernel": {}, "combined": {"of": "output+kernel", "factor": 2}}),
    "all of training": changed(
        training={"epochs": 2, "schedule": "steps", "milestones": [0.5], "precision": "bfloat16", "nesterov": False}
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_schema_and_settings_take_the_same_studies(name: str) -> None:
    assert check_settings(RIGHT[name], {})
    assert complaints(RIGHT[name]) == []


def test_with_plugins_the_schema_takes_names_that_only_they_know_and_still_checks_the_rest() -> None:
    own = changed(plugins=["mine.py"], networks={"plain": {}}, methods={"mine": {"share": 3}}, noise=["dark-0.5"])

    assert complaints(own) == []
    assert complaints(own | {"training": {"epoch": 3}})
    assert complaints({key: value for key, value in own.items() if key != "plugins"})
