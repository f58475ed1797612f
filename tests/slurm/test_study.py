"""Studies through profiles/slurm: arrays of blocks, each task its own seeds, the same bits as on one machine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from collabpipe.training.checkpoint import weights_digest
from tests.slurm.cluster import Cluster
from tests.slurm.sessions import Session
from tests.workspaces import REPOSITORY, SMALL, Lab, Workspace, altered, with_plugins

PACKED = altered({"methods": {"output_control": None}, "seeds": [0, 1, 2], "execution": {"seeds_per_job": 2}})


@pytest.mark.quick
def test_a_packed_study_in_arrays(slurm: Cluster, tmp_path: Path, lab: Lab) -> None:
    workspace = Workspace.create(tmp_path / "packed", PACKED)
    output = _run(workspace, slurm, 300)
    assert len(re.findall("Submitted array job", output)) >= 3  # labels, and two blocks of trainings
    _trained_as_here(workspace, workspace.plan.runs, lab)


@pytest.mark.quick
def test_a_study_with_plugins(slurm: Cluster, tmp_path: Path) -> None:
    here, there = (Workspace.create(tmp_path / name, SMALL | {"study": "plugins"}) for name in ("here", "there"))
    for workspace in (here, there):
        with_plugins(workspace)
    _run(there, slurm, 300)
    here.snakemake("checkpoints")
    weights = [{name: record["weights"] for name, record in one.records().items()} for one in (here, there)]
    assert len(weights[0]) == 3 * 2
    assert weights[0] == weights[1]


def test_the_default_study(slurm: Cluster, tmp_path: Path, lab: Lab) -> None:
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8"))
    workspace = Workspace.create(tmp_path / "default", config)
    shutil.copy(REPOSITORY / "config" / "claims.yaml", workspace.config.parent)
    _run(workspace, slurm, 1500)
    _trained_as_here(workspace, sorted(workspace.plan.runs)[::8], lab)
    assert "Every cell of the tables follows from" in workspace.collabpipe("verify").stdout


def _run(workspace: Workspace, slurm: Cluster, seconds: float) -> str:
    """Run the study on the cluster to its tables; returns what the user saw."""
    session = Session(workspace)
    try:
        assert session.wait(seconds) == 0, session.output
    finally:
        slurm.heal()
    assert set(workspace.table().index) == set(workspace.plan.settings.methods)
    again = workspace.snakemake("--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    return session.output


def _trained_as_here(workspace: Workspace, runs: Iterable[str], lab: Lab) -> None:
    """The weights of these runs are those that this process trains."""
    records = workspace.records()
    assert set(records) == set(workspace.plan.runs)
    for name in runs:
        trained = lab.trained(workspace.plan.runs[name]).method.network.state_dict()
        assert records[name]["weights"]["last"] == weights_digest(trained), name
