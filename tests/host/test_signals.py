"""Signals: a training saves, leaves with its own exit code, and goes on to the same bits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collabpipe.host.signals import EXIT_CODE, SIGNALS, Interrupted, Interruption
from collabpipe.host.writer import CLAIM
from collabpipe.results.store import Store
from tests.jobs.test_resume import Desk, study
from tests.workspaces import Lab

OFTEN = ["--save-seconds", "0"]
ENDLESS = 10**6
"""Epochs of a training that does not end before it is interrupted, however long the machine takes for that."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of the tests' own process, put back whatever becomes of them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def begin(desk: Desk, *methods: str) -> subprocess.Popen[str]:
    """The train command as a user's shell or a scheduler starts it; it saves after every epoch."""
    recipes = [str(desk.recipes[method]) for method in methods]
    return subprocess.Popen(
        ["collabpipe", "train", *recipes, *desk.paths.options, *OFTEN],
        env=desk.workspace.environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Until the process says something."""
    assert process.stderr
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"ended without saying {pattern}")


def wait_for_a_state(process: subprocess.Popen[str], state: Path) -> None:
    """Until the training has saved by itself, as it does once it is well under way."""
    before = state.stat().st_ino if state.exists() else None
    give_up = time.monotonic() + 600
    while not state.exists() or state.stat().st_ino == before:
        assert process.poll() is None, "ended too soon"
        assert time.monotonic() < give_up
        time.sleep(0.01)


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=600)
    return process.returncode, err


def test_each_signal_loses_nothing_and_the_same_command_goes_on_to_the_same_bits(lab: Lab, tmp_path: Path) -> None:
    undisturbed, disturbed = (Desk(lab, tmp_path / name, study(epochs=120)) for name in ("calm", "rough"))
    calm = begin(undisturbed, "baseline", "temporal")
    reached = (0, 0)
    for number in SIGNALS:
        process = begin(disturbed, "baseline", "temporal")
        if reached > (0, 0):
            continued = wait_for(process, r"continues after epoch (\d+), step (\d+)")
            assert tuple(map(int, continued.groups())) == reached
        wait_for_a_state(process, disturbed.state("baseline"))
        process.send_signal(number)
        code, err = end_of(process)
        assert code == EXIT_CODE, err
        saved = re.search(r"saved after epoch (\d+), step (\d+)", err)
        assert saved, err
        before, reached = reached, (int(saved[1]), int(saved[2]))
        assert reached > before
        assert f"interrupted by {number.name}; run the same command again to continue" in err
        assert "Traceback" not in err
        assert disturbed.state("baseline").exists()
        assert not disturbed.kept("temporal").exists(), "the next recipe was not begun"
    assert end_of(begin(disturbed, "baseline", "temporal"))[0] == 0
    assert end_of(calm)[0] == 0
    for method in ("baseline", "temporal"):
        assert disturbed.record(method)["digest"] == undisturbed.record(method)["digest"]
    # Each of the 4 steps of each epoch was made once.
    seconds = disturbed.cost("baseline")["epoch_seconds"]
    assert len(seconds) == 120
    assert min(seconds) > 0


def test_of_several_signals_the_first_counts_and_sigcont_is_nothing(lab: Lab, tmp_path: Path) -> None:
    desk = Desk(lab, tmp_path, study(epochs=ENDLESS))
    process = begin(desk, "baseline")
    wait_for_a_state(process, desk.state("baseline"))
    process.send_signal(signal.SIGCONT)
    wait_for_a_state(process, desk.state("baseline"))  # it goes on
    for number in (signal.SIGUSR1, signal.SIGCONT, signal.SIGTERM, signal.SIGTERM):
        process.send_signal(number)
    code, err = end_of(process)
    assert code == EXIT_CODE
    assert "interrupted by SIGUSR1" in err
    assert [path.name for path in desk.kept("baseline").iterdir() if path.name.endswith(".part")] == []


def test_who_only_waits_leaves_at_once(lab: Lab, tmp_path: Path) -> None:
    desk = Desk(lab, tmp_path, study(epochs=2))
    with Store(desk.paths.store).writing(desk.kept("baseline").name):
        process = begin(desk, "baseline")
        wait_for(process, f"waiting for process {os.getpid()} on")
        process.terminate()
        assert end_of(process)[0] == EXIT_CODE, "although the other is still at work"
    assert not desk.state("baseline").exists()


def test_a_signal_ends_work_at_once_unless_it_is_deferred() -> None:
    def finish(interruption: Interruption) -> None:
        with interruption.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(interruption.caught)

    done: list[signal.Signals | None] = []
    with Interruption(), pytest.raises(Interrupted, match="SIGUSR1"):
        os.kill(os.getpid(), signal.SIGUSR1)
    with Interruption() as interruption, pytest.raises(Interrupted, match="SIGTERM"):
        finish(interruption)
    assert done == [signal.SIGTERM]


def test_handlers_are_put_back_but_not_for_who_leaves_because_of_one() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    with pytest.raises(Interrupted), Interruption():
        os.kill(os.getpid(), signal.SIGTERM)
    assert {signal.getsignal(number) for number in SIGNALS} == {signal.SIG_IGN}


def test_signals_that_go_on_until_the_end_change_no_exit_code(lab: Lab, tmp_path: Path) -> None:
    desk = Desk(lab, tmp_path, study(epochs=ENDLESS))
    process = begin(desk, "baseline")
    wait_for_a_state(process, desk.state("baseline"))
    while process.poll() is None:
        process.terminate()
        time.sleep(0.02)
    code, err = end_of(process)
    assert code == EXIT_CODE, err
    assert "saved after epoch" in err


def test_a_signal_counts_although_the_state_cannot_be_saved(lab: Lab, tmp_path: Path) -> None:
    desk = Desk(lab, tmp_path, study(epochs=ENDLESS))
    process = begin(desk, "baseline", "temporal")
    wait_for_a_state(process, desk.state("baseline"))
    # Another has taken over: nothing may be written.
    (desk.kept("baseline") / CLAIM).write_text('{"token": "another", "pid": 5, "host": "n2"}')
    process.terminate()
    code, err = end_of(process)
    assert code == EXIT_CODE, err
    assert "saved after epoch" not in err
    assert not desk.kept("temporal").exists(), "the next recipe was not begun"
