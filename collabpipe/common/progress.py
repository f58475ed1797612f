"""Progress for whoever watches: a bar with rate and remaining time on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column

LINE_SECONDS = 5.0


class Progress:
    """Progress of one piece of work, on standard error; a total of 0 is an unknown one."""

    def __init__(self, name: str, total: float = 0, unit: str = "steps", work: str = "training"):
        self.name = name
        self.total = total
        self.unit = unit
        self.work = work
        self.done = self.first = 0.0
        self.started = self.spoke = time.monotonic()
        self.bar: Bar | None = None
        self.task = TaskID(0)

    def __enter__(self) -> Progress:
        # Several bars at once would write over each other.
        if sys.stderr.isatty() and threading.current_thread() is threading.main_thread():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=12),
                # On a narrow terminal what was measured last is cut short, not the rate or the time.
                TextColumn(f"{{task.fields[rate]:.0f}} {self.unit}/s", table_column=Column(min_width=11)),
                TimeRemainingColumn(table_column=Column(min_width=7)),
                TextColumn("{task.fields[text]}"),
            )
            self.say(self.work)
            self.bar = Bar(*columns, console=Console(stderr=True))
            self.task = self.bar.add_task(self.name.rpartition("/")[2], total=self.total or None, rate=0.0, text="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()

    def say(self, text: str) -> None:
        """A line of its own."""
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def advance(self, done: float) -> None:
        """Units done so far, those of an earlier process included."""
        if self.done == 0:
            self.first = done - 1
        self.done = done
        if self.bar:
            self.bar.update(self.task, completed=done, rate=self.rate)

    def describe(self, text: str) -> None:
        """What was measured last; in a log, a line every few seconds and one at the end."""
        if self.bar:
            self.bar.update(self.task, text=text)
        elif time.monotonic() - self.spoke >= LINE_SECONDS:
            left = f"  {self.left:.0f} s left" if self.total else ""
            self.say(f"{text}  {self.rate:.0f} {self.unit}/s{left}")
            self.spoke = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds until all is done, at this rate."""
        return (self.total - self.done) / self.rate

    @property
    def rate(self) -> float:
        """Units per second of this process."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-9)
