"""Tests that need a CUDA GPU: `make test-gpu`, or `python -m pytest -m gpu` where there is no Snakemake and no DVC.

Elsewhere they are skipped. `GPU_TESTS_ON=cpu` runs those that mean something on a CPU, to check the tests themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from collabpipe.training.device import be_deterministic
from tests.workspaces import REPOSITORY

ON = os.environ.get("GPU_TESTS_ON", "cuda")
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    why = "" if ON == "cpu" or torch.cuda.is_available() else "torch sees no CUDA GPU here"
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.gpu)
            if why or (ON == "cpu" and item.get_closest_marker("cuda")):
                item.add_marker(pytest.mark.skip(reason=why or "it asks CUDA itself"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device under test, with torch held to the same numbers as in trainings."""
    be_deterministic(threads=1)
    return torch.device(ON)


class Terminal:
    """Commands by hand on one host whose leases lie in a folder of their own."""

    def __init__(self, folder: Path):
        path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {"COLLABPIPE_LEASES": str(folder / "leases"), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        self.environment = os.environ | own

    @contextmanager
    def started(self, *command: str | Path) -> Iterator[subprocess.Popen[str]]:
        """Python with `command`, killed in the end."""
        arguments = [sys.executable, *map(str, command)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(arguments, cwd=REPOSITORY, env=self.environment, text=True, **pipes)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Python with `command`, to its end."""
        arguments = [sys.executable, *map(str, command)]
        environment = self.environment | variables
        return subprocess.run(
            arguments, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
        )


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)
