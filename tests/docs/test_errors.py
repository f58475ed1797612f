"""The page of the messages is that of the source, and each message says what to do."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.workspaces import REPOSITORY

SCRIPT = runpy.run_path(str(REPOSITORY / "docs" / "errors.py"))
MESSAGES: list[Any] = SCRIPT["messages"]()


def test_the_page_has_the_messages_of_the_source() -> None:
    # Written by `python docs/errors.py`.
    assert (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8") == SCRIPT["page"]()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: f"{message.module}: {message.wrong[:40]}")
def test_a_message_says_what_to_do(message: Any) -> None:
    assert message.remedy, "a second sentence"


def test_messages_of_every_form_are_found() -> None:
    found = {(message.module.removeprefix("collabpipe."), message.wrong): message.remedy for message in MESSAGES}
    refetch = "Fetch it again."
    assert found["data.formats", "PATH: is no IDX file of bytes."] == refetch
    # In a list of faults, by a function of its own, as an argument's default, with a variable that holds a text.
    assert found["data.groups", "PATH:LINE_NUM: names NAME again."] == "Remove one of the lines."
    assert found["data.npz", "PATH: class_names: is no list of texts."] == "Write it as np.array([...], dtype=str)."
    assert found["common.files", "PATH: is missing."] == "Make it again, or name another file."
    known = found["training.checkpoint", "PATH: these weights were not kept (keep_weights: KEPT)."]
    assert known.startswith("The last epoch's were kept in half precision: leave --best out. To have them, set ")
    assert ("results.timestamps", "PATH: is write-protected, so Snakemake could not make any result again.") in found
    assert ("host.results_lock", "ROOT: is being restored, shared or pruned by another process.") in found
