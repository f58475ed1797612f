"""What a study of 1,000 trainings asks of SLURM's controller: one job per training, in arrays, in packed arrays.

    python -m benchmarks.slurm_submissions

As root, with slurm-wlm and munge installed: a cluster is started as the tests start theirs. Submissions, status queries
and Snakemake are real; the jobs themselves do nothing, and their files are made up.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.slurm.cluster import Cluster, cluster
from tests.slurm.sessions import Session
from tests.workspaces import Workspace

STUDY: dict[str, Any] = {
    "study": "thousand",
    "datasets": {"digits": {"train_size": 200, "validation_size": 50}},
    "noise": ["none", "symmetric-0.2", "symmetric-0.4", "symmetric-0.5", "symmetric-0.6"],
    "networks": {"resnet8": {"width": 4}, "wide": {"kind": "resnet8", "width": 8}},
    "methods": {f"dropout{i}": {"kind": "dropout", "drop": i / 20} for i in range(1, 11)},
    "seeds": list(range(10)),
    "training": {"epochs": 2, "batch_size": 64},
}
EMPTY_JOB = """\
#!/bin/bash
for argument; do
    case $argument in --wrap=*) argument=--wrap=true ;; esac
    arguments+=("$argument")
done
exec /usr/bin/sbatch "${arguments[@]}"
"""
CALLS = {
    "sbatch": "REQUEST_SUBMIT_BATCH_JOB",
    "squeue": "REQUEST_JOB_INFO",
    "scontrol show config": "REQUEST_BUILD_INFO",
}
VARIANTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "a job each": (1, ("--slurm-array-jobs", "none")),
    "arrays of 25": (1, ()),
    "five seeds a job, arrays of 25": (5, ()),
}


def main() -> None:
    """Measure each way and print the table."""
    print("| way | jobs of trainings | sbatch | squeue | scontrol show config | minutes |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder) / "cluster") as slurm:
        shim = Path(folder) / "bin" / "sbatch"
        shim.parent.mkdir()
        shim.write_text(EMPTY_JOB, encoding="utf-8")
        shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
        os.environ["PATH"] = f"{shim.parent}:{os.environ['PATH']}"
        for number, (name, (seeds_per_job, arguments)) in enumerate(VARIANTS.items()):
            study = STUDY | {"execution": {"seeds_per_job": seeds_per_job}}
            workspace = Workspace.create(Path(folder) / str(number), study)
            started = time.monotonic()
            calls = _calls(slurm, workspace, arguments)
            minutes = (time.monotonic() - started) / 60
            jobs = len(workspace.plan.runs) // seeds_per_job
            print(f"| {name} | {jobs:,} | {' | '.join(map(str, calls))} | {minutes:.1f} |", flush=True)


def _calls(slurm: Cluster, workspace: Workspace, arguments: tuple[str, ...]) -> list[int]:
    """The calls of Snakemake for all trainings, by kind as in CALLS."""
    slurm.client("sdiag", "--reset")
    session = Session(workspace, "checkpoints", *arguments, patient=True)
    ended = threading.Event()
    maker = threading.Thread(target=_make, args=(workspace.root, session, ended))
    maker.start()
    try:
        code = session.wait(3600)
    finally:
        session.kill()
        ended.set()
        maker.join()
    if code != 0:
        raise SystemExit(session.output[-3000:])
    statistics = slurm.client("sdiag")
    found = {kind: re.search(rf"{kind} .*count:(\d+)", statistics) for kind in CALLS.values()}
    return [int(match.group(1)) if match else 0 for match in found.values()]


def _make(root: Path, session: Session, ended: threading.Event) -> None:
    """Make the files of the jobs as Snakemake announces them, which it does before it submits."""
    made: set[str] = set()
    while not ended.wait(1):
        announced = re.findall(r"^    (?:output|benchmark): (.+)$", session.output, re.MULTILINE)
        for name in {name for names in announced for name in names.split(", ")} - made:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
            made.add(name)


if __name__ == "__main__":
    main()
