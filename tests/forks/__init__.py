"""Commands in forks of a process that has imported their libraries: one starts in milliseconds, not in seconds.

A fork runs the installed command, with the arguments, folder, variables, umask and streams that it was started with. So
real Snakemake runs real jobs. What is not as usual: the libraries are imported already, and the process is no child of
who started it. Whoever sends signals to a command, or measures it, must start the installed command instead.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

COMMANDS = ("collabpipe", "snakemake")
# As Snakemake sets them for a job of one thread. Libraries read them when they are imported.
LIBRARIES = ("OMP_NUM", "GOTO_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM", "NUMEXPR_NUM")
THREADS = {f"{name}_THREADS": "1" for name in LIBRARIES}


@dataclass(frozen=True)
class User:
    """Another user of this machine. Only root can start his commands."""

    number: int
    group: int
    home: Path

    @property
    def become(self) -> tuple[str, ...]:
        """What precedes his commands. He may read all files, because Python may lie where only root can see it."""
        reads = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
        return ("setpriv", f"--reuid={self.number}", f"--regid={self.group}", "--clear-groups", *reads, "--")

    @property
    def environment(self) -> dict[str, str]:
        """His variables."""
        return {"HOME": str(self.home), "USER": f"user{self.number}", "LOGNAME": f"user{self.number}"}


@functools.cache
def folder(user: User | None = None) -> Path:
    """A folder with commands that run in forks, to be named first in PATH. What forks them ends with this process.

    Args:
        user: whose commands they are, if not this process's.
    """
    made = Path(tempfile.mkdtemp(prefix="forks"))
    atexit.register(shutil.rmtree, made)
    client = shlex.join([sys.executable, "-ISE", str(Path(__file__).with_name("client.py")), str(made / "server")])
    for name in COMMANDS:
        (made / name).write_text(f'#!/bin/sh\nexec {client} {shlex.quote(str(installed(name)))} "$@"\n')
        (made / name).chmod(0o755)
    environment = os.environ | THREADS | (user.environment if user else {})
    (made / "server.environment").write_text(json.dumps(environment))
    if user:
        os.chown(made, user.number, user.group)
    server = subprocess.Popen(
        [*(user.become if user else ()), sys.executable, "-m", "tests.forks.server", str(made / "server")],
        cwd=Path(__file__).parents[2],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    atexit.register(server.wait)
    atexit.register(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    return made


def installed(name: str) -> Path:
    """The command of the environment that the tests run in."""
    return Path(sys.executable).with_name(name)
