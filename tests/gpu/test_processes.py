"""Real processes on a real GPU: leases, kills, memory, other devices, and what doctor says of the machine."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from collabpipe.common.files import read_json
from collabpipe.plan.plan import Plan
from collabpipe.results.store import Store
from collabpipe.settings.study import check_settings
from tests.gpu.conftest import ON, Terminal
from tests.workspaces import Lab, altered, key_of

METHODS: dict[str, Any] = {
    "baseline": {},
    "heads": {"kind": "output", "heads": 2, "split": "stage2", "drop": 0.5, "channel_drop": 0.1},
    "temporal": {},
    "multi_head": {"heads": 4},
    "mixup": {},
}
STUDY: dict[str, Any] = {
    "datasets": {"digits": {"crop": 1, "flip": True}},
    "methods": {"output": None, "output_control": None} | METHODS,
    "seeds": [0],
    "training": {"epochs": 40},
}


class Study:
    """The five methods in a results folder of their own, trained by hand."""

    def __init__(self, lab: Lab, root: Path, terminal: Terminal, changes: dict[str, Any]):
        self.terminal = terminal
        self.paths, self.recipes = lab.lay_out(root, changes)
        self.plan = Plan(check_settings(altered(changes), {}), root / "results")

    @staticmethod
    def run_name(method: str) -> str:
        return f"digits/symmetric-0.5/resnet8/{method}/seed0"

    def command(self, *methods: str, jobs: int = 4) -> list[str | Path]:
        recipes = [self.recipes[self.run_name(method)] for method in methods]
        options: list[str | Path] = [*self.paths.options, "--save-seconds", "0", "--jobs-per-gpu", str(jobs)]
        return ["-m", "collabpipe", "train", *recipes, *options]

    def state(self, method: str) -> Path:
        return Store(self.paths.store).folder(key_of(self.plan, self.run_name(method))) / "state.safetensors"

    def weights(self, method: str) -> Any:
        return read_json(self.paths.run(self.plan.runs[self.run_name(method)].run) / "record.json")["weights"]


def kill_when_it_has_saved(process: subprocess.Popen[str], state: Path) -> None:
    end = time.monotonic() + 180
    while not state.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.001)
    process.kill()
    process.communicate()


def finished(process: subprocess.Popen[str]) -> str:
    printed = process.communicate(timeout=300)[1]
    assert process.returncode == 0, printed
    return printed


def test_packed_alone_and_killed_trainings_have_equal_weights_and_keep_to_their_device(
    lab: Lab, tmp_path: Path, terminal: Terminal
) -> None:
    packed, alone, killed = (Study(lab, tmp_path / name, terminal, STUDY) for name in ("packed", "alone", "killed"))
    struck = ("heads", "mixup")
    with ExitStack() as stack:
        # All at once: up to four processes share the device.
        at_once = [
            stack.enter_context(terminal.started(*study.command(*methods)))
            for study, methods in ((packed, tuple(METHODS)), (alone, ("heads",)))
        ]
        for method in struck:
            with terminal.started(*killed.command(method)) as process:
                kill_when_it_has_saved(process, killed.state(method))
        if ON == "cuda":
            refused = terminal.run(*killed.command("heads", jobs=0))
            assert refused.returncode == 1, refused.stderr
            assert "was saved on cuda and would continue on cpu" in refused.stderr
            assert "Traceback" not in refused.stderr
            assert killed.state("heads").exists()
        with terminal.started(*killed.command(*METHODS)) as process:
            printed = finished(process)
        assert printed.count("continues after epoch") == len(struck), printed
        for process in at_once:
            finished(process)
    assert {method: killed.weights(method) for method in METHODS} == {m: packed.weights(m) for m in METHODS}
    assert alone.weights("heads") == packed.weights("heads")


LEASE = """
import sys
from collabpipe.host.gpu_lease import lease_device
print(lease_device(int(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.mark.cuda
@pytest.mark.parametrize("jobs", [1, 4])
def test_a_real_device_is_leased_to_so_many_processes_and_the_next_one_waits(jobs: int, terminal: Terminal) -> None:
    with ExitStack() as stack:
        holders = [stack.enter_context(terminal.started("-c", LEASE, str(jobs))) for _ in range(jobs)]
        devices = {holder.stdout.readline().strip() for holder in holders if holder.stdout}
        assert len(devices) == 1
        assert next(iter(devices)).startswith("GPU-")
        waiting = stack.enter_context(terminal.started("-c", LEASE, str(jobs)))
        assert waiting.stderr
        assert waiting.stdout
        lines = [waiting.stderr.readline() for _ in range(1 + jobs)]
        assert "gpu: waiting for one of 1" in lines[0]
        for holder in holders:
            assert any(f"pid {holder.pid} of" in line for line in lines), lines
        holders[0].kill()  # the kernel frees what it held
        assert waiting.stdout.readline().strip() in devices


LITTLE_MEMORY = """
import sys
import torch
from collabpipe.cli import main
from collabpipe.host.gpu_lease import lease_device
lease_device(4)
total = torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction((128 << 20) / total)  # less than weights and momentum take
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.cuda
def test_out_of_memory_says_what_to_do_and_loses_nothing(lab: Lab, tmp_path: Path, terminal: Terminal) -> None:
    wide = STUDY | {"networks": {"resnet8": {"width": 256}}, "training": {"epochs": 3}}
    study = Study(lab, tmp_path / "study", terminal, wide)
    with terminal.started(*study.command("heads")) as process:
        kill_when_it_has_saved(process, study.state("heads"))
    saved = study.state("heads").read_bytes()
    failed = terminal.run("-c", LITTLE_MEMORY, *study.command("heads")[2:])
    assert failed.returncode == 1, failed.stderr
    assert "the memory of the device is not enough" in failed.stderr
    assert "execution.jobs_per_gpu" in failed.stderr
    assert "training.batch_size" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert study.state("heads").read_bytes() == saved
    with terminal.started(*study.command("heads")) as process:
        assert "continues after epoch" in finished(process)


@pytest.mark.cuda
def test_doctor_knows_the_machine(terminal: Terminal) -> None:
    # Without Snakemake and DVC it reports failures, and these are not looked at here.
    said = terminal.run("-m", "collabpipe", "doctor", "config/config.yaml").stdout
    about = {topic: [line for line in said.splitlines() if line[8:].startswith(topic)] for topic in ("torch", "gpus")}
    assert any("built for CUDA" in line for line in about["torch"]), said
    assert any("GPU-" in line and "GiB used" in line for line in about["gpus"]), said
    lines = [line for of_one in about.values() for line in of_one]
    assert not [line for line in lines if line.startswith("failure") or "could not be checked" in line], said
