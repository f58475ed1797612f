"""One writer per folder: real processes, some of which act as hosts between which locks are not passed on."""

from __future__ import annotations

import errno
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.host.writer import CLAIM, Writer, claimed_elsewhere, writing
from collabpipe.results.store import Store

HOST = """
import os, signal, sys
from pathlib import Path
signal.alarm(600)
from collabpipe.host import writer
folder, host = Path(sys.argv[1]), sys.argv[2]
writer.BEAT_SECONDS, writer.SILENT_SECONDS, writer.POLL_SECONDS = 0.05, float(os.environ.get("SILENT", 2)), 0.02
if host != "here":
    # Another kernel, whose locks nobody here sees.
    writer._this_kernel = lambda: host
    writer.platform.node = lambda: host
    reach = writer.FileLock
    writer.FileLock = lambda path: reach(f"{path}.{host}")
"""
HOLD = f"""{HOST}
with writer.writing(folder) as claim:
    print("holds", flush=True)
    for line in sys.stdin:
        claim.check()
        print("still", flush=True)
"""
"""Holds the folder and answers every line as long as nobody has taken over."""

# A step is never shared: each marks its beginning and its end, and waits a little in between.
WORK = f"""{HOST}
import time
with writer.writing(folder) as claim:
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"begin {{os.getpid()}}\\n".encode())
    time.sleep(0.05)
    claim.check()
    os.write(log, f"end {{os.getpid()}}\\n".encode())
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(code: str, folder: Path, host: str = "here", **variables: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", code, str(folder), host]
        process = subprocess.Popen(
            command, env=os.environ | variables, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def told(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    return process.stderr.readline().strip()


def ask(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("?\n")
    process.stdin.flush()


def claimant(folder: Path) -> dict[str, Any]:
    claim: dict[str, Any] = json.loads((folder / CLAIM).read_text())
    return claim


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()
    process.stdin = None
    assert process.wait(timeout=300) == 0


# --- one host ---------------------------------------------------------------------------------------------------------


def test_the_claim_names_the_writer_and_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with writing(tmp_path / "new" / "folder") as writer:
        claim = claimant(writer.folder)
        assert (claim["pid"], claim["host"], claim["job"]) == (os.getpid(), platform.node(), "17")
        writer.check()
    assert sorted(path.name for path in writer.folder.iterdir()) == ["lock"]


def test_the_second_waits_says_for_whom_and_comes_next(start: Start, tmp_path: Path) -> None:
    first = start(HOLD, tmp_path, SLURM_JOB_ID="4711")
    assert line(first) == "holds"
    second = start(HOLD, tmp_path)
    message = told(second)
    assert f"waiting for process {first.pid} on {platform.node()} (SLURM job 4711) since 20" in message
    assert str(tmp_path) in message
    ask(first)
    assert line(first) == "still"

    let_go(first)

    assert line(second) == "holds"
    let_go(second)


def test_a_killed_writer_is_followed_at_once(start: Start, tmp_path: Path) -> None:
    first = start(HOLD, tmp_path)
    assert line(first) == "holds"
    second = start(HOLD, tmp_path, SILENT="3600")  # nor after a silence
    assert "waiting" in told(second)

    first.kill()

    assert f"takes over from process {first.pid} on" in told(second)
    assert line(second) == "holds"


def test_a_claim_that_a_power_failure_left_empty_holds_nobody_up_for_long(start: Start, tmp_path: Path) -> None:
    (tmp_path / CLAIM).touch()
    process = start(HOLD, tmp_path)
    assert line(process) == "holds"


# --- several hosts ----------------------------------------------------------------------------------------------------


def test_a_writer_of_another_host_is_waited_for_while_it_shows_signs_of_life(start: Start, tmp_path: Path) -> None:
    first = start(HOLD, tmp_path, "n1")
    assert line(first) == "holds"
    second = start(HOLD, tmp_path, "n2")
    assert f"waiting for process {first.pid} on n1" in told(second)

    time.sleep(4.5)  # more than twice the silence that would count as death

    ask(first)
    assert line(first) == "still"
    let_go(first)
    assert line(second) == "holds"


def test_a_writer_of_another_host_that_died_is_followed_after_its_silence(start: Start, tmp_path: Path) -> None:
    first = start(HOLD, tmp_path, "n1")
    assert line(first) == "holds"
    first.kill()
    began = time.monotonic()

    second = start(HOLD, tmp_path, "n2")

    assert line(second) == "holds"
    assert time.monotonic() - began > 2.0
    assert "waiting" in told(second)
    assert f"takes over from process {first.pid} on n1" in told(second)


def test_a_suspended_writer_finds_out_that_it_was_followed_before_it_writes(start: Start, tmp_path: Path) -> None:
    first = start(HOLD, tmp_path, "n1")
    assert line(first) == "holds"
    first.send_signal(signal.SIGSTOP)
    second = start(HOLD, tmp_path, "n2")
    assert line(second) == "holds"

    first.send_signal(signal.SIGCONT)
    ask(first)

    assert first.wait(timeout=300) == 1
    assert first.stderr
    error = first.stderr.read()
    assert f"was taken over by process {second.pid} on n2" in error
    assert claimant(tmp_path)["pid"] == second.pid, "who leaves takes nobody else's claim along"
    ask(second)
    assert line(second) == "still"
    let_go(second)
    assert not (tmp_path / CLAIM).exists()


def test_never_two_at_once_on_three_hosts_under_random_kills(start: Start, tmp_path: Path) -> None:
    draw = random.Random(5)  # noqa: S311
    processes = {str(process.pid): process for process in (start(WORK, tmp_path, f"n{n % 3}") for n in range(24))}
    log = tmp_path / "log"
    log.touch()
    seen, killed = set[str](), set[str]()
    while len(killed) < 6 and any(process.poll() is None for process in processes.values()):
        what, _, pid = (log.read_text().splitlines() or [""])[-1].partition(" ")
        if what == "begin" and pid not in seen:
            seen.add(pid)
            if draw.random() < 0.5:  # while it is at work
                processes[pid].kill()
                killed.add(pid)
        time.sleep(0.005)
    ended = {pid: process.wait(timeout=600) for pid, process in processes.items()}

    marks = [mark.split() for mark in log.read_text().splitlines()]
    inside: str | None = None
    for what, pid in marks:
        if what == "begin":
            assert inside is None or inside in killed, f"{pid} began while {inside} was at work"
            inside = pid
        else:
            assert inside == pid
            inside = None
    finished = {pid for what, pid in marks if what == "end"}
    # None is lost: whoever was not killed had his turn.
    assert set(ended) - killed <= finished
    assert all(code == 0 for pid, code in ended.items() if pid not in killed)
    assert len(killed - finished) > 2, "writers were killed at their work"


def test_two_that_were_suspended_together_take_nothing_from_each_other(start: Start, tmp_path: Path) -> None:
    first = start(HOLD, tmp_path, "n1")
    assert line(first) == "holds"
    second = start(HOLD, tmp_path, "n2")
    assert "waiting" in told(second)
    for process in (first, second):
        process.send_signal(signal.SIGSTOP)
    time.sleep(4.5)

    second.send_signal(signal.SIGCONT)
    time.sleep(0.2)
    first.send_signal(signal.SIGCONT)

    ask(first)
    assert line(first) == "still"
    let_go(first)
    assert line(second) == "holds"


def test_a_claim_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        (tmp_path / CLAIM).unlink()
        writer.check()
        assert claimant(tmp_path)["token"] == writer.token


def test_without_hard_links_there_is_one_writer_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with writing(tmp_path) as writer:
        writer.check()
        assert not Writer(tmp_path).try_claim()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


def test_who_leaves_by_any_exception_leaves_no_claim(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing(tmp_path):
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


def test_another_claim_that_came_in_between_is_put_back(tmp_path: Path) -> None:
    newer, slow = Writer(tmp_path), Writer(tmp_path)
    assert newer.try_claim()

    slow.remove("a dead one's that is gone by now")

    assert claimant(tmp_path)["token"] == newer.token
    newer.check()
    assert [path.name for path in tmp_path.iterdir()] == [CLAIM]
    assert not slow.try_claim()
    with pytest.raises(CollabpipeError, match=f"taken over by process {os.getpid()} on"):
        slow.check()


def test_nothing_is_adopted_where_another_host_is_at_work(start: Start, tmp_path: Path) -> None:
    key = "ab" + "0" * 62
    store, source = Store(tmp_path / "store"), tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("from elsewhere")
    writer = start(HOLD, store.folder(key), "n1")
    store.folder(key).mkdir(parents=True, exist_ok=True)
    assert line(writer) == "holds"
    assert claimed_elsewhere(store.folder(key))

    store.adopt(key, source, {"a": "0"}, {})
    assert not (store.folder(key) / "result.json").exists()

    let_go(writer)
    store.adopt(key, source, {"a": "0"}, {})
    assert (store.folder(key) / "result.json").exists()
