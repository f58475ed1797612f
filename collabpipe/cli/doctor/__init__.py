"""Check this machine for a study, and say how to fix what does not suit it."""

from __future__ import annotations

import io
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Thread

from rich.console import Console
from rich.text import Text

from collabpipe.cli.arguments import add_config
from collabpipe.cli.doctor import gpus, machine, services
from collabpipe.cli.doctor.findings import Finding, failure, warning
from collabpipe.common.counts import counted
from collabpipe.common.errors import CollabpipeError

ALL_SECONDS = 8.5
"""What has no answer by then is left, as on a network disk that hangs."""

COLOURS = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def arguments(parser: ArgumentParser) -> None:
    """The configuration of the study."""
    add_config(parser)


def run(arguments: Namespace) -> None:
    """Check the machine and print what was found."""
    show_findings(diagnose(arguments.config, arguments.results.root))


def diagnose(config: Sequence[Path], results: Path) -> Iterator[tuple[str, Finding]]:
    """All findings, each with its topic; in less than ten seconds, whatever hangs."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "python": machine.check_python,
        "locale": machine.check_locale,
        "packages": machine.check_packages,
        "torch": gpus.check_torch,
        "gpus": gpus.check_gpus,
        "threads": partial(machine.check_threads, config),
        "disk": partial(machine.check_disk, results),
        "results": partial(machine.check_results, results),
        "dvc": services.check_dvc,
        "slurm": services.check_slurm,
        "git": machine.check_git,
    }
    findings: dict[str, list[Finding]] = {}

    def find(topic: str, check: Callable[[], list[Finding]]) -> None:
        findings[topic] = _guarded(check)

    end = time.monotonic() + ALL_SECONDS
    threads = {topic: Thread(target=find, args=(topic, check), daemon=True) for topic, check in checks.items()}
    for thread in threads.values():
        thread.start()
    for topic, thread in threads.items():
        thread.join(max(0.0, end - time.monotonic()))
        for finding in findings.get(topic, [warning(f"no answer in {ALL_SECONDS:g} s: unknown")]):
            yield topic, finding


def _guarded(check: Callable[[], list[Finding]]) -> list[Finding]:
    """A check's findings; what it stumbles over is one as well."""
    try:
        return check()
    except CollabpipeError as error:
        return [failure(str(error))]
    except Exception as error:
        return [warning(f"could not be checked: {type(error).__name__}: {error}")]


def show_findings(findings: Iterable[tuple[str, Finding]]) -> None:
    """A line each as they come, fixes below them.

    Raises:
        CollabpipeError: there is a failure.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a path need not fit a terminal that is not UTF-8
    console = Console(highlight=False)
    counts: Counter[str] = Counter()
    for topic, finding in findings:
        counts[finding.level] += 1
        line = Text.assemble((f"{finding.level:<8}", COLOURS[finding.level]), f"{topic:<9}{finding.found}")
        console.print(line, soft_wrap=True)
        if finding.fix:
            console.print(Text(f"{'':<17}fix: {finding.fix}"), soft_wrap=True)
    warnings = counted(counts["warning"], "warning", "warnings")
    console.print(f"{counts['ok']} ok, {warnings}, {counted(counts['failure'], 'failure', 'failures')}")
    if counts["failure"]:
        raise CollabpipeError(
            "with a failure, a study cannot be made here, or not well. Follow the fix below each failure."
        )
