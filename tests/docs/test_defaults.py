"""The defaults of the methods are what the evidence study chose on validation labels."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from collabpipe.catalogue.stages import Stages
from collabpipe.methods.composition import Composition
from collabpipe.methods.registry import KINDS
from collabpipe.methods.resolve import compose, read_methods
from collabpipe.methods.search import Searched
from collabpipe.settings.study import load_settings
from tests.workspaces import REPOSITORY

SCRIPT = runpy.run_path(str(REPOSITORY / "docs" / "results" / "defaults.py"))
DEFAULTS: dict[str, dict[str, Any]] = SCRIPT["defaults"]()
WEIGHTS: dict[tuple[str, str], float] = SCRIPT["weights"]()
EVIDENCE = load_settings([REPOSITORY / "config" / "evidence.yaml"])
STAGES: Stages = EVIDENCE.networks["resnet18"].stages_of(14, EVIDENCE.training.batch_size)


def composed(**keys: Any) -> Composition:
    return compose(read_methods({"asked": keys}), "asked", STAGES)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_a_default_is_what_the_study_chose(kind: str) -> None:
    model = KINDS[kind]()

    found = {key: getattr(model, key) for key in DEFAULTS[kind]}
    if found.get("weight", 0.0) is None or found.get("ramp", 0.0) is None:
        (term,) = composed(kind=kind).terms
        found |= {key: getattr(term, key) for key in ("weight", "ramp") if key in found}
    assert found == DEFAULTS[kind]


@pytest.mark.parametrize(("kind", "variant"), WEIGHTS)
def test_the_default_weight_of_a_variant_is_what_the_study_chose(kind: str, variant: str) -> None:
    key = "agreement" if kind == "output" else "variant"

    (term,) = composed(kind=kind, **{key: variant}).terms

    assert term.weight == WEIGHTS[kind, variant]


@pytest.mark.parametrize(
    ("kind", "search"),
    [
        ("dropout", "one_pass"),
        ("one_pass", "one_pass"),
        ("output", "output_late"),
        ("intermediate", "to_output_alone"),
        ("representation", "spatial_alone"),
        ("kernel", "kernel_alone"),
        ("multi_head", "multi_head"),
        ("temporal", "temporal"),
        ("gjs", "gjs"),
        ("elr", "elr"),
    ],
)
def test_a_method_without_keys_is_a_candidate_that_was_trained(kind: str, search: str) -> None:
    searched = EVIDENCE.methods[search]
    assert isinstance(searched, Searched)

    candidates = [compose({search: one}, search, STAGES) for one in searched.candidates]

    assert composed(kind=kind) in candidates


def test_the_page_of_the_methods_has_the_table_of_the_script() -> None:
    assert SCRIPT["table"]() in (REPOSITORY / "docs" / "methods.md").read_text(encoding="utf-8")
