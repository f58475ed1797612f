"""A real SLURM on this machine: a controller and three nodes with fake GPUs, started by hand, as root, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
import pytest

NAME = "collabpipetest"
"""SLURM tells it to each of its jobs, and by it their processes are known."""
NODES = ("n1", "n2", "n3")
GPUS = 2
COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch")
CONFIGURATION = Path("/etc/slurm")
"""The one place where it is found by all: the plugin removes SLURM_CONF from the environment."""
MUNGE = Path("/run/munge")
FREEZER = Path("/sys/fs/cgroup/freezer")
"""Where cgroups of version 1 hold SLURM's jobs; with version 2 this SLURM (22.05) needs systemd."""
CGROUPS = FREEZER.is_mount() and os.access(FREEZER, os.W_OK)
"""Whether this machine has them, and they can be written."""
Tracking = Literal["linuxproc", "cgroup"]


def obstacle() -> str | None:
    """Why no cluster can be started here, and what to do about it; None if one can."""
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        return f"{', '.join(missing)}: not found. Install SLURM: apt-get install slurm-wlm munge (or: make test-slurm)."
    if os.geteuid() != 0:
        return "SLURM's daemons start jobs as their users, so these tests need root. Run them in a container."
    if _processes("slurmctld") or _processes("slurmd"):
        return "a SLURM runs on this machine already. Stop it: it reads the configuration these tests would replace."
    return None


@dataclass
class Cluster:
    """The running cluster. Its daemons' logs lie in `root`."""

    root: Path
    tracking: Tracking
    grace: int
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def client(self, *command: str, check: bool = True) -> str:
        """What a client command prints, such as squeue; all give up after half a minute."""
        done = subprocess.run(["timeout", "30", *command], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} exited with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, name: str) -> None:
        """Start `munged`, `slurmctld` or a node's daemon."""
        command = {
            "munged": ["munged", "--foreground", f"--key-file={self.root}/munge.key", f"--seed-file={self.root}/seed"],
            "slurmctld": ["slurmctld", "-D"],
        }.get(name, ["slurmd", "-D", "-N", name])
        with (self.root / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self, name: str) -> None:
        """Stop a daemon as a crash would (its jobs go on), and wait until it is gone."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def wait_for(self, what: str, reached: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until `reached`.

        Raises:
            AssertionError: it takes longer than `seconds`; says what was waited for, and the state of the cluster.
        """
        until = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > until:
                state = self.client("sinfo", "-N", check=False) + self.client("squeue", check=False)
                raise AssertionError(f"not within {seconds} s: {what}\n{state}\nlogs: {self.root}")
            time.sleep(0.2)

    def idle(self) -> bool:
        """Whether all nodes wait for jobs."""
        states = self.client("sinfo", "--noheader", "-N", "-p", "low", "-o", "%T", check=False).split()
        return states == ["idle"] * len(NODES)

    def jobs(self, *states: str) -> list[str]:
        """The ids of its jobs, array tasks apart, in these states (default: pending and running)."""
        only = f"--states={','.join(states or ('PENDING', 'RUNNING', 'COMPLETING'))}"
        return self.client("squeue", "--noheader", "--array", only, "-o", "%i").split()

    def heal(self) -> None:
        """As it was at first: all daemons up, no job, no process of one (under linuxproc orphans outlive their job)."""
        for name in ("slurmctld", *NODES):
            if name not in self.daemons:
                self.start(name)
        self.wait_for("a controller that answers", lambda: "UP" in self.client("scontrol", "ping", check=False))
        if jobs := self.jobs():
            self.client("scancel", "--full", "--signal=KILL", *jobs, check=False)
            self.client("scancel", *jobs, check=False)
        for process in psutil.process_iter():
            if self.is_of(process):
                _kill(process)
        for node in NODES:  # an error where nobody took it down
            self.client("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        self.wait_for("idle nodes without a job", lambda: self.idle() and not self.jobs(), 90)

    def is_of(self, process: psutil.Process, job: str | None = None) -> bool:
        """Whether a process was started by this job, or by any if none is given."""
        try:
            environment = process.environ()
        except psutil.Error:  # gone by now
            return False
        return environment.get("SLURM_CLUSTER_NAME") == NAME and job in (None, environment.get("SLURM_JOB_ID"))

    def _configure(self) -> None:
        host = socket.gethostname()
        devices = self.root / "devices"
        ports = _free_ports(1 + len(NODES))
        nodes, gpus = [], []
        for node, port in zip(NODES, ports[1:], strict=True):
            (devices / node).mkdir(parents=True)
            for gpu in range(GPUS):  # the null device will do: nobody computes on it
                os.mknod(devices / node / f"gpu{gpu}", 0o666 | 0o020000, os.makedev(1, 3))
            nodes.append(f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}")
            gpus.append(f"NodeName={node} Name=gpu File={devices}/{node}/gpu[0-{GPUS - 1}]")
        texts = {
            "slurm.conf": SLURM_CONF.format(host=host, port=ports[0], name=NAME, nodes="\n".join(nodes), **vars(self)),
            "gres.conf": "\n".join(gpus) + "\n",
            "cgroup.conf": "CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\n",
        }
        for name, text in texts.items():
            (CONFIGURATION / name).write_text(text)
        (self.root / "munge.key").write_bytes(os.urandom(128))
        (self.root / "munge.key").chmod(0o400)


@contextmanager
def cluster(root: Path, tracking: Tracking = "linuxproc", grace: int = 0) -> Iterator[Cluster]:
    """A cluster with its state in the new folder `root`; everything that it started is gone afterwards.

    Args:
        root: a folder that does not exist.
        tracking: how SLURM knows a job's processes: by parents, or by a cgroup as most clusters do.
        grace: seconds between the warning of a preempted job and its end.
    """
    if reason := obstacle():
        pytest.fail(reason)
    root.mkdir(parents=True)
    made = Cluster(root, tracking, grace)
    stepds = set(_processes("slurmstepd"))
    with ExitStack() as stack:
        stack.enter_context(_kept(CONFIGURATION))
        made._configure()
        stack.callback(_end, made, stepds)
        if subprocess.run(["munge", "--no-input"], capture_output=True).returncode != 0:  # none runs yet
            MUNGE.mkdir(mode=0o755, exist_ok=True)
            made.start("munged")
        for name in ("slurmctld", *NODES):
            made.start(name)
        made.wait_for("idle nodes", made.idle)
        yield made


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """Put the folder back afterwards as it was found, files and all."""
    kept = folder.with_name(f"{folder.name}.kept")
    existed = folder.exists()
    if kept.exists():
        pytest.fail(f"{kept} holds the configuration from before a killed test: move it back to {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, kept, symlinks=True)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)
        if not existed:
            shutil.rmtree(folder)


def _end(cluster: Cluster, stepds: set[psutil.Process]) -> None:
    with suppress(AssertionError):  # a cluster that did not come up is to be ended all the same
        cluster.heal()
    for name in sorted(cluster.daemons, reverse=True):  # the controller first, munged last
        cluster.daemons[name].terminate()
    for daemon in cluster.daemons.values():
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    for process in set(_processes("slurmstepd")) - stepds:
        _kill(process)
    if cluster.tracking == "cgroup":
        for folder in (FREEZER / f"slurm_{node}" for node in NODES):
            for group in sorted(folder.rglob("*/"), reverse=True):
                group.rmdir()
            folder.rmdir()


def _processes(name: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["name"]) if process.info["name"] == name]


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
        process.wait(10)
    except psutil.NoSuchProcess:
        pass


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


# cred_expire: else a requeued job waits two minutes. SlurmdTimeout: short, yet long enough for nodes under load.
# MinJobAge: how long squeue remembers a job, the only source of its end where there is no accounting.
SLURM_CONF = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={root}/controller
SlurmdSpoolDir={root}/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=5,sched_interval=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=30
ReturnToService=1
SlurmdTimeout=30
MinJobAge=300
GresTypes=gpu
NodeName=DEFAULT CPUs=8 RealMemory=16000 Gres=gpu:2 State=UNKNOWN
{nodes}
PartitionName=low Nodes=n1,n2,n3 Default=YES PriorityTier=1 GraceTime={grace} MaxTime=INFINITE State=UP
PartitionName=high Nodes=n1,n2,n3 PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""
