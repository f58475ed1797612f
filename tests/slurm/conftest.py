"""One cluster for all tests of a kind, and a study whose jobs go to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, cluster


@pytest.fixture(scope="session")
def linuxproc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that knows a job's processes by their parents, and warns no job of its preemption."""
    with cluster(tmp_path_factory.mktemp("slurm") / "linuxproc") as made:
        yield made
