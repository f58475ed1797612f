"""A training that is struck on the cluster ends in the bits of an undisturbed one, and loses no more than it must."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tests.slurm.cluster import CGROUPS, Cluster
from tests.slurm.disturbed import EPOCHS, RETRY, Disturbed

Disturb = Callable[..., Disturbed]
Whole = Callable[[Disturbed], None]
BOTH = pytest.mark.parametrize("slurm", ["linuxproc", "cgroup"], indirect=True)
QUICK = pytest.mark.parametrize("slurm", [pytest.param("linuxproc", marks=pytest.mark.quick), "cgroup"], indirect=True)
BEST = "cgroup" if CGROUPS else "linuxproc"
PREEMPTIONS = [
    pytest.param(tracking, grace, marks=pytest.mark.quick if (tracking, grace) == (BEST, 20) else ())
    for tracking in ("linuxproc", "cgroup")
    for grace in (0, 20)
]
FAILED = "failed, SLURM status is: "


@BOTH
def test_scancel(slurm: Cluster, disturb: Disturb, whole: Whole) -> None:
    study = disturb("`scancel` of its job")
    study.begin()
    study.strike(lambda: slurm.client("scancel", study.job))
    study.goes_on()
    assert study.session.wait(180) == 0
    study.saw(f"{FAILED}'CANCELLED'")
    whole(study)
    assert study.fault.lost == 0.0


@QUICK
def test_requeue(slurm: Cluster, disturb: Disturb, whole: Whole) -> None:
    study = disturb("`scontrol requeue` of its job")
    study.begin()
    study.strike(lambda: slurm.client("scontrol", "requeue", study.job))
    study.goes_on()
    assert study.session.wait(180) == 0
    assert RETRY not in study.session.output
    whole(study)
    assert study.fault.lost == 0.0


@pytest.mark.parametrize(("slurm", "grace"), PREEMPTIONS, indirect=["slurm"])
def test_preemption(slurm: Cluster, disturb: Disturb, whole: Whole, grace: int) -> None:
    study = disturb(f"preempted, GraceTime={grace}")
    slurm.client("scontrol", "update", "PartitionName=low", f"GraceTime={grace}")
    study.begin()
    higher = ("sbatch", "--partition=high", "--gpus=2", "--output=/dev/null", "--wrap=sleep 10")
    study.strike(lambda: slurm.client(*higher, f"--nodelist={study.node}"), within=grace + 40)
    study.goes_on()
    assert study.session.wait(180) == 0
    whole(study)
    assert study.fault.lost == 0.0


@BOTH
def test_time_limit(slurm: Cluster, disturb: Disturb, whole: Whole) -> None:
    study = disturb("time limit of its job", epochs=12 * EPOCHS)  # the least limit is a minute
    study.begin()
    slurm.client("scontrol", "update", f"JobId={study.job}", "TimeLimit=1")
    study.strike(lambda: None, within=150)
    study.goes_on()
    assert study.session.wait(180) == 0
    whole(study)
    assert study.fault.lost == 0.0


@pytest.mark.quick
def test_snakemake_killed(slurm: Cluster, disturb: Disturb, whole: Whole) -> None:
    study = disturb("SIGKILL of Snakemake, and the command again")
    study.begin()
    first = study.trainers()[0]
    first.suspend()  # as if it had much left to train
    study.session.kill()
    study.run()
    assert study.session.wait(60) == 1
    study.saw("It can be removed with the --unlock argument")
    study.fault.by_hand = ["`snakemake --unlock`", "the command again"]
    study.workspace.snakemake("--unlock")
    study.run()
    slurm.wait_for("a second job that waits for the first", lambda: len(study.trainers()) == 2, 60)
    slurm.wait_for("a word of whom it waits for", lambda: "waiting for" in study.log, 20)
    assert f"process {first.pid}" in study.log
    first.resume()
    assert study.session.wait(180) == 0
    assert "in the store already" in study.log
    whole(study)


def test_node_down(slurm: Cluster, disturb: Disturb, whole: Whole) -> None:
    study = disturb("its node set down by the administrator")
    study.begin()
    node = study.node
    study.strike(lambda: slurm.client("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test"))
    study.goes_on()
    assert study.session.wait(180) == 0
    slurm.client("scontrol", "update", f"NodeName={node}", "State=RESUME")
    whole(study)


def test_node_dies(slurm: Cluster, disturb: Disturb, whole: Whole) -> None:
    study = disturb("its node dies")
    study.begin()
    study.strike(lambda: _die(slurm, study))
    study.goes_on()
    assert study.session.wait(240) == 0
    whole(study)


def _die(slurm: Cluster, study: Disturbed) -> None:
    """All processes of the node at once: its daemon, those of the steps, the jobs."""
    job, node = study.job, study.node
    slurm.stop(node)
    for process in psutil.process_iter(["name", "cmdline"]):
        step = process.info["name"] == "slurmstepd" and f"[{job}." in " ".join(process.info["cmdline"])
        if step or slurm.is_of(process, job):
            process.send_signal(signal.SIGKILL)


def test_submission_refused(slurm: Cluster, disturb: Disturb, whole: Whole) -> None:
    study = disturb("controller away while it is submitted, and the command again")
    slurm.stop("slurmctld")
    study.run()
    assert study.session.wait(180) == 1
    study.saw("SLURM sbatch failed", "Unable to contact slurm controller")
    slurm.start("slurmctld")
    study.fault.by_hand = ["the command again"]
    study.run()
    assert study.session.wait(180) == 0
    whole(study)


def test_controller_away(slurm: Cluster, disturb: Disturb, whole: Whole) -> None:
    study = disturb("controller away for 45 s while it trains")
    study.begin()
    slurm.stop("slurmctld")
    time.sleep(45)
    slurm.start("slurmctld")
    # The plugin (2.8) forgets the job if it asks for it meanwhile and no accounting answers: then it waits for ever.
    if study.session.ended_within(60) is None:
        study.session.process.send_signal(signal.SIGINT)
        assert study.session.wait(60) != 0
        study.fault.by_hand = ["Ctrl-C", "the command again"]
        study.run()
        assert study.session.wait(120) == 0
    whole(study)
