"""A study's folder: safe and unique whatever the study is called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabpipe.plan.paths import SHARED_FOLDERS, STUDY_FOLDERS, Paths, study_folder

SAFE = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}")


@pytest.mark.parametrize("name", ["default", "evidence_noise", "2021-paper", "a", "x" * 64])
def test_a_plain_name_is_its_folder(name: str) -> None:
    assert study_folder(name) == name


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("my study", "my-study-"),
        ("<script>", "script-"),
        ("Default", "default-"),
        ("..", "study-"),
        ("", "study-"),
        ("a/b", "a-b-"),
        ("-n", "n-"),
        ("größe", "gr-e-"),
        ("x" * 200, "x" * 40 + "-"),
        ("default-0123abcd", "default-0123abcd-"),
        *((name, f"{name}-") for name in (*SHARED_FOLDERS, *STUDY_FOLDERS)),
    ],
)
def test_any_other_name_has_a_digest_behind_what_can_be_read_of_it(name: str, folder: str) -> None:
    assert re.fullmatch(re.escape(folder) + "[0-9a-f]{8}", study_folder(name))


@given(st.text(max_size=200), st.text(max_size=200))
def test_folders_are_safe_and_as_different_as_names(first: str, second: str) -> None:
    folders = {study_folder(name) for name in (first, second, first.upper(), f"{first} ", study_folder(first))}
    assert all(SAFE.fullmatch(folder) for folder in folders)
    # The folder of a plain name is that name.
    assert len(folders) == len({first, second, first.upper(), f"{first} ", study_folder(first)})


def test_what_studies_share_needs_no_study_and_what_tables_name_no_results_folder(tmp_path: Path) -> None:
    paths, elsewhere = Paths(tmp_path), Paths(Path("results"), "small")
    assert paths.log("prepare_dataset/digits") == tmp_path / "logs" / "prepare_dataset" / "digits.log"
    assert paths.provenance(paths.dataset("digits")) == tmp_path / "provenance" / "datasets" / "digits.json"
    with pytest.raises(ValueError, match="no study"):
        paths.log("train/digits")
    shown = {one.shown(one.tables / "main.csv") for one in (Paths(tmp_path, "small"), elsewhere)}
    assert shown == {"results/small/tables/main.csv"}
