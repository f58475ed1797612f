"""The registry: which kinds and terms there are, and compositions that are read from recipes and records."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from collabpipe.common.validation import Wrong
from collabpipe.methods.composition import Composition, Term
from collabpipe.methods.registry import KINDS, TERMS, read_composition
from collabpipe.methods.resolve import compose, read_methods
from collabpipe.settings.training import NetworkSettings

STAGES = NetworkSettings(kind="resnet8").stages_of(32, 128)
FOUR = ("output", "intermediate", "representation", "kernel")


def composed(kind: str) -> Composition:
    return compose(read_methods({name: {} for name in (*FOUR, kind)}), kind, STAGES)


def test_kinds_and_terms_are_entered_under_the_names_that_they_have() -> None:
    assert {name: model.model_fields["kind"].default for name, model in KINDS.items()} == {name: name for name in KINDS}
    assert {name: model.model_fields["term"].default for name, model in TERMS.items()} == {name: name for name in TERMS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_composition_that_is_written_as_json_is_read_as_the_same(kind: str) -> None:
    composition = composed(kind)

    found = read_composition(json.loads(composition.model_dump_json()))

    assert found == composition
    assert [type(term) for term in found.terms] == [type(term) for term in composition.terms]


def test_a_term_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(Wrong, match=r"term 'kernels' is not allowed. Allowed: agreement, .*'kernel'"):
        read_composition({"terms": [{"term": "kernels", "weight": 1.0}]})


@pytest.mark.parametrize("keys", [{"term": "kernel"}, {"term": "kernel", "weight": 1.0, "variant": "rows", "more": 1}])
def test_a_terms_fields_are_checked_by_its_own_model(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="KernelTerm"):
        read_composition({"terms": [keys]})


def test_no_composition_is_read_with_a_term_that_is_not_of_its_model() -> None:
    """Without the registry a term would lose the fields that make it what it is."""
    with pytest.raises(ValidationError, match="variant"):
        Composition.model_validate({"terms": [{"term": "kernel", "weight": 1.0, "variant": "rows"}]})
    assert Term not in TERMS.values()
