"""The process that forks. It imports the package with all its libraries and Snakemake with its plugins."""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

import snakemake.cli

import collabpipe

# What the package, its libraries and Snakemake import within functions.
LATE = (
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "pyarrow.dataset", "pyarrow.pandas_compat"),
    *("safetensors.torch", "sklearn.datasets", "sklearn.model_selection", "sklearn.metrics", "smart_open"),
    "torch._dynamo",
)


def serve(address: str) -> None:
    """Run a command in a fork per connection, until the process that started this one has ended."""
    parent, links = os.getppid(), dict[int, socket.socket]()
    asleep, awake = socket.socketpair()
    awake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(awake.fileno())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while os.getppid() == parent:
            ready = select.select([listener, asleep], [], [], 1.0)[0]
            if listener in ready:
                link = listener.accept()[0]
                if (child := os.fork()) == 0:
                    listener.close()
                    answer(link)
                links[child] = link
            if asleep in ready:
                asleep.recv(4096)
                report_the_ended(links)


def report_the_ended(links: dict[int, socket.socket]) -> None:
    """Tell each caller the exit code of its command that has ended, or the signal that ended it, negated."""
    while links:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        with links.pop(child) as link:
            link.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def answer(link: socket.socket) -> NoReturn:
    """Run the command that the caller asks for, as this process."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams = socket.recv_fds(link, 1, 3)[1]
    with link.makefile("rb") as request:
        command, arguments, folder, umask, environment = json.load(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = os.fdopen(0, encoding=sys.stdin.encoding)
    sys.stdout = os.fdopen(1, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    sys.argv = [command, *arguments]
    code = 0
    try:
        runpy.run_path(command, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        traceback.print_exc()
        code = 1
    # As Python ends, but for the objects, which need not be taken apart.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


def main(address: str) -> None:
    """Import all, then serve."""
    sys.path[0] = str(Path(sys.executable).parent)
    for module in pkgutil.walk_packages(collabpipe.__path__, "collabpipe."):
        importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    snakemake.cli.get_argument_parser()  # imports the plugins
    gc.freeze()
    serve(address)


if __name__ == "__main__":
    main(sys.argv[1])
