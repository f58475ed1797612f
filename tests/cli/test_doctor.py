"""What the doctor finds on machines that are well and on those that are not; stand-ins only for what is not here."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import psutil
import pytest
import yaml
from moto.server import ThreadedMotoServer

from collabpipe.cli import doctor, main
from collabpipe.cli.doctor import asking, gpus, machine, services
from collabpipe.cli.doctor.findings import Finding
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.whereabouts import Commit
from collabpipe.host.gpu_lease import FOLDER
from collabpipe.host.gpus import MASK, SIMULATED
from tests.workspaces import REPOSITORY, SMALL, altered

CARD = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
TOPICS = {"python", "locale", "packages", "torch", "gpus", "threads", "disk", "results", "dvc", "slurm", "git"}
OTHER = "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only folder on PATH: nothing of this machine's is found, but what a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv(FOLDER, str(tmp_path / "leases"))
    for name in (MASK, SIMULATED):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with DVC, in which the test stands."""
    root = tmp_path / "project"
    (root / "config").mkdir(parents=True)
    (root / "config" / "config.yaml").write_text(yaml.safe_dump(SMALL))
    shutil.copytree(REPOSITORY / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    subprocess.run(["git", "init", "--quiet", root], check=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are waited for, however busy the machine is with other tests."""
    monkeypatch.setattr(asking, "COMMAND_SECONDS", 60.0)
    monkeypatch.setattr(doctor, "ALL_SECONDS", 90.0)


def remote(project: Path, *lines: str, cache: str = "reflink,copy") -> None:
    """A default remote of DVC, as `dvc remote` would write it."""
    told = ["[cache]", f"type = {cache}", "[core]", "remote = lab", "['remote \"lab\"']", *lines]
    (project / ".dvc" / "config").write_text("\n".join(told) + "\n")


def stand_in(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def nvidia_smi(folder: Path, *cards: str) -> None:
    """A program in place of nvidia-smi; each card as it tells of it: UUID, name, driver, used, total, capability."""
    listed = "\n".join(f"echo 'GPU {n}: NVIDIA (UUID: {card.split(',')[0]})'" for n, card in enumerate(cards))
    told = "\n".join(f"echo '{card}'" for card in cards)
    stand_in(folder, "nvidia-smi", f'if [ "$1" = -L ]; then\n{listed}\nelse\n{told}\nfi')


def one(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def test_the_command_says_all_and_fails_where_something_does(
    project: Path, patience: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote(project, "url = ../lab", cache="hardlink")
    (project / "lab").mkdir()
    monkeypatch.delenv(MASK, raising=False)

    assert main(["doctor"]) == 1

    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert all(re.match(r"(ok|warning|failure) +[a-z]+ +\S|  +fix: ", line) for line in lines[:-1]), printed.out
    topics = {line.split()[1] for line in lines[:-1] if not line.startswith(" ")}
    assert topics == TOPICS
    place = next(n for n, line in enumerate(lines) if "hardlink" in line)
    assert lines[place].startswith("failure dvc")
    assert lines[place + 1].endswith("fix: dvc config --local cache.type reflink,copy && dvc checkout --relink")
    assert any(line.startswith("warning dvc") and "verify is off" in line for line in lines)
    assert printed.err.startswith("collabpipe doctor: error: ")
    assert not list((project / "lab").iterdir()), "the remote is only asked"
    assert not (project / "results").exists()


def test_a_check_that_stumbles_or_hangs_is_a_warning(
    project: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stumble() -> list[Finding]:
        raise RuntimeError("out of luck")

    def hang() -> list[Finding]:
        time.sleep(60)
        return []

    quick = [(machine, "packages"), (gpus, "torch"), (gpus, "gpus"), (services, "dvc"), (services, "slurm")]
    for module, name in quick:
        monkeypatch.setattr(module, f"check_{name}", lambda: [Finding("ok", "as it should be")])
    monkeypatch.setattr(machine, "check_git", hang)
    monkeypatch.setattr(machine, "check_python", stumble)
    monkeypatch.setattr(doctor, "ALL_SECONDS", 1.0)

    doctor.show_findings(doctor.diagnose([Path("config/config.yaml")], Path("results")))

    printed = capsys.readouterr().out
    assert "warning python   could not be checked: RuntimeError: out of luck\n" in printed
    assert "warning git      no answer in 1 s" in printed
    assert "0 failures" in printed


def test_a_wrong_configuration_is_a_failure_with_its_message(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CollabpipeError):
        doctor.show_findings([("threads", doctor._guarded(lambda: machine.check_threads([Path("none.yaml")]))[0])])

    assert re.match(r"failure threads +none.yaml", capsys.readouterr().out)


def test_versions_are_those_of_the_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert set(levels(machine.check_packages())) == {"ok"}

    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==1.0 ; python_full_version < '3.12' \\\nnumpy==1.1\nsnakemake==9.27.1\n")
    monkeypatch.setattr(machine, "LOCK", lock)
    found = next(finding for finding in machine.check_packages() if finding.found.startswith("numpy"))
    assert found.level == "warning"
    assert "requirements.lock has 1.0 or 1.1" in found.found

    monkeypatch.setattr(machine, "PACKAGES", ("no-such-package",))
    assert one(machine.check_packages()).level == "failure"


@pytest.mark.parametrize(
    ("found", "level"), [((3, 10), "failure"), ((3, 11), "ok"), ((3, 14), "ok"), ((3, 15), "warning")]
)
def test_python_is_of_a_locked_version(found: tuple[int, int], level: str) -> None:
    assert one(machine.check_python(found)).level == level


def test_a_terminal_without_utf_8_is_told() -> None:
    code = """from collabpipe.cli.doctor import show_findings
from collabpipe.cli.doctor.findings import Finding
from collabpipe.cli.doctor.machine import check_locale
show_findings([("locale", finding) for finding in check_locale()] + [("disk", Finding("ok", "folder \u30c7"))])"""
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)

    assert b"warning locale" in done.stdout
    assert b"LC_ALL=C.UTF-8" in done.stdout
    assert b"folder ?" in done.stdout


def test_torch_is_there_and_built_for_what_it_says(programs: Path, patience: None) -> None:
    found = gpus.check_torch()[0]

    assert (gpus.cuda_of_torch() is None) == version("torch").endswith("+cpu")
    assert found.level == "ok"
    assert found.found.startswith(f"torch {version('torch')}, built for ")


def test_no_torch_is_imported_to_look_at_it() -> None:
    code = "import sys; from collabpipe.cli.doctor import gpus; gpus.cuda_of_torch(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_torch_that_cannot_be_imported_is_a_failure(
    patience: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch.so: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    found = gpus.check_torch()[-1]
    assert found.level == "failure"
    assert "libtorch.so: cannot open" in found.found


@pytest.mark.parametrize(
    ("cuda", "driver", "capability", "level", "file"),
    [
        ("13.0", "580.65.06", "9.0", "ok", ""),
        ("13.0", "590.44.01", "12.0", "ok", ""),
        ("13.0", "570.211.01", "9.0", "failure", "requirements-cu126.lock"),
        ("13.0", "580.65.06", "7.0", "failure", "requirements-cu126.lock"),
        ("13.0", "470.82.01", "7.0", "failure", "driver of version 580"),
        ("13.0", "570.86.10", "10.0", "failure", "driver of version 580"),  # Blackwell: no build for CUDA 12.6
        ("12.6", "570.211.01", "9.0", "ok", ""),
        ("12.6", "580.65.06", "10.0", "failure", "requirements-cuda.lock"),
        ("12.8", "580.65.06", "9.0", "warning", "requirements-cuda.lock"),
        (None, "580.65.06", "9.0", "failure", "requirements-cuda.lock"),
        (None, "550.54.14", "8.0", "failure", "requirements-cu126.lock"),
    ],
)
def test_torchs_build_must_suit_driver_and_cards_else_a_file_is_named(
    programs: Path,
    monkeypatch: pytest.MonkeyPatch,
    cuda: str | None,
    driver: str,
    capability: str,
    level: str,
    file: str,
) -> None:
    nvidia_smi(programs, f"{CARD}, NVIDIA GPU, {driver}, 4, 81559, {capability}")
    monkeypatch.setattr(gpus, "cuda_of_torch", lambda: cuda)

    build, device = gpus.check_gpus()

    assert (build.level, device.level) == (level, "ok")
    assert file in build.fix
    assert device.found == f"{CARD} NVIDIA GPU, 0 of 80 GiB used: free"


def test_a_driver_that_does_not_know_of_capabilities_is_too_old(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        f'case "$*" in *compute_cap*) echo \'Field "compute_cap" is not a valid field to query.\'; exit 2;; '
        f"-L) echo 'GPU 0: Tesla (UUID: {CARD})';; *) echo '{CARD}, Tesla, 450.80.02, 0, 16384';; esac"
    )
    stand_in(programs, "nvidia-smi", script)
    monkeypatch.setattr(gpus, "cuda_of_torch", lambda: "13.0")

    assert "450.80.02, is older than 580" in gpus.check_gpus()[0].found


def test_hidden_gpus_and_none_leave_the_cpu(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(gpus.check_gpus()) == Finding("ok", "none here: trainings use the CPU")

    nvidia_smi(programs, f"{CARD}, NVIDIA GPU, 570.0, 4, 81559, 9.0")
    monkeypatch.setenv(MASK, "")
    assert one(gpus.check_gpus()).level == "ok"


def test_a_card_left_out_is_not_judged(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(programs, f"{CARD}, NVIDIA H200, 580.0, 4, 81559, 9.0", f"{OTHER}, Tesla V100, 580.0, 4, 16384, 7.0")
    monkeypatch.setattr(gpus, "cuda_of_torch", lambda: "13.0")
    assert "no code for Tesla V100" in gpus.check_gpus()[0].found

    monkeypatch.setenv(MASK, "0")
    assert levels(gpus.check_gpus()) == ["ok", "ok", "ok"]
    assert gpus.check_gpus()[-1].found.endswith(f"(hidden by {MASK}): free")


def test_who_holds_a_device_is_named(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATED, "0,1")
    code = """import time; from collabpipe.host.gpu_lease import lease_device
print(lease_device(), flush=True); time.sleep(60)"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        leased = holder.stdout.readline().strip()
        held, free = sorted(gpus.check_gpus(), key=lambda finding: finding.found.endswith("free"))
    finally:
        holder.kill()
        holder.communicate()

    assert held.found.startswith(f"{leased}: leased: pid {holder.pid} of ")
    assert free.found.endswith(": free")


def test_a_card_in_use_without_a_lease_is_a_warning(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(programs, f"{CARD}, NVIDIA H200, 580.0, 40960, 81559, 9.0")
    monkeypatch.setattr(gpus, "cuda_of_torch", lambda: "13.0")

    assert levels(gpus.check_gpus()) == ["ok", "warning"]


@pytest.mark.parametrize(("loaded", "level"), [(False, "warning"), (True, "failure")])
def test_a_driver_that_does_not_answer_fails_where_it_is_loaded(
    programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loaded: bool, level: str
) -> None:
    stand_in(programs, "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    monkeypatch.setattr(gpus, "DRIVER_FILE", tmp_path if loaded else tmp_path / "none")

    found = one(gpus.check_gpus())
    assert found.level == level
    assert "version mismatch" in found.found


def test_a_command_that_hangs_is_killed_with_what_it_started(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(programs, "nvidia-smi", f"/bin/sleep 90 > /dev/null 2>&1 & echo $! > {programs}/pid; wait")
    monkeypatch.setattr(asking, "COMMAND_SECONDS", 5.0)  # until then it has long started its child

    assert "has not answered in 5 s" in one(gpus.check_gpus()).found
    child = int((programs / "pid").read_text())
    deadline = time.monotonic() + 60  # less than the child would sleep
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "the child still runs"
            time.sleep(0.01)  # a killed process ends when the kernel next gives it a core


def test_the_file_for_older_drivers_pins_what_the_lock_pins() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    pins = dict(
        re.findall(r"^(\S+)==(\S+)\+cu126$", (REPOSITORY / "requirements-cu126.lock").read_text(), re.MULTILINE)
    )

    assert set(pins) == {"torch", "torchvision"}
    assert all(f"\n{name}=={version} \\\n" in lock for name, version in pins.items())
    for build in gpus.BUILDS:
        for file in re.findall(r"-r (\S+?\.lock)", build.fix):
            assert (REPOSITORY / file).exists()


def test_threads_beyond_the_cores_are_a_warning(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = project / "config" / "config.yaml"
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "cpu_quota", lambda: float("inf"))
    assert levels(machine.check_threads([config])) == ["ok"]

    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert levels(machine.check_threads([config])) == ["ok", "warning"]
    monkeypatch.setattr(machine, "cpu_quota", lambda: 0.5)
    assert machine.check_threads([config])[1].fix == "snakemake --cores 1"

    config.write_text(yaml.safe_dump(altered({"training": {"threads": 4096}})))
    assert machine.check_threads([config])[0].level == "warning"


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/job/step\n", {"job/cpu.max": "150000 100000\n", "job/step/cpu.max": "max 100000\n"}, 1.5),
        ("0::/outside\n", {"cpu.max": "200000 100000\n"}, 2.0),  # a container's own root
        (
            "4:memory:/x\n3:cpu,cpuacct:/job\n0::/\n",
            {"cpu/job/cpu.cfs_quota_us": "300000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            3.0,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ("0::/\n", {}, float("inf")),
    ],
    ids=["version 2", "container", "version 1", "no limit", "no files"],
)
def test_quotas_of_both_versions_of_control_groups(
    tmp_path: Path, membership: str, files: dict[str, str], expected: float
) -> None:
    (tmp_path / "own").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert machine.cpu_quota(tmp_path / "own", tmp_path / "root") == expected


def test_a_full_disk_is_told_before_it_is_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "NONE_BYTES", 0)
    monkeypatch.setattr(machine, "NONE_INODES", 0)
    monkeypatch.setattr(machine, "LOW_BYTES", 1e30)
    assert levels(machine.check_disk(tmp_path / "results" / "deep")) == ["warning", "warning"]

    monkeypatch.setattr(machine, "NONE_BYTES", 1e30)
    assert levels(machine.check_disk(tmp_path)) == ["failure", "failure"]


def test_files_and_locks_are_tried_where_the_results_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.check_results(tmp_path / "results")

    assert levels(found) == ["ok", "ok"]
    assert found[0].found.endswith("can be written, locks hold")
    assert not list(tmp_path.iterdir())

    monkeypatch.setattr(machine, "file_system", lambda _: "nfs4")
    assert "shared between hosts" in machine.check_results(tmp_path)[0].found


def test_a_folder_that_nobody_can_write_is_a_failure() -> None:
    assert one(machine.check_results(Path("/proc/results"))).level == "failure"


@pytest.mark.parametrize("refused", [True, False])
def test_locks_that_do_not_hold_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    def flock(file: object, how: int) -> None:
        if refused:
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)

    assert "locks do not hold" in machine.check_results(tmp_path)[0].found
    assert machine.check_results(tmp_path)[0].level == "failure"


def test_without_a_project_of_dvc_nothing_can_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert one(services.check_dvc()).level == "warning"


def test_remotes_are_asked(project: Path, patience: None) -> None:
    links, found = services.check_dvc()
    assert (links.level, found.level) == ("ok", "warning")
    assert "no default remote" in found.found

    remote(project, "url = /mnt/no/such/folder", "verify = true")
    assert "the folder is not there" in services.check_dvc()[-1].found

    remote(project, "url = ssh://someone@127.0.0.1:9/data", "verify = true")
    found = services.check_dvc()[-1]
    assert found.level == "failure"
    assert "Connect call failed" in found.found


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "someone")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def test_a_bucket_is_there_or_not(project: Path, s3: str, patience: None) -> None:
    # A bucket of its own: all of moto's servers in a process have the same buckets.
    remote(project, "url = s3://doctors/small", f"endpointurl = {s3}", "verify = true")
    assert services.check_dvc()[-1].level == "failure"

    boto3.client("s3", endpoint_url=s3).create_bucket(Bucket="doctors")
    assert services.check_dvc()[-1] == Finding("ok", "remote lab (s3://doctors/small) answers")


SCONTROL = """case "$1" in
ping) echo 'Slurmctld(primary) at head is UP';;
show) echo 'AccountingStorageType   = accounting_storage/{}';;
esac"""


def test_slurm_is_asked_where_it_is(programs: Path) -> None:
    assert one(services.check_slurm()).level == "ok"

    stand_in(programs, "sbatch", "")
    stand_in(programs, "scontrol", SCONTROL.format("slurmdbd"))
    stand_in(programs, "sinfo", "echo 'day*|up|4|(null)'; echo 'gpu|up|2|gpu:a100:4(S:0-1)'")
    found = services.check_slurm()
    assert levels(found) == ["ok", "ok", "ok"]
    assert found[1].found == "partitions: day* (up, 4 nodes, (null)), gpu (up, 2 nodes, gpu:a100:4(S:0-1))"

    stand_in(programs, "scontrol", SCONTROL.format("none"))
    stand_in(programs, "sinfo", "echo 'day*|up|4|license:gpus:1'")
    found = services.check_slurm()
    assert levels(found) == ["ok", "ok", "warning", "warning"]
    assert "slurm-status-command: squeue" in found[-1].fix


@pytest.mark.parametrize(
    ("script", "level", "why"),
    [
        ("echo 'Slurmctld(primary) at head is DOWN'; echo '** RESTORE SLURMCTLD **'", "failure", "at head is DOWN"),
        ("echo 'scontrol: fatal: Could not establish a configuration source'; exit 1", "warning", "configuration"),
        ("exec /bin/sleep 60", "failure", "no answer in 1 s"),
    ],
)
def test_a_controller_that_does_not_answer(
    programs: Path, monkeypatch: pytest.MonkeyPatch, script: str, level: str, why: str
) -> None:
    stand_in(programs, "sbatch", "")
    stand_in(programs, "scontrol", script)
    monkeypatch.setattr(asking, "COMMAND_SECONDS", 1.0 if "sleep" in script else 600.0)

    found = one(services.check_slurm())
    assert found.level == level
    assert why in found.found


@pytest.mark.parametrize(
    ("commit", "level"),
    [
        (Commit(None, "no git", "install git"), "warning"),
        (Commit("0123456789abcdef+"), "warning"),
        (Commit("0123456789"), "ok"),
    ],
)
def test_results_can_be_traced_to_a_commit(monkeypatch: pytest.MonkeyPatch, commit: Commit, level: str) -> None:
    monkeypatch.setattr(machine, "commit", lambda: commit)

    assert one(machine.check_git()).level == level
