"""Has a fork run a command; or becomes the installed command, if a library would have been imported otherwise.

It imports little, and runs without `site`, to start in milliseconds.
"""
# ruff: noqa: PTH109, PTH110, PTH123, S606 (pathlib takes as long to import as all the rest)

import json
import os
import socket
import sys

# Read when they are needed. Any other variable may be read on import.
LATE = (
    *("PATH", "PWD", "OLDPWD", "SHLVL", "_", "no_proxy", "TMPDIR", "TMP", "TEMP", "TEMPDIR"),
    *("AWS_", "COLLABPIPE_", "CUDA_VISIBLE_DEVICES", "DVC_", "GIT_", "PYTEST_", "SLURM_", "SNAKEMAKE_"),
    "TORCHINDUCTOR_CACHE_DIR",
)
# What the package and its libraries set, in the tests' own process too.
SET = {
    ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
    ("KINETO_LOG_LEVEL", "99"),
    ("KMP_DUPLICATE_LIB_OK", "True"),
    ("KMP_INIT_AT_FORK", "FALSE"),
    ("MPLBACKEND", "agg"),
}


def read_early(environment: dict[str, str]) -> dict[str, str]:
    """The variables that libraries may read on import."""
    prefixes = tuple(name for name in LATE if name.endswith("_"))
    return {
        name: value
        for name, value in environment.items()
        if name not in LATE and not name.startswith(prefixes) and (name, value) not in SET
    }


def main(server: str, command: str, *arguments: str) -> int:
    """Run the command; its exit code, or the signal that ended it, negated."""
    environment = dict(os.environ)
    with open(f"{server}.environment", encoding="utf-8") as file:
        known = json.load(file)
    threads = {name: value for name, value in known.items() if name.endswith("_THREADS")}
    # matplotlib reads its file when it is imported.
    if read_early(threads | environment) != read_early(known) or os.path.exists("matplotlibrc"):
        os.execv(command, [command, *arguments])
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(server)
        socket.send_fds(link, [b" "], [0, 1, 2])
        os.umask(umask := os.umask(0))
        link.sendall(json.dumps((command, arguments, os.getcwd(), umask, environment)).encode())
        link.shutdown(socket.SHUT_WR)
        return int(link.recv(16))


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)
