"""GPUs under the real Snakemake, with simulated devices: who gets which, who waits, and that it is said."""

from __future__ import annotations

import re
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.host.gpu_lease import FOLDER, lease_holders
from collabpipe.results import workflow
from collabpipe.results.workflow import Workflow
from tests import forks
from tests.host.test_gpu_lease import Host, device_of
from tests.jobs.test_resume import Desk
from tests.jobs.test_resume import study as resumed_study
from tests.workspaces import Lab, Workspace, altered

DEVICES = ["0", "1"]
RUNNING = re.compile(r"pid (\d+) of")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host with two devices; the folder of their leases."""
    monkeypatch.setenv("COLLABPIPE_DEVICES", ",".join(DEVICES))
    monkeypatch.setenv(FOLDER, str(tmp_path / "leases"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "leases"


def holders_of_devices() -> dict[str, list[str]]:
    return lease_holders({device: [] for device in DEVICES})


@pytest.mark.parametrize("jobs_per_gpu", [1, 2])
def test_without_a_limit_trainings_wait_for_a_device_of_their_own_and_say_so(
    jobs_per_gpu: int, host: Path, study: Workspace
) -> None:
    study.configure(
        altered(
            {
                "methods": {"output": None, "output_control": None},
                "seeds": list(range(6)),
                "training": {"epochs": 3},
                "execution": {"seeds_per_job": 1, "jobs_per_gpu": jobs_per_gpu},
            }
        )
    )
    logs = study.folder / "logs" / "train"
    others, variable = Host(host), ",".join(DEVICES)
    with ExitStack() as stack:
        # Jobs of others have all places until the six trainings wait.
        asked = [others.asking(jobs_per_gpu, COLLABPIPE_DEVICES=variable) for _ in range(2 * jobs_per_gpu)]
        holders = [stack.enter_context(one) for one in asked]
        assert Counter(map(device_of, holders)) == dict.fromkeys(DEVICES, jobs_per_gpu)
        path = {"PATH": f"{forks.folder()}:{study.environment['PATH']}"}
        running = study.start("snakemake", "--cores", "6", "checkpoints", env=path)
        stack.callback(running.wait)
        stack.callback(running.kill)
        while sum("gpu: waiting for one of 2" in path.read_text() for path in logs.rglob("baseline/*.log")) < 6:
            assert running.poll() is None
            time.sleep(0.05)
        for holder in holders:
            holder.kill()
        most: Counter[str] = Counter()
        while running.poll() is None:
            for device, lines in holders_of_devices().items():
                most[device] = max(most[device], len(lines))
            time.sleep(0.05)
    assert running.returncode == 0
    assert max(most.values()) <= jobs_per_gpu
    said = [path.read_text() for path in logs.rglob("baseline/*.log")]
    assert len(said) == 6
    assert all(len(re.findall(r"gpu: leased [01]\n", log)) == 1 for log in said)
    assert all(RUNNING.search(log) for log in said), "it says for whom it waits"


def test_jobs_that_predict_lease_a_device_too(host: Path, study: Workspace) -> None:
    study.configure(altered({"methods": {"output": None, "output_control": None}, "training": {"epochs": 3}}))
    study.snakemake("--resources", "gpu=2", "--", "evaluations")
    logs = [path.read_text() for path in (study.folder / "logs" / "evaluate").rglob("*.log")]
    assert sum("gpu: leased" in log for log in logs) == 1  # the other methods' logs are of before


def test_who_wants_no_gpu_asks_for_none_and_gets_none(host: Path, study: Workspace) -> None:
    changes = {"methods": {"output": None, "output_control": None}, "training": {"epochs": 3}}
    study.configure(altered(changes | {"execution": {"jobs_per_gpu": 0}}))
    # A job that asked for one would be refused.
    printed = study.snakemake("--resources", "gpu=0", "--", "tables")
    assert "GPUs here" not in printed.stdout + printed.stderr
    log = (study.folder / "logs/train/digits/symmetric-0.5/resnet8/baseline/block0.log").read_text()
    assert "leased" not in log
    assert "none is asked for; computing on the CPU" in log
    assert not host.exists()


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (None, "2 GPUs here, 2 trainings each (execution.jobs_per_gpu), and no --resources gpu=N."),
        (64, "and --resources gpu=64. --resources gpu=4 leaves none idle"),
        (4, ""),
        (1, ""),
    ],
)
def test_a_limit_that_does_not_fit_the_host_is_told(limit: int | None, said: str, host: Path, fresh: Workspace) -> None:
    fresh.configure(altered({"execution": {"jobs_per_gpu": 2}}))
    hint = Workflow(fresh.plan).gpu_hint(limit)
    assert said in hint
    assert bool(hint) == bool(said)


def test_a_host_whose_driver_does_not_answer_is_told_and_stops_nothing(
    host: Path, fresh: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang() -> dict[str, list[str]]:
        raise CollabpipeError("nvidia-smi has not answered")

    monkeypatch.setattr(workflow, "find_gpus", hang)
    assert Workflow(fresh.plan).gpu_hint(None) == "nvidia-smi has not answered"


SRUN = """#!/bin/sh
echo "$@" > called
while [ "$1" != collabpipe ]; do shift; done
exec "$@"
"""


def test_within_a_job_of_slurm_a_training_is_a_step_of_its_own(fresh: Workspace) -> None:
    fresh.configure(altered({"training": {"threads": 2}, "execution": {"jobs_per_gpu": 0}}))
    fresh.snakemake("labels")
    (fresh.root / "srun").write_text(SRUN)
    (fresh.root / "srun").chmod(0o755)
    path = f"{fresh.root}:{forks.folder()}:{fresh.environment['PATH']}"
    variables = {"SLURM_JOB_ID": "7", "PATH": path, "CUDA_VISIBLE_DEVICES": "1"}
    target = "results/small/runs/digits/symmetric-0.5/resnet8/baseline/seed0/record.json"
    # As the plugin has Snakemake run within a job, where it is not the main process.
    inner = ["snakemake", "--cores", "2", "--mode", "subprocess", "--nolock"]
    fresh.run(*inner, "--", target, env=variables)
    called = (fresh.root / "called").read_text()
    assert called.startswith("--overlap -n1 -c2 --cpu-bind=q --mem=0 --gpus=1 collabpipe train results/recipes/")
    assert (fresh.root / target).exists()

    # Who starts the study by hand within an allocation gets the steps that he asks for.
    (fresh.root / "called").unlink()
    fresh.run("snakemake", "--cores", "2", "--", target.replace("baseline", "output"), env=variables)
    assert not (fresh.root / "called").exists()


def test_snakemake_says_it_when_it_starts(host: Path, fresh: Workspace) -> None:
    printed = fresh.snakemake("datasets")
    assert "2 GPUs here, 1 training each" in printed.stdout + printed.stderr


def test_who_has_the_device_never_waits_for_one_who_waits_for_the_device(
    host: Path, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    desk = Desk(lab, tmp_path / "desk", resumed_study(epochs=40))
    first = desk.workspace.start(*desk.command("baseline", "heads"))
    try:
        while not (desk.state("baseline").exists() or (desk.kept("baseline") / "result.json").exists()):
            assert first.poll() is None
            time.sleep(0.01)
        # It has the device, and will come to a training that this one begins as soon as it may.
        second = desk.workspace.start(*desk.command("heads"))
        try:
            assert first.wait(timeout=120) == 0
            assert second.wait(timeout=120) == 0
        finally:
            second.kill()
            second.wait()
    finally:
        first.kill()
        first.wait()
    assert desk.record("heads")["status"] == "finished"
