"""When a state is written: by time, by epochs, and never for more than 2% of the time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collabpipe.common.errors import CollabpipeError
from collabpipe.host.writer import CLAIM, writing
from collabpipe.plan.paths import STATE_FILE
from collabpipe.settings.training import ExecutionSettings
from collabpipe.training import saving
from collabpipe.training.engine import Training
from collabpipe.training.saving import Saver


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Steps:
    """A training as a saver sees it: four steps an epoch, a state that takes a while to be had."""

    clock: Clock
    save_takes: float = 0.0
    total: int = 10**9
    done: int = 0

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def step(self) -> int:
        return self.done % 4

    @property
    def epoch(self) -> int:
        return self.done // 4

    @property
    def finished(self) -> bool:
        return self.done >= self.total

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        self.clock.now += self.save_takes
        return {"done": torch.tensor(self.done)}, {"state": "{}"}


def saved_at(folder: Path, steps: Steps, number: int, step_takes: float, **keys: Any) -> list[int]:
    """After which of so many steps the state was written."""
    found: list[int] = []
    with pytest.MonkeyPatch.context() as patch, writing(folder) as writer:
        patch.setattr(saving, "time", steps.clock)
        patch.setattr(saving, "save_tensors", lambda _, tensors, __: found.append(int(tensors["done"])))
        saver = Saver(cast(Training, steps), writer, "key", ExecutionSettings(**keys))
        for _ in range(number):
            steps.clock.now += step_takes
            steps.done += 1
            saver.save_if_due()
    return found


def test_a_state_is_written_when_its_time_has_passed_also_within_an_epoch(tmp_path: Path) -> None:
    assert saved_at(tmp_path, Steps(Clock()), 20, 1.0, save_seconds=5.0) == [5, 10, 15, 20]


def test_or_when_its_epochs_have_whichever_is_sooner(tmp_path: Path) -> None:
    assert saved_at(tmp_path, Steps(Clock()), 24, 1.0, save_seconds=100.0, save_epochs=2) == [8, 16, 24]
    assert saved_at(tmp_path, Steps(Clock()), 24, 1.0, save_seconds=7.0, save_epochs=2) == [7, 12, 19, 24]


def test_with_a_time_of_0_every_epoch_is_saved_whatever_it_takes(tmp_path: Path) -> None:
    assert saved_at(tmp_path, Steps(Clock(), save_takes=50.0), 12, 1.0, save_seconds=0.0) == [4, 8, 12]


def test_a_finished_training_needs_no_state(tmp_path: Path) -> None:
    assert saved_at(tmp_path, Steps(Clock(), total=8), 8, 1.0, save_seconds=0.0) == [4]


@settings(deadline=None)
@given(
    step_takes=st.floats(0.01, 2.0),
    save_takes=st.floats(0.0, 5.0),
    seconds=st.floats(0.5, 30.0),
    epochs=st.none() | st.integers(1, 5),
)
def test_saving_takes_at_most_2_percent_of_the_time_but_for_the_first_save(
    tmp_path_factory: pytest.TempPathFactory, step_takes: float, save_takes: float, seconds: float, epochs: int | None
) -> None:
    steps = Steps(Clock(), save_takes=save_takes)
    folder = tmp_path_factory.mktemp("saver")
    number = len(saved_at(folder, steps, 400, step_takes, save_seconds=seconds, save_epochs=epochs))
    assert save_takes * number <= max(0.02 * steps.clock.now, save_takes) + 1e-9


def test_who_was_followed_by_another_writes_no_state(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        saver = Saver(cast(Training, Steps(Clock())), writer, "key", ExecutionSettings())
        (tmp_path / CLAIM).write_text('{"token": "another", "pid": 5, "host": "n2"}')
        with pytest.raises(CollabpipeError, match="taken over by process 5 on n2"):
            saver.save()
    assert not (tmp_path / STATE_FILE).exists()
    assert (tmp_path / CLAIM).exists()
