"""One training on the cluster, long enough to be hit, and what each blow costs it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.slurm.cluster import Cluster
from tests.slurm.sessions import Session
from tests.workspaces import Workspace, altered

SAVE_SECONDS = 2.0
EPOCHS = 150
"""Ten seconds of training on an idle core."""
DISTURBED = altered(
    {
        "datasets": {"digits": {"train_size": 1000, "validation_size": 100}},
        "networks": {"resnet8": {"width": 16}},
        "methods": {"output": None, "output_control": None},
        "seeds": [0],
        "training": {"epochs": EPOCHS, "batch_size": 100, "measure_every": 50},
        "execution": {"seeds_per_job": 1, "save_seconds": SAVE_SECONDS},
    }
)
RETRY = "Trying to restart job"
RUN = "digits/symmetric-0.5/resnet8/baseline/seed0"


@dataclass
class Fault:
    """A row of the table of faults."""

    name: str
    tracking: str
    lost: float = 0.0
    """Seconds of training that were done again."""
    epochs: float = 0.0
    """The same in epochs."""
    pause: float = 0.0
    """Seconds from the end of the training until it went on."""
    saw: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)


class Disturbed:
    """A study of one training, begun through profiles/slurm, that a test strikes and then proves whole."""

    def __init__(self, workspace: Workspace, cluster: Cluster, name: str, epochs: int):
        self.workspace, self.cluster, self.epochs = workspace, cluster, epochs
        workspace.configure(altered({"training": {"epochs": epochs}}, DISTURBED))
        self.fault = Fault(name, cluster.tracking)
        self.sessions: list[Session] = []
        self._log = workspace.paths.log(f"train/{RUN.rpartition('/')[0]}/block0")

    def run(self) -> None:
        """Start Snakemake: the command that the user gives, first and again."""
        self.sessions.append(Session(self.workspace, "checkpoints"))

    @property
    def session(self) -> Session:
        """The Snakemake that was started last."""
        return self.sessions[-1]

    def begin(self) -> None:
        """Start Snakemake, and wait until a state of the training is saved and some more is trained."""
        self.run()
        self.cluster.wait_for("a saved state", lambda: self._saved_at() is not None, 120)
        time.sleep(SAVE_SECONDS / 2)

    def trainers(self) -> list[psutil.Process]:
        """The processes of this study that train or wait to do so, the oldest first."""
        found = []
        for process in psutil.process_iter():
            try:
                command = process.cmdline()
                here = command[2:3] == ["train"] and Path(command[1]).name == "collabpipe"
                if here and Path(process.cwd()) == self.workspace.root and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:  # gone by now
                continue
        return sorted(found, key=lambda process: process.create_time())

    @property
    def job(self) -> str:
        """The SLURM job in which the training is at work."""
        return str(self.trainers()[0].environ()["SLURM_JOB_ID"])

    @property
    def node(self) -> str:
        """The node on which it is."""
        return str(self.trainers()[0].environ()["SLURMD_NODENAME"])

    def strike(self, blow: Callable[[], object], within: float = 60) -> None:
        """Deal the blow, wait until the training is gone, and note what it takes with it."""
        trainer = self.trainers()[0]
        saved = self._saved_at()
        blow()
        until = time.monotonic() + within
        while trainer.is_running() and trainer.status() != psutil.STATUS_ZOMBIE:
            saved = self._saved_at() or saved
            assert time.monotonic() < until, f"the training goes on {within} s after {self.fault.name}"
            time.sleep(0.05)
        self._stopped = time.time()
        assert saved is not None
        # What was saved in answer to a signal is all that there was.
        if not re.search(r"saved after epoch \d+, step \d+", self.log):
            self.fault.lost += self._stopped - saved

    def goes_on(self, within: float = 180) -> None:
        """Wait until the training goes on from its state."""
        self.cluster.wait_for("the training to go on", lambda: "continues after epoch" in self.log, within)
        self.fault.pause = time.time() - self._stopped

    def prove(self, undisturbed: dict[str, str]) -> Fault:
        """The weights are those of the undisturbed training, and no more was trained twice than lay between two states.

        Returns:
            the row of the table.
        """
        record = self.workspace.records()[RUN]
        assert record["weights"] == undisturbed
        seconds = self.workspace.costs()[RUN]["epoch_seconds"]
        self.fault.epochs = self.fault.lost * len(seconds) / sum(seconds)
        assert self.fault.lost <= SAVE_SECONDS + 2.0  # the time that a busy machine takes for a step and a state
        assert not self._saved_at()
        if RETRY in self.session.output:
            self.saw(RETRY)
        again = self.workspace.snakemake("--dry-run", "checkpoints")
        assert "Nothing to be done" in again.stdout + again.stderr
        return self.fault

    def saw(self, *texts: str) -> None:
        """The user was told this by the running session."""
        for text in texts:
            assert text in self.session.output, f"{text} is not in\n{self.session.output}"
        self.fault.saw += texts

    @property
    def log(self) -> str:
        """The training's log: that of the latest attempt."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def _saved_at(self) -> float | None:
        for state in self.workspace.results.glob("store/*/*/state.safetensors"):
            try:
                return state.stat().st_mtime
            except FileNotFoundError:  # removed by the training that has just ended
                return None
        return None
