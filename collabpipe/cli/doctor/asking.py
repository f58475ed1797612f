"""Commands that are asked what they know, and left if they do not answer."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass

COMMAND_SECONDS = 7.0
"""Less than all checks together may take, so that what hangs is named."""


@dataclass(frozen=True)
class Answer:
    """What a command said, both streams together, and its exit status: None if it was stopped for taking too long."""

    status: int | None
    text: str

    @property
    def last_line(self) -> str:
        """What a failure mostly ends with."""
        return self.text.strip().rpartition("\n")[2] or f"exit status {self.status}"


def ask(*command: str, seconds: float | None = None, **environment: str) -> Answer:
    """Run a command that changes nothing; it and what it started are killed when its time is over."""
    with subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | environment,
        start_new_session=True,
    ) as process:
        try:
            text, _ = process.communicate(timeout=COMMAND_SECONDS if seconds is None else seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Answer(None, process.communicate()[0])
    return Answer(process.returncode, text)
