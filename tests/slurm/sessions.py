"""Snakemake as a user of a cluster starts it, watched while it runs."""

from __future__ import annotations

import subprocess

import psutil

from tests.workspaces import Workspace

IMPATIENCE = ("--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2")
"""Ask SLURM more often than the plugin would; after each answer without news it still waits ten seconds longer."""


class Session:
    """One `snakemake` through profiles/slurm, running."""

    def __init__(self, workspace: Workspace, *arguments: str, patient: bool = False):
        self._log = workspace.root / f"session{len(list(workspace.root.glob('session*.log')))}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["snakemake", *arguments, *(() if patient else IMPATIENCE)],
                cwd=workspace.root,
                env=workspace.environment | {"SNAKEMAKE_PROFILE": "profiles/slurm"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What the user has seen so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ended_within(self, seconds: float) -> int | None:
        """The exit code, or None if it has not ended after so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, seconds: float) -> int:
        """The exit code.

        Raises:
            AssertionError: it has not ended after so many seconds; it is killed then.
        """
        code = self.ended_within(seconds)
        if code is None:
            self.kill()
            raise AssertionError(f"Snakemake did not end within {seconds} s:\n{self.output[-3000:]}")
        return code

    def kill(self) -> None:
        """SIGKILL to Snakemake, if it runs, and to what it started here; its jobs know nothing of it."""
        if self.process.poll() is not None:
            return
        for process in (psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)):
            process.kill()
        self.process.wait()
