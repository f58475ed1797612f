"""The store keeps what it has, whatever happens while its files are replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import file_digest
from collabpipe.results.store import Store

KEY = "ab" + 62 * "0"


def stored(root: Path) -> Store:
    """A store with a result of one file."""
    store = Store(root / "store")
    with store.writing(KEY) as writer:
        (writer.folder / "weights").write_text("trained")
        store.finish(KEY, ["weights"], {})
    return store


def test_a_file_is_replaced_by_a_link_to_its_copy(tmp_path: Path) -> None:
    store, copy = stored(tmp_path), tmp_path / "weights"
    copy.write_text("trained")
    for _ in range(2):
        store.link_again(KEY, tmp_path, {"weights": file_digest(copy)})
        assert (store.folder(KEY) / "weights").samefile(copy)
    assert store.find(KEY) is not None
    assert not list(store.folder(KEY).glob(".*.part"))


def test_a_link_that_cannot_be_made_leaves_the_file_that_is_there(tmp_path: Path) -> None:
    store = stored(tmp_path)
    (tmp_path / "weights").mkdir()  # neither to link nor to copy, as on a full disk
    digest = file_digest(store.folder(KEY) / "weights")
    with pytest.raises(CollabpipeError):
        store.link_again(KEY, tmp_path, {"weights": digest})
    assert store.find(KEY) is not None
    assert not list(store.folder(KEY).glob(".*.part"))
