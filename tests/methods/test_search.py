"""Lists among a method's keys: what is searched, and what is the value of a key that takes a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from collabpipe.common.validation import Wrong
from collabpipe.methods.base import Kind
from collabpipe.methods.derived import Control
from collabpipe.methods.registry import KINDS
from collabpipe.methods.search import Searched, read_method, takes_several


class Own(Kind):
    """A kind as a plugin may bring it."""

    kind: Literal["own"] = "own"
    rates: list[float] = Field(default_factory=list)
    words: frozenset[str] | None = None
    pairs: Annotated[Sequence[Annotated[int, Field(ge=0)]], Field(max_length=2)] = ()
    plain: set = Field(default_factory=set)  # type: ignore[type-arg]
    by_name: dict[str, list[float]] = Field(default_factory=dict)
    share: float = 0.5
    factors: dict[str, float] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("key", "value"),
    [("rates", [0.1, 0.5]), ("words", ["a"]), ("pairs", [1, 2]), ("plain", [1]), ("by_name", {"a": [0.1]})],
)
def test_a_list_is_the_value_of_a_key_that_takes_one(key: str, value: Any) -> None:
    found = read_method("mine", {"kind": "own", key: value}, Own)
    assert found == Own.model_validate({key: value})

    searched = read_method("mine", {key: value, "share": [0.1, 0.2], "select": {"seeds": [7]}}, Own)
    assert isinstance(searched, Searched)
    assert [one.model_dump()["share"] for one in searched.candidates] == [0.1, 0.2]


@pytest.mark.parametrize(("key", "value"), [("share", [0.1, 0.5]), ("factors", {"a": [0.1, 0.5]})])
def test_any_other_list_is_searched(key: str, value: Any) -> None:
    with pytest.raises(Wrong, match="one value, or a list together with select"):
        read_method("mine", {key: value}, Own)

    searched = read_method("mine", {key: value, "select": {"seeds": [7]}}, Own)
    assert isinstance(searched, Searched)
    assert len(searched.candidates) == 2


def test_the_keys_of_the_package_that_take_lists_are_known() -> None:
    models: dict[str, type[Kind]] = {**KINDS, "control": Control}
    found = {
        (kind, key)
        for kind, model in models.items()
        for key, field in model.model_fields.items()
        if takes_several(field.annotation)
    }
    assert found == {
        ("intermediate", "taps"),
        ("representation", "taps"),
        ("combined", "of"),
        ("multi_head", "splits"),
    }
