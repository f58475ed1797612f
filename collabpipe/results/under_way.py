"""How far a training is: a small file that its process writes beside its saved state, for whoever looks."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import record_of, write_json
from collabpipe.plan.paths import PROGRESS_FILE


@dataclass(frozen=True)
class UnderWay:
    """A training at the end of an epoch."""

    epoch: int
    """Finished epochs."""
    epochs: int
    loss: float | None
    """The mean of the last epoch's steps; None before the first epoch is finished."""
    rate: float | None
    """Steps per second of this process."""
    seconds: float
    """Of training so far, in earlier processes too."""
    left: float | None
    """Seconds to the end, at this rate."""
    device: str

    @property
    def told(self) -> list[str]:
        """The parts of a line for a person."""
        texts = ((self.loss, "loss {:.4f}"), (self.rate, "{:.0f} steps/s"), (self.left, "{:.0f} s left"))
        measured = [text.format(value) for value, text in texts if value is not None]
        return [f"epoch {self.epoch} of {self.epochs}", *measured, f"on {self.device}"]

    def write(self, folder: Path) -> None:
        """Put it into the training's folder in the store. A full disk is no reason to end a training here."""
        with suppress(CollabpipeError):
            write_json(folder / PROGRESS_FILE, asdict(self), durable=False)

    @classmethod
    def read(cls, folder: Path) -> UnderWay | None:
        """What the process that trains in `folder`, or the last one that did, said; with the time that went by since.

        None where there is no such file, or one of another version.
        """
        about = record_of(folder / PROGRESS_FILE)
        try:
            if about["left"] is not None:
                age = time.time() - (folder / PROGRESS_FILE).stat().st_mtime
                about["left"] = max(0.0, about["left"] - max(0.0, age))
            return cls(**about)
        except (KeyError, OSError, TypeError):
            return None
