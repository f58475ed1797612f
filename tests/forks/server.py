"""The process that forks. It imports the package with all its libraries and Snakemake with its plugins."""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import runpy
import socket
import socketserver
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import snakemake.cli

import collabpipe

# What the package, its libraries and Snakemake import within functions.
LATE = (
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "pyarrow.dataset", "pyarrow.pandas_compat"),
    *("safetensors.torch", "sklearn.datasets", "sklearn.model_selection", "sklearn.metrics", "smart_open"),
    "torch._dynamo",
)


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Answers each connection in a fork of its own, and ends when nobody can connect any more."""

    request_queue_size = 64

    def __init__(self, address: str):
        super().__init__(address, Handler)
        self.parent = os.getppid()

    def service_actions(self) -> None:
        super().service_actions()
        if os.getppid() != self.parent:
            sys.exit()


class Handler(socketserver.BaseRequestHandler):
    """Runs one command in a further fork, and answers with its exit code or the signal that ended it, negated."""

    def handle(self) -> None:
        streams = socket.recv_fds(self.request, 1, 3)[1]
        with self.request.makefile("rb") as request:
            asked = json.load(request)
        process = multiprocessing.get_context("fork").Process(target=run, args=(streams, *asked))
        process.start()
        process.join()
        self.request.sendall(str(process.exitcode).encode())


def run(
    streams: Sequence[int], command: str, arguments: Sequence[str], folder: str, environment: dict[str, str]
) -> None:
    """Run an installed command in this process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = os.fdopen(0, encoding=sys.stdin.encoding)
    sys.stdout = os.fdopen(1, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    sys.argv = [command, *arguments]
    try:
        runpy.run_path(command, run_name="__main__")
    finally:
        atexit._run_exitfuncs()


def main(address: str) -> None:
    """Serve until the process that started this one has ended."""
    sys.path[0] = str(Path(sys.executable).parent)
    for module in pkgutil.walk_packages(collabpipe.__path__, "collabpipe."):
        importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    snakemake.cli.get_argument_parser()  # imports the plugins
    gc.freeze()
    with Server(address) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
