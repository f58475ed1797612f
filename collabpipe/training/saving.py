"""States of a training on disk: written often enough to lose little, seldom enough to cost little."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from collabpipe.common.files import save_tensors
from collabpipe.host.writer import Writer
from collabpipe.plan.paths import STATE_FILE
from collabpipe.settings.training import ExecutionSettings

if TYPE_CHECKING:
    from collabpipe.training.engine import Training

DEVICE = "device"
"""In a state's metadata: the type of device that made it, as the numbers of another type differ."""
MOST = 0.02
"""The share of the time that saving may take."""


class Saver:
    """Saves the state of a training between two steps, when it is due.

    It is due `save_seconds` after the last one or `save_epochs` after it, whichever comes first, but not while saving
    has taken more than 2% of the time. With `save_seconds` 0 it is due at every epoch's end, whatever that costs.
    """

    def __init__(self, training: Training, writer: Writer, key: str, execution: ExecutionSettings):
        self.training, self.writer, self.key, self.execution = training, writer, key, execution
        self.started = self.saved = time.monotonic()
        self.epoch = training.epoch
        self.last = self.spent = 0.0

    def save_if_due(self) -> None:
        """To be called after each step."""
        if self._due(time.monotonic()):
            self.save()

    def _due(self, now: float) -> bool:
        training, execution = self.training, self.execution
        if training.finished:
            return False
        if execution.save_seconds == 0.0:
            return training.step == 0
        epochs = training.epoch - self.epoch if training.step == 0 else 0
        asked = now - self.saved >= execution.save_seconds or epochs >= (execution.save_epochs or epochs + 1)
        return asked and self.spent + self.last <= MOST * (now - self.started)

    def save(self) -> None:
        """Write the state.

        Raises:
            CollabpipeError: the disk is full; another process has taken over.
        """
        began = time.monotonic()
        self.writer.check()
        tensors, metadata = self.training.state()
        save_tensors(
            self.writer.folder / STATE_FILE, tensors, {**metadata, "key": self.key, DEVICE: self.training.device.type}
        )
        self.saved, self.epoch = time.monotonic(), self.training.epoch
        self.last = self.saved - began
        self.spent += self.last
