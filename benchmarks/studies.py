"""Large studies on digits to plan and to tabulate, in working folders of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
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


# To the system a process is at first as large as the one that it was forked from: so from a small one.
RELAY = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([time.perf_counter() - started, used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss]))
sys.exit(code)
"""


def run(folder: Path, *command: str) -> Used:
    """Run a command in a working folder.

    Raises:
        RuntimeError: it failed.
    """
    log = folder / "benchmark.log"
    relayed = [sys.executable, "-c", RELAY, *command]
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(  # noqa: S603
            relayed, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file
        )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text(encoding='utf-8')[-2000:]}")
    return Used(*json.loads(done.stdout))
