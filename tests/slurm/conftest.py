"""One cluster at a time, a study whose only training is to be disturbed, and the table of what each fault cost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.slurm.cluster import CGROUPS, FREEZER, Cluster, cluster
from tests.slurm.disturbed import DISTURBED, EPOCHS, RUN, Disturbed, Fault
from tests.workspaces import Workspace, altered

FAULTS: list[Fault] = []


@pytest.fixture(scope="session", params=["linuxproc"])
def slurm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster; tests that name another tracking as the parameter get one of their own, all of these together."""
    if request.param == "cgroup" and not CGROUPS:
        pytest.skip(f"{FREEZER}: not there, and SLURM 22.05 tracks by cgroups of version 1 unless systemd runs")
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster", request.param) as made:
        yield made


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the study with its partition put in, data and labels made; never written to."""
    workspace = Workspace.create(tmp_path_factory.mktemp("prepared") / "study", DISTURBED)
    profile = workspace.root / "profiles" / "slurm" / "config.yaml"
    text = profile.read_text(encoding="utf-8")
    assert "# slurm_partition: gpu" in text
    profile.write_text(text.replace("# slurm_partition: gpu", "slurm_partition: low"), encoding="utf-8")
    workspace.snakemake("labels")
    return workspace.root


@pytest.fixture(scope="session")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, str]]:
    """The digests of the weights of a training of so many epochs, undisturbed, here and without SLURM."""

    @cache
    def weights(epochs: int) -> dict[str, str]:
        workspace = _copy(prepared, tmp_path_factory.mktemp("undisturbed") / "study")
        workspace.configure(altered({"training": {"epochs": epochs}}, DISTURBED))
        workspace.snakemake("checkpoints")
        return dict(workspace.records()[RUN]["weights"])

    return weights


@pytest.fixture
def disturb(slurm: Cluster, prepared: Path, tmp_path: Path) -> Iterator[Callable[..., Disturbed]]:
    """A study of one training on the cluster, by the name of the fault that is to come; whole again afterwards."""
    made: list[Disturbed] = []

    def begin(name: str, epochs: int = EPOCHS) -> Disturbed:
        made.append(Disturbed(_copy(prepared, tmp_path / "study"), slurm, name, epochs))
        return made[-1]

    yield begin
    for session in (session for disturbed in made for session in disturbed.sessions):
        session.kill()
    slurm.heal()
    slurm.client("scontrol", "update", "PartitionName=low", "GraceTime=0")


@pytest.fixture
def whole(undisturbed: Callable[[int], dict[str, str]]) -> Callable[[Disturbed], None]:
    """Proves that a disturbed study came to the undisturbed one's weights, and adds its row to the table."""
    return lambda disturbed: FAULTS.append(disturbed.prove(undisturbed(disturbed.epochs)))


def _copy(prepared: Path, root: Path) -> Workspace:
    subprocess.run(["cp", "-a", str(prepared), str(root)], check=True)
    return Workspace(root)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table for docs/cluster.md."""
    if FAULTS:
        terminalreporter.section("what each fault cost")
        terminalreporter.line("| fault | tracking | trained again | until it went on | the user saw | and did |")
        terminalreporter.line("|---|---|---|---|---|---|")
    for fault in FAULTS:
        cells = (
            fault.name,
            fault.tracking,
            f"{fault.lost:.1f} s, {fault.epochs:.0f} epochs",
            f"{fault.pause:.0f} s" if fault.pause else "at once",
            "; ".join(fault.saw) or "nothing",
            "; ".join(fault.by_hand) or "nothing",
        )
        terminalreporter.line(f"| {' | '.join(cells)} |")
