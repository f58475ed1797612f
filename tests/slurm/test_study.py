"""A packed study through profiles/slurm: arrays of blocks, each task its own seeds, the same bits as on one machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collabpipe.training.weights import weights_digest
from tests.conftest import Lab, Workspace, altered
from tests.slurm.cluster import Cluster
from tests.slurm.sessions import Session

PACKED = altered({"methods": {"output_control": None}, "seeds": [0, 1, 2], "execution": {"seeds_per_job": 2}})


@pytest.mark.quick
def test_a_packed_study_in_arrays(slurm: Cluster, tmp_path: Path, lab: Lab) -> None:
    workspace = Workspace.create(tmp_path / "packed", PACKED)
    session = Session(workspace)
    assert session.wait(300) == 0, session.output
    assert len(re.findall("Submitted array job", session.output)) >= 4  # two blocks of trainings, two of evaluations
    records = workspace.records()
    assert set(records) == set(workspace.plan.runs)
    for name, recipe in workspace.plan.runs.items():
        trained = lab.trained(recipe)
        assert records[name]["weights"]["last"] == weights_digest(trained.method.network.state_dict()), name
    assert set(workspace.table().index) == set(workspace.plan.settings.methods)
    again = workspace.snakemake("--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    assert not slurm.jobs()
