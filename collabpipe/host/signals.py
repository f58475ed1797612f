"""Signals that ask a training to end: it saves its state and leaves, and the same command goes on from there.

SIGTERM is what SLURM sends on preemption and before a time limit, SIGUSR1 what `sbatch --signal` is mostly told to
send, SIGINT a Ctrl-C. The first one counts: SLURM sends several, and SIGCONT, which does nothing here, before them.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: the same command, called again, goes on."""
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(BaseException):
    """A signal asked this process to end; like KeyboardInterrupt it is no mistake that `except Exception` may take."""


class Interruption:
    """Catches the signals while it is entered: they end what the process does at once, unless that is `deferred`."""

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._deferred = False

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._catch) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # Who leaves because of a signal does not die of the next one on the way.
            signal.signal(number, signal.SIG_IGN if self.caught else handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught = self.caught or signal.Signals(number)
        if not self._deferred:
            self.check()

    def check(self) -> None:
        """End if a signal was caught.

        Raises:
            Interrupted: it was.
        """
        if self.caught is not None:
            raise Interrupted(f"interrupted by {self.caught.name}; run the same command again to continue")

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Finish what is within, or let it ask for `caught` itself, before a signal ends the process."""
        self._deferred = True
        try:
            yield
        finally:
            # Further signals must not disturb how the process leaves because of the first.
            self._deferred = self.caught is not None
        self.check()
