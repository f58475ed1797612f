"""The lease of a GPU: real processes, real locks, simulated devices."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import random
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.host import gpu_lease as lease
from tests.workspaces import REPOSITORY

FOUR = ["0", "1", "2", "3"]

HOLD = """
import json, os, signal, sys
signal.alarm(600)  # a lease that never comes fails a test instead of holding it up
from collabpipe.common.errors import CollabpipeError
from collabpipe.host import gpu_lease as lease
lease.POLL_SECONDS, lease.QUIET_SECONDS, lease.REMIND_SECONDS = 0.02, 0.1, 0.2
try:
    device = lease.lease_device(int(sys.argv[1]))
except CollabpipeError as error:
    sys.exit(f"error: {error}")
print(json.dumps([device, os.environ.get("CUDA_VISIBLE_DEVICES")]), flush=True)
"""
"""A job: it says what it was given."""

STAY = HOLD + "sys.stdin.read()"
"""A job that holds its lease until its standard input is closed."""


class Host:
    """A host with four simulated devices and a folder for their leases, as one user sees it."""

    def __init__(self, folder: Path, prefix: tuple[str, ...] = ()):
        self.folder = folder
        self.prefix = prefix
        inherited = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES" and not k.startswith("SLURM_")}
        self.environment = inherited | {
            "COLLABPIPE_DEVICES": ",".join(FOUR),
            "COLLABPIPE_LEASES": str(folder),
            "PYTHONPATH": str(REPOSITORY),
        }

    def start(self, code: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        # -S leaves out the installed libraries: the lease needs none, and a job starts in a third of the time.
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-S", "-c", code, *map(str, arguments)],
            env=self.environment | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def asking(self, jobs: int = 1, /, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """A job that stays, once it has a device."""
        process = self.start(STAY, jobs, **variables)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def holding(self, device: str, jobs: int = 1, /, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """A job that has this device and stays."""
        with self.asking(jobs, **variables) as process:
            assert device_of(process) == device
            yield process

    def run(self, jobs: int = 1, /, **variables: str) -> tuple[str | None, str | None, str]:
        """What a job was given, what CUDA_VISIBLE_DEVICES then said, and what the job said."""
        process = self.start(HOLD, jobs, **variables)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        device, mask = json.loads(out)
        return device, mask, err

    def fail(self, **variables: str) -> str:
        """The message of a job that gets no lease."""
        process = self.start(HOLD, 1, **variables)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 1, err
        return err


def device_of(process: subprocess.Popen[str]) -> str:
    """The device that a job was given, as soon as it was."""
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.stderr and process.stderr.read()
    device, mask = json.loads(line)
    assert device == mask
    return str(device)


def words_of(process: subprocess.Popen[str], lines: int) -> str:
    """The next lines that a job says."""
    assert process.stderr
    return "".join(process.stderr.readline() for _ in range(lines))


def has_spoken(process: subprocess.Popen[str], seconds: float = 0) -> bool:
    """Whether a job says within some seconds that it has a device, or ends."""
    assert process.stdout
    return bool(select.select([process.stdout], [], [], seconds)[0])


def is_waiting(process: subprocess.Popen[str]) -> bool:
    """Whether a job gets no device for a while."""
    return not has_spoken(process, 0.5)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "leases")


GUARDED = (
    HOLD
    + """
import time
marker = os.path.join(sys.argv[2], device)
signature = str(os.getpid())

def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

while True:
    try:
        os.symlink(signature, marker)  # made and signed in one step, and by one job alone
        break
    except FileExistsError:
        # Only a killed job leaves its marker. The kernel frees its lock a moment before the process is gone.
        deadline = time.monotonic() + 300
        while lives(other := os.readlink(marker)):
            if time.monotonic() > deadline:
                sys.exit(f"{device} is still used by {other}")
        os.unlink(marker)
time.sleep(float(sys.argv[3]))
if os.readlink(marker) != signature:
    sys.exit(f"{device} was taken over while in use")
os.unlink(marker)
print("done")
"""
)
"""A job that marks its device as in use, and fails where it meets another one there."""


@dataclass
class Job:
    """A job of the trial, which is killed once it has lived `doom` seconds; of those on its device if `late`."""

    process: subprocess.Popen[str]
    doom: float
    late: bool
    born: float = field(default_factory=time.monotonic)

    def step(self) -> bool:
        """Kill it if its time has come; whether it is over."""
        if self.late and has_spoken(self.process):
            self.late, self.born = False, time.monotonic()
        if not self.late and time.monotonic() - self.born >= self.doom:
            self.process.kill()
        return self.process.poll() is not None


def test_two_hundred_jobs_four_devices_random_kills(host: Host, tmp_path: Path) -> None:
    markers = tmp_path / "markers"
    markers.mkdir()
    draw = random.Random(5)  # noqa: S311
    running: list[Job] = []
    ends: Counter[str] = Counter()
    used: Counter[str] = Counter()
    usual = 0.1
    started = 0
    while started < 200 or running:
        while started < 200 and len(running) < 12:
            # Some die while Python starts, while they wait, choose or sign, some on their device.
            fate = draw.choice(["live", "live", "live", "any", "late"])
            doom = {"live": inf, "any": draw.uniform(0, 1.2 * usual), "late": draw.uniform(0, 0.02)}[fate]
            work = 60.0 if fate == "late" else draw.uniform(0.002, 0.03)
            running.append(Job(host.start(GUARDED, 1, markers, work), doom, fate == "late"))
            started += 1
        for job in [job for job in running if job.step()]:
            running.remove(job)
            out, err = job.process.communicate()
            lines = out.splitlines()
            assert job.process.returncode == -signal.SIGKILL or lines[1:] == ["done"], err
            used.update([json.loads(lines[0])[0]] if lines else [])
            ends["done" if lines[1:] else "killed with a device" if lines else "killed without"] += 1
            if lines[1:]:  # however busy the machine is
                usual = time.monotonic() - job.born
        time.sleep(0.002)

    assert sum(ends.values()) == 200
    assert ends["done"] >= 100, ends
    assert min(ends["killed with a device"], ends["killed without"]) >= 10, ends
    assert set(used) == set(FOUR)
    # None is lost: all four can be leased at once, and no fifth.
    with ExitStack() as stack:
        assert sorted(device_of(stack.enter_context(host.asking())) for _ in FOUR) == FOUR
        assert is_waiting(stack.enter_context(host.asking()))
        assert len(list(host.folder.iterdir())) == len(["turn", *FOUR]), "one slot for each, whatever happened"


def test_two_jobs_per_gpu_go_to_idle_devices_first(host: Host) -> None:
    with ExitStack() as stack:
        together = [stack.enter_context(host.asking(2)) for _ in range(4)]
        assert sorted(device_of(job) for job in together) == FOUR
        more = [stack.enter_context(host.asking(2)) for _ in range(4)]
        assert sorted(device_of(job) for job in more) == FOUR
        assert is_waiting(stack.enter_context(host.asking(2)))


def test_a_device_is_shared_only_if_both_jobs_ask_for_it(host: Host) -> None:
    one = {"COLLABPIPE_DEVICES": "0"}
    with host.holding("0", 1, **one) as alone, host.asking(2, **one) as sociable:
        assert is_waiting(sociable)
        alone.kill()
        assert device_of(sociable) == "0"
        with host.holding("0", 2, **one), host.asking(1, **one) as another:
            assert is_waiting(another)


def test_masks_of_different_users_meet_on_the_same_devices(host: Host) -> None:
    names = {"COLLABPIPE_DEVICES": "GPU-a,GPU-b"}
    with host.holding("GPU-b", CUDA_VISIBLE_DEVICES="1", **names):
        assert host.run(**names)[0] == "GPU-a"
        assert host.run(CUDA_VISIBLE_DEVICES="1,0", **names)[0] == "GPU-a"
        with host.asking(CUDA_VISIBLE_DEVICES="GPU-b", **names) as second:
            assert is_waiting(second)


def test_further_calls_in_a_process_return_the_same_lease(host: Host) -> None:
    code = HOLD + "print(lease.lease_device(), lease.lease_device(jobs_per_gpu=2), os.environ['CUDA_VISIBLE_DEVICES'])"

    out, _ = host.start(code, 1).communicate()

    assert out.splitlines()[1] == "0 0 0"


def test_a_fork_keeps_the_device_until_it_ends_too(host: Host) -> None:
    # A child that trains on goes on using the device when its parent is killed.
    code = HOLD + "if os.fork():\n    os.kill(os.getpid(), 9)\nsys.stdin.read()"
    one = {"COLLABPIPE_DEVICES": "0"}
    parent = host.start(code, 1, **one)
    device_of(parent)
    assert parent.wait() == -signal.SIGKILL

    with host.asking(**one) as waiting:
        assert is_waiting(waiting)
        assert parent.stdin
        parent.stdin.close()
        assert device_of(waiting) == "0"


def test_a_programme_that_the_job_starts_does_not_keep_the_device(host: Host) -> None:
    code = (
        HOLD + "import subprocess; print(subprocess.Popen(['sleep', '600'], close_fds=False, stdout=-3, stderr=-3).pid)"
    )
    one = {"COLLABPIPE_DEVICES": "0"}
    out, _ = host.start(code, 1, **one).communicate()
    try:
        assert host.run(**one)[0] == "0"
    finally:
        os.kill(int(out.splitlines()[1]), signal.SIGKILL)


def test_who_waits_says_for_whom_and_says_it_again(host: Host) -> None:
    one = {"COLLABPIPE_DEVICES": "0"}
    with host.holding("0", **one) as holder, host.asking(**one) as waiting:
        line = rf"  0: pid {holder.pid} of \S+ since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d, at most 1 per GPU\n"
        assert re.fullmatch(rf"gpu: waiting for one of 1, after 0 s:\n{line}" * 2, words_of(waiting, 4))
        holder.kill()
        device_of(waiting)
        waiting.kill()
        assert waiting.communicate()[1].endswith("gpu: leased 0\n")


def test_who_waits_for_a_process_that_was_stopped_while_it_chose_says_so(host: Host) -> None:
    host.run()
    turn = (host.folder / "turn").open("r+")
    fcntl.flock(turn, fcntl.LOCK_EX)
    with host.asking() as waiting:
        assert re.search(r"pid \d+ of .*, who is choosing\n", words_of(waiting, 2))
        turn.close()
        device_of(waiting)


def test_nobody_waits_or_speaks_of_waiting_on_an_idle_host(host: Host) -> None:
    assert host.run() == ("0", "0", "gpu: leased 0\n")


def test_holders_are_told_without_disturbing_anybody(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lease.FOLDER, str(host.folder))
    gpus: dict[str, list[str]] = {gpu: [] for gpu in FOUR}
    assert lease.lease_holders(gpus) == {gpu: [] for gpu in FOUR}
    with host.holding("2", CUDA_VISIBLE_DEVICES="2") as holder:
        holders = lease.lease_holders(gpus)
        assert [len(of_one) for of_one in holders.values()] == [0, 0, 1, 0]
        assert holders["2"][0].startswith(f"pid {holder.pid} of ")
    assert lease.lease_holders(gpus) == {gpu: [] for gpu in FOUR}


def test_slurms_choice_is_left_alone(host: Host) -> None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "1"}

    assert host.run(CUDA_VISIBLE_DEVICES="1", **slurm) == (None, "1", "")
    assert host.run(**slurm) == (None, None, "")
    assert not host.folder.exists()


def test_several_devices_of_one_allocation_are_leased(host: Host) -> None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "2,3"}
    with host.holding("2", **slurm):
        assert host.run(**slurm)[0] == "3"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"COLLABPIPE_DEVICES": ""}, "this host has none"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES= names none"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES=-1 names none"),
        ({"CUDA_VISIBLE_DEVICES": "4"}, "CUDA_VISIBLE_DEVICES=4 names none"),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, "CUDA_VISIBLE_DEVICES=NoDevFiles names none"),
    ],
)
def test_without_a_gpu_the_cpu_is_used_which_is_said_once(host: Host, variables: dict[str, str], words: str) -> None:
    process = host.start(HOLD + "lease.lease_device()", 1, **variables)
    out, err = process.communicate()

    assert err == f"gpu: {words}; computing on the CPU\n"
    assert json.loads(out) == [None, ""]
    assert not host.folder.exists()


def test_the_folder_and_its_files_are_everyones_whatever_the_umask(host: Host) -> None:
    host.start(f"import os; os.umask(0o077)\n{HOLD}", 1).communicate()

    assert stat.S_IMODE(host.folder.stat().st_mode) == 0o1777
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in host.folder.iterdir()} == {
        "turn": 0o666,
        "0.0": 0o666,
    }


@contextmanager
def everyones_folder() -> Iterator[Path]:
    """A folder that other users reach too, as pytest's are not."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
may_be_another = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can start another user's jobs"
)


@may_be_another
def test_users_wait_for_each_other() -> None:
    one = {"COLLABPIPE_DEVICES": "0"}
    with everyones_folder() as parent:
        parent.chmod(0o1777)
        we, they = Host(parent / "leases"), Host(parent / "leases", AS_NOBODY)
        with they.holding("0", **one) as theirs, we.asking(**one) as ours:
            assert is_waiting(ours)
            theirs.kill()
            device_of(ours)
            assert {path.owner() for path in we.folder.iterdir()} == {pwd.getpwuid(65534).pw_name}
            with they.asking(**one) as again:
                assert f"0: pid {ours.pid} of root" in words_of(again, 2)


@may_be_another
def test_a_folder_that_cannot_be_written_is_an_error_with_its_fix() -> None:
    with everyones_folder() as parent:
        they = Host(parent / "leases", AS_NOBODY)
        assert "Permission denied" in they.fail()
        they.folder.mkdir(0o755)
        assert re.match(
            rf"error: {they.folder}/turn: no GPU can be leased \(Permission denied\). .*needs mode 1777.*"
            "Or set COLLABPIPE_LEASES to another",
            they.fail(),
        )


def test_something_else_in_the_folders_place_is_an_error(host: Host, tmp_path: Path) -> None:
    host.folder.write_text("a file")
    assert "leases: no GPU can be leased (File exists)" in host.fail()

    host.folder.unlink()
    (tmp_path / "elsewhere").mkdir()
    host.folder.symlink_to(tmp_path / "elsewhere")
    assert "leases: no GPU can be leased (Not a directory)" in host.fail()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
@pytest.mark.parametrize("name", ["turn", "0.0"])
def test_a_link_to_somebodys_file_is_refused_and_the_file_untouched(
    host: Host, tmp_path: Path, link: Callable[[Path, Path], None], name: str
) -> None:
    mine = tmp_path / "thesis.tex"
    mine.write_text("five years of work")
    host.folder.mkdir()
    link(host.folder / name, mine)

    assert f"{name}: no GPU can be leased" in host.fail()
    assert mine.read_text() == "five years of work"


def test_a_pipe_in_the_place_of_a_lock_file_is_refused(host: Host) -> None:
    host.folder.mkdir()
    os.mkfifo(host.folder / "0.0")

    assert "not a plain file" in host.fail()


def test_a_signature_that_nobody_writes_is_not_repeated(host: Host) -> None:
    # Another user could send commands to the terminal of whoever waits.
    one = {"COLLABPIPE_DEVICES": "0"}
    with host.holding("0", 2, **one):
        (host.folder / "0.0").write_text("\x1b[2Jpid 1 of root since 2020-01-01 00:00:00, at most 9 per GPU")
        with host.asking(2, **one) as waiting:
            assert words_of(waiting, 2).endswith("  0: a process that did not sign\n")


def test_a_network_file_system_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(lease.FOLDER, str(tmp_path))
    tell = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True)
    kind = {"ext2/ext3": "ext4", "overlayfs": "overlay"}.get(tell.stdout.strip(), tell.stdout.strip())
    assert lease.lease_holders({"0": []}) == {"0": []}
    monkeypatch.setattr(lease, "NETWORK", {kind})

    with pytest.raises(CollabpipeError, match=rf"network file system \({kind}\).*COLLABPIPE_LEASES"):
        lease.lease_holders({"0": []})


def test_the_folder_is_guarded_from_systemds_cleaning(host: Host) -> None:
    with host.holding("0"):
        folder = os.open(host.folder, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(folder)
