"""The pipeline as a whole, run by the real Snakemake."""

from __future__ import annotations

from tests.conftest import Workspace


def test_a_finished_study_has_nothing_to_be_done(study: Workspace) -> None:
    assert "Nothing to be done" in study.snakemake("-n").stdout
