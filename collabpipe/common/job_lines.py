"""What Snakemake prints of jobs: where a failed one is explained; for a profile that asks for quiet, a line per job."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

QUIET = {"PROGRESS", "REASON"}
"""What `quiet` of a profile must name for it. Not RULES: Snakemake then prints no job's error either."""
SELECTING = "Select jobs to execute..."


class Explained(logging.Formatter):
    """A failed job as the formatter `full` has it, with the command that explains it; all else without.

    Args:
        full: the formatter.
        logs: the folder with the logs of the jobs that the command knows.
        command: it.
    """

    def __init__(self, full: logging.Formatter | None, logs: Path, command: str):
        super().__init__()
        self.full, self.logs, self.command = full or logging.Formatter(), logs, command

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record of Snakemake's."""
        about: dict[str, Any] = record.__dict__
        text = self.full.format(record)
        if about.get("event") != "job_error" or not any(
            Path(log).is_relative_to(self.logs) for log in about["log"] or ()
        ):
            return text
        return f"{text}\nAll failed jobs and how far the study is: {self.command}"


class JobLines(logging.Formatter):
    """A job that starts as its time, its rule and its log; all else as the formatter `full` has it."""

    def __init__(self, full: logging.Formatter | None):
        super().__init__()
        self.full = full or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record of Snakemake's."""
        about: dict[str, Any] = record.__dict__
        if about.get("event") != "job_info":
            return self.full.format(record)
        return " ".join((time.strftime("%H:%M:%S"), about["rule_name"], *about["log"]))

    @staticmethod
    def filter(record: logging.LogRecord) -> bool:
        """Whether a record says more than that jobs are about to start."""
        return record.__dict__.get("event") != "job_started" and record.msg != SELECTING


def shorten_job_lines(logger: logging.Logger, quiet: Iterable[Any]) -> None:
    """Give each job a line of its own on the terminal, if `quiet` (Snakemake's members of Quietness) asks for it.

    Snakemake's own log file, below .snakemake/log, keeps all lines of a job.
    """
    if not {about.name for about in quiet} >= QUIET:
        return
    for handler in _terminals(logger):
        handler.setFormatter(JobLines(handler.formatter))
        handler.addFilter(JobLines.filter)


def explain_failures(logger: logging.Logger, logs: Path, command: str) -> None:
    """Let the message of each failed job with a log below `logs` name `command`, on the terminal."""
    for handler in _terminals(logger):
        handler.setFormatter(Explained(handler.formatter, logs, command))


def _terminals(logger: logging.Logger) -> Iterator[logging.Handler]:
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            yield handler
