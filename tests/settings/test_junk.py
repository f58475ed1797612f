"""Any configuration is either accepted or refused with a message."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collabpipe.common.errors import CollabpipeError
from collabpipe.settings.study import Settings, check_settings, load_settings
from tests.settings.good import GOOD, KINDS

WORDS = [
    *Settings.model_fields, *KINDS, "kind", "source", "control_of", "of", "weights", "heads", "split", "splits",
    "taps", "variant", "pattern", "digits", "resnet8", "validation_size", "none", "symmetric-0.5", "epochs", "stage2",
    "output+kernel",
]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 5)
    | st.floats()
    | st.dates()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(WORDS)
)
KEYS = st.sampled_from(WORDS) | st.text(max_size=4) | st.integers() | st.none() | st.booleans()
JUNK: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def refuses_or_takes(work: Callable[[], object]) -> None:
    """Any other exception would reach the user as a traceback."""
    with contextlib.suppress(CollabpipeError):
        work()


@given(key=st.sampled_from(sorted(Settings.model_fields)), junk=JUNK)
@example(key="methods", junk={"a": {"kind": ["baseline"]}})
@example(key="methods", junk={"a": {"kind": {"kind": "baseline"}}})
@example(key="networks", junk={"a": {"kind": ["resnet8"]}})
@example(key="noise", junk=[["none"]])
@example(key="seeds", junk=[[0]])
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_junk_under_any_key_raises_nothing_else(key: str, junk: Any) -> None:
    values = yaml.safe_load(GOOD) | {key: junk}

    refuses_or_takes(lambda: check_settings(values, {}))


@given(junk=st.dictionaries(KEYS, JUNK, max_size=3))
@settings(
    max_examples=60,
    deadline=None,
    # The file is written anew for every example, so that sharing its folder does no harm.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_file_of_junk_raises_nothing_else(junk: dict[Any, Any], tmp_path: Path) -> None:
    file = tmp_path / "junk.yaml"
    file.write_text(yaml.safe_dump(junk, allow_unicode=True), encoding="utf-8")

    refuses_or_takes(lambda: load_settings([file]))
