"""Killed, cut short, out of space: a training ends with the bits of an undisturbed one, or with one clear message."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, save, save_file

from collabpipe.cli import main
from collabpipe.common.files import read_json
from collabpipe.plan.plan import Plan
from collabpipe.results.store import Store
from collabpipe.settings.study import check_settings
from collabpipe.training.checkpoint import weights_digest
from collabpipe.training.engine import Training
from tests.workspaces import Lab, Workspace, altered, key_of

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
}
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["collabpipe.training.engine", "collabpipe.jobs.train"])


def study(epochs: int, measure_every: int = 1) -> dict[str, Any]:
    """The study of all five methods, with one seed."""
    return STUDY | {"training": {"epochs": epochs, "measure_every": measure_every}}


def run_name(method: str) -> str:
    return f"digits/symmetric-0.5/resnet8/{method}/seed0"


class Desk:
    """A results folder ready for training, and the commands by hand."""

    def __init__(self, lab: Lab, root: Path, changes: dict[str, Any]):
        self.workspace = Workspace(root)
        self.paths, recipes = lab.lay_out(root, changes)
        self.plan = Plan(check_settings(altered(changes), {}), self.paths.root)
        self.recipes = {name.split("/")[3]: path for name, path in recipes.items()}

    def command(self, *methods: str) -> list[str | Path]:
        recipes = [self.recipes[method] for method in methods]
        return ["collabpipe", "train", *recipes, *self.paths.options, "--save-seconds", "0"]

    def main(self, command: str, method: str) -> int:
        """The command line in this process."""
        options = ["--save-seconds", "0"] if command == "train" else []
        return main([command, str(self.recipes[method]), *self.paths.options, *options])

    def kept(self, method: str) -> Path:
        """The store's folder of a method's training."""
        return Store(self.paths.store).folder(key_of(self.plan, run_name(method)))

    def state(self, method: str) -> Path:
        return self.kept(method) / "state.safetensors"

    def folder(self, method: str) -> Path:
        return self.paths.run(self.plan.runs[run_name(method)].run)

    def record(self, method: str) -> dict[str, Any]:
        record: dict[str, Any] = read_json(self.folder(method) / "record.json")
        return record

    def cost(self, method: str) -> dict[str, Any]:
        cost: dict[str, Any] = read_json(self.paths.provenance(self.folder(method)))["cost"]
        return cost


# --- killed ----------------------------------------------------------------------------------------------------------


@contextmanager
def started_by_command(desk: Desk, method: str) -> Iterator[Callable[[], bool]]:
    """The training in a process of its own, killed in the end; yields whether it still runs."""
    process = desk.workspace.start(*desk.command(method))
    try:
        yield lambda: process.poll() is None
    finally:
        process.kill()
        process.wait()


@contextmanager
def started_by_fork(desk: Desk, method: str) -> Iterator[Callable[[], bool]]:
    """The same command line, in a fork of a process that has imported torch already: dozens of kills in seconds."""
    process = FORKS.Process(target=main, args=([str(part) for part in desk.command(method)[1:]],))
    process.start()
    try:
        yield process.is_alive
    finally:
        process.kill()
        process.join()


def wait_for_saves(alive: Callable[[], bool], state: Path, count: int) -> float:
    """Until the training has been seen to save its state `count` times, or has ended; the seconds between two."""

    def stamp() -> tuple[int, int] | None:
        try:
            found = state.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    before, times = stamp(), [time.monotonic()]
    while len(times) <= count:
        now = stamp()
        if now not in (before, None):
            before = now
            times.append(time.monotonic())
        if not alive():  # this process was asleep for longer than the training took
            return 0.0
        assert time.monotonic() < times[0] + 600
        time.sleep(0.001)
    return times[-1] - times[-2]


@pytest.mark.parametrize(("start", "methods"), [(started_by_command, ["heads"]), (started_by_fork, list(METHODS))])
def test_killed_trainings_end_with_the_weights_of_undisturbed_ones(
    lab: Lab,
    tmp_path: Path,
    start: Callable[[Desk, str], AbstractContextManager[Callable[[], bool]]],
    methods: list[str],
) -> None:
    changes = study(epochs=30, measure_every=5)
    undisturbed, killed = (Desk(lab, tmp_path / name, changes) for name in ("undisturbed", "killed"))
    moments = random.Random(0)  # noqa: S311 (no secret)
    kills = 0
    for method in methods:
        for _ in range(3):
            with start(killed, method) as alive:
                epoch_seconds = wait_for_saves(alive, killed.state(method), moments.randint(2, 3))
                # At any moment of an epoch: within a step, a measurement or the writing of the next state.
                time.sleep(moments.uniform(0.0, epoch_seconds))
            kills += not (killed.kept(method) / "result.json").exists()
        assert undisturbed.main("train", method) == 0
    killed.workspace.run(*killed.command(*methods))
    assert kills, "all of them had finished before they were killed"
    for method in methods:
        expected, record = undisturbed.record(method), killed.record(method)
        assert record["weights"] == expected["weights"], method
        assert record["best_epoch"] == expected["best_epoch"], method
        assert record["digest"] == expected["digest"], method
        # 30 epochs in all, whatever was trained twice.
        assert killed.cost(method)["steps"] == 120
        assert not killed.state(method).exists()


def test_a_second_writer_of_a_run_waits_and_takes_the_result_of_the_first(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(lab, tmp_path, study(epochs=24))
    with started_by_fork(desk, "baseline") as alive:
        wait_for_saves(alive, desk.state("baseline"), 2)
        assert desk.main("train", "baseline") == 0
    printed = capsys.readouterr().err
    assert "in the store already" in printed
    assert "continues after" not in printed
    assert desk.cost("baseline")["steps"] == 96


# --- between any two steps -------------------------------------------------------------------------------------------


def comparable(history: list[dict[str, float]]) -> list[dict[str, float | str]]:
    """A history with nan as a word, since it is not equal to itself."""
    return [{k: v if v == v else "nan" for k, v in row.items()} for row in history]


def ending(training: Training) -> dict[str, Any]:
    """All that must not depend on where a training was interrupted."""
    return {
        "last": weights_digest(training.method.state_dict()),
        "best": weights_digest(training.best),
        "best_epoch": training.best_epoch,
        "momentum": weights_digest({str(i): m for i, m in enumerate(training.optimiser.momentum)}),
        "history": comparable(training.history),
    }


@pytest.mark.parametrize("method", METHODS)
def test_a_state_taken_after_any_step_continues_to_the_same_bits(lab: Lab, method: str) -> None:
    recipe = lab.recipe(study(epochs=3, measure_every=2), method)
    training = lab.training(recipe)
    # Through bytes, as through a file: a state shares no memory with the training that goes on.
    states: list[tuple[bytes, str]] = []
    tensors, rest = training.state()
    states.append((save(tensors, rest), rest["state"]))
    for _ in training.run():
        tensors, rest = training.state()
        states.append((save(tensors, rest), rest["state"]))
    expected = ending(training)
    assert len(states) == 13
    assert {json.loads(rest)["step"] for _, rest in states} == {0, 1, 2, 3}
    for data, text in states:
        continued = lab.training(recipe)
        continued.restore(load(data), {"state": text})
        for _ in continued.run():
            pass
        assert ending(continued) == expected, f"epoch {json.loads(text)['epoch']}, step {json.loads(text)['step']}"


def test_the_command_trains_to_the_same_bits_as_its_engine_does(lab: Lab, tmp_path: Path) -> None:
    desk = Desk(lab, tmp_path, study(epochs=3))
    assert desk.main("train", "heads") == 0
    training = lab.trained(desk.plan.runs[run_name("heads")])
    assert desk.record("heads")["weights"] == {
        "last": weights_digest(training.method.network.state_dict()),
        "best": weights_digest(training.best),
    }


# --- broken and foreign files ----------------------------------------------------------------------------------------


def one_message(printed: str, command: str) -> str:
    """The one message in what was printed, and no traceback."""
    assert "Traceback" not in printed
    messages = [line for line in printed.splitlines() if "error:" in line]
    assert len(messages) == 1, printed
    assert messages[0].startswith(f"collabpipe {command}: error: ")
    return messages[0]


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Desk:
    return Desk(lab, tmp_path / "desk", study(epochs=2))


def interrupt(lab: Lab, desk: Desk, method: str) -> Path:
    """The state file of a training that was killed after its first epoch."""
    training = lab.training(desk.plan.runs[run_name(method)])
    for _ in training.run():
        if training.epoch == 1:
            break
    tensors, rest = training.state()
    desk.kept(method).mkdir(parents=True)
    save_file(tensors, desk.state(method), {**rest, "key": desk.kept(method).name})
    return desk.state(method)


def test_a_state_cut_short_ends_in_one_message_and_training_starts_again_without_it(
    lab: Lab, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    state = interrupt(lab, desk, "heads")
    whole = state.read_bytes()
    # What a kill during a save leaves behind goes with the next start.
    left = state.with_name(".state.safetensors.x.part")
    left.write_bytes(whole[:100])
    for size in (len(whole) - 1, len(whole) // 2, 20, 0):
        state.write_bytes(whole[:size])
        assert desk.main("train", "heads") == 1
        message = one_message(capsys.readouterr().err, "train")
        assert str(state) in message
        assert "Remove it" in message
        assert not (desk.folder("heads") / "record.json").exists()
        assert not left.exists()
    state.unlink()
    assert desk.main("train", "heads") == 0
    again = desk.record("heads")["weights"]
    shutil.rmtree(desk.kept("heads"))
    # The whole state, in place of the broken one, leads to the same weights.
    desk.kept("heads").mkdir()
    state.write_bytes(whole)
    assert desk.main("train", "heads") == 0
    assert "continues after epoch 1, step 0" in capsys.readouterr().err
    assert desk.record("heads")["weights"] == again


# mixup's tensors have the very shapes of the baseline's: only the key tells them apart.
@pytest.mark.parametrize("other", ["multi_head", "mixup"])
def test_a_state_of_another_training_ends_in_one_message(
    lab: Lab, desk: Desk, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    foreign = interrupt(lab, desk, other)
    desk.kept("baseline").mkdir(parents=True)
    shutil.copy(foreign, desk.state("baseline"))
    assert desk.main("train", "baseline") == 1
    assert str(desk.state("baseline")) in one_message(capsys.readouterr().err, "train")


def _of_another_recipe(desk: Desk) -> None:
    assert desk.main("train", "mixup") == 0
    shutil.rmtree(desk.folder("baseline"))
    shutil.copytree(desk.folder("mixup"), desk.folder("baseline"))


def _of_another_training(desk: Desk) -> None:
    assert desk.main("train", "mixup") == 0
    weights = desk.folder("baseline") / "last.safetensors"
    weights.unlink()
    shutil.copy(desk.folder("mixup") / "last.safetensors", weights)


def _changed(desk: Desk) -> None:
    path = desk.folder("baseline") / "best.safetensors"
    weights = load_file(path)
    path.unlink()  # the store's copy, which shares the file, stays
    bias = weights["classifier.bias"]
    weights["classifier.bias"] = torch.nextafter(bias, torch.full_like(bias, torch.inf))
    save_file(weights, path)


def _cut_short(desk: Desk) -> None:
    path = desk.folder("baseline") / "last.safetensors"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


def _missing(desk: Desk) -> None:
    (desk.folder("baseline") / "last.safetensors").unlink()


@pytest.mark.parametrize("harm", [_of_another_recipe, _of_another_training, _changed, _cut_short, _missing])
def test_evaluate_refuses_a_checkpoint_that_is_not_the_one_asked_for(
    desk: Desk, harm: Callable[[Desk], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.main("train", "baseline") == 0
    harm(desk)
    capsys.readouterr()
    assert desk.main("evaluate", "baseline") == 1
    message = one_message(capsys.readouterr().err, "evaluate")
    assert str(desk.folder("baseline")) in message
    assert "rain" in message  # Train it again / Train the run again
    evaluation = desk.paths.evaluation(desk.plan.runs[run_name("baseline")].run)
    assert not (evaluation / "metrics.json").exists()
    # Training it again, as the message says, is a matter of the store, and heals it.
    finished = set(desk.workspace.trainings())
    assert desk.main("train", "baseline") == 0
    assert desk.main("evaluate", "baseline") == 0
    assert (evaluation / "metrics.json").exists()
    assert desk.workspace.trainings() == finished


def test_a_checkpoint_that_was_changed_in_place_is_trained_again(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.main("train", "baseline") == 0
    record = desk.record("baseline")
    path = desk.folder("baseline") / "last.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    with path.open("r+b") as file:  # a hard link: the store's copy changes with it
        file.write(data)
    assert desk.main("evaluate", "baseline") == 1
    assert str(path) in one_message(capsys.readouterr().err, "evaluate")
    assert desk.main("train", "baseline") == 0
    assert "in the store already" not in capsys.readouterr().err
    assert desk.record("baseline")["weights"] == record["weights"]
    assert desk.main("evaluate", "baseline") == 0


# --- a full disk -----------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int | None], Callable[[], None] | None]]:
    """A disk in `folder` and a function that leaves so many bytes of space on it (None: all there is).

    Without the right to mount one, a limit on the size of a file is used instead: the function returns what a command
    has to call before it starts.
    """
    folder.mkdir(parents=True)
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0

    def leave(space: int | None) -> Callable[[], None] | None:
        ballast = folder / "ballast"
        if not mounted:
            return None if space is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (space, space))
        ballast.unlink(missing_ok=True)
        if space is not None:
            free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
            ballast.write_bytes(bytes(free - space))
        return None

    try:
        yield leave
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_ends_in_one_message_and_space_lets_the_training_finish(lab: Lab, tmp_path: Path) -> None:
    undisturbed = Desk(lab, tmp_path / "undisturbed", study(epochs=4))
    assert undisturbed.main("train", "heads") == 0
    with small_disk(tmp_path / "disk") as leave:
        desk = Desk(lab, tmp_path / "disk" / "desk", study(epochs=4))
        files = {path for path in desk.paths.root.rglob("*") if path.is_file()}
        # A state needs about 120 kB: no space at all, space for half of one, and for a single one while the next
        # is written beside it.
        for space in (8_000, 60_000, 180_000):
            before = leave(space)
            done = desk.workspace.run(*desk.command("heads"), check=False, preexec_fn=before)
            assert done.returncode == 1, done.stderr
            message = one_message(done.stderr, "train")
            assert "No space left" in message or "File too large" in message
            new = {path.name for path in desk.paths.root.rglob("*") if path.is_file()} - {f.name for f in files}
            assert new <= {"lock", "asked.json", "progress.json", "state.safetensors"}
            if before is not None:
                break  # a limit knows no more than one size that matters
        leave(None)
        desk.workspace.run(*desk.command("heads"))
        assert desk.record("heads")["weights"] == undisturbed.record("heads")["weights"]
        assert not list(desk.paths.root.rglob("*.part"))


# --- out of memory, another device -----------------------------------------------------------------------------------

WITH_LITTLE_MEMORY = """
import resource, sys
from collabpipe.cli import main
narrow, wide, *options = sys.argv[1:]
assert main(["train", narrow, *options]) == 0
held = 4096 * int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (held + (200 << 20), resource.RLIM_INFINITY))
sys.exit(main(["train", wide, narrow, *options]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set from what Linux tells")
def test_out_of_memory_ends_in_one_message_with_remedies_and_other_trainings_are_kept(lab: Lab, tmp_path: Path) -> None:
    wide = Desk(lab, tmp_path / "wide", study(epochs=1) | {"networks": {"resnet8": {"width": 256}}})
    narrow = Desk(lab, tmp_path / "narrow", study(epochs=1))
    recipes = [narrow.recipes["baseline"], wide.recipes["baseline"]]
    command: list[str | Path] = [sys.executable, "-c", WITH_LITTLE_MEMORY, *recipes, *narrow.paths.options]
    done = narrow.workspace.run(*command, check=False)
    assert done.returncode == 1, done.stderr
    message = one_message(done.stderr, "train")
    assert f"{run_name('baseline')}: the memory of the device is not enough" in message
    assert "execution.jobs_per_gpu" in message
    assert "training.batch_size" in message
    assert "in the store already" in done.stderr, "the other run is done all the same"
    assert len(narrow.workspace.trainings()) == 1


def test_a_state_that_finds_too_little_memory_stays_and_is_continued(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with started_by_command(desk, "baseline") as alive:
        wait_for_saves(alive, desk.state("baseline"), 1)

    def restore(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patched:
        patched.setattr(Training, "restore", restore)
        assert desk.main("train", "baseline") == 1
    message = one_message(capsys.readouterr().err, "train")
    assert "the memory of the device is not enough" in message
    assert "Remove it" not in message
    assert desk.main("train", "baseline") == 0
    assert "continues after" in capsys.readouterr().err


def test_a_training_is_not_continued_on_another_type_of_device(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    with started_by_command(desk, "baseline") as alive:
        wait_for_saves(alive, desk.state("baseline"), 1)
    with safe_open(desk.state("baseline"), framework="pt") as file:
        metadata = file.metadata()
    assert metadata["device"] == "cpu"
    save_file(load_file(desk.state("baseline")), desk.state("baseline"), metadata | {"device": "cuda"})
    assert desk.main("train", "baseline") == 1
    message = one_message(capsys.readouterr().err, "train")
    assert "was saved on cuda and would continue on cpu" in message
    assert str(desk.state("baseline")) in message
    # Removing it, as the message says, starts the training again.
    desk.state("baseline").unlink()
    assert desk.main("train", "baseline") == 0
    assert "continues" not in capsys.readouterr().err
