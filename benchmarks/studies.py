"""Large studies on digits to plan and to tabulate, in working folders of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parent.parent
NOISE = ("none", "symmetric-0.5", "symmetric-0.2", "symmetric-0.3", "symmetric-0.4")
METHODS = 20


def large_study(seeds: int, noises: int, seeds_per_job: int = 1) -> dict[str, Any]:
    """The default study with 20 methods, and these numbers of seeds and of kinds of noise."""
    study: dict[str, Any] = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8"))
    methods = study["methods"]
    for number in range(METHODS - len(methods)):
        methods[f"output_{number}"] = {"kind": "output", "heads": 2, "split": "stage2", "weight": 0.1 * (number + 1)}
    execution = {"seeds_per_job": seeds_per_job}
    return study | {"noise": list(NOISE[:noises]), "seeds": list(range(seeds)), "execution": execution}


def working_folder(folder: Path, study: dict[str, Any] | None = None) -> Path:
    """The workflow in `folder`, with `study` (None: the default one) as its configuration."""
    folder.mkdir(parents=True)
    for name in ("Snakefile", "rules", "profiles", "config"):
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    if study is not None:
        (folder / "config" / "config.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return folder


def environment() -> dict[str, str]:
    """Variables under which commands and package are those that this process runs with."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY)}


@dataclass(frozen=True)
class Used:
    """What a command took: seconds on the clock, the processor's seconds, and bytes at its peak."""

    seconds: float
    processor: float
    peak: int


def run(folder: Path, *command: str) -> Used:
    """Run a command in a working folder.

    Raises:
        RuntimeError: it failed.
    """
    log = folder / "benchmark.log"
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        child = subprocess.Popen(  # noqa: S603
            command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text(encoding='utf-8')[-2000:]}")
    seconds = time.perf_counter() - started
    return Used(seconds, usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss)
