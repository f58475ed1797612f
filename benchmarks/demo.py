"""The default study from nothing, as `make demo` runs it: what it takes in addition to its trainings."""

from __future__ import annotations

import os

from benchmarks.rounds import Context, Goal, Row
from benchmarks.studies import run, working_folder
from collabpipe.common.files import read_json


def measure(context: Context) -> list[Row]:
    """One run of it, minutes long."""
    folder = working_folder(context.folder / "study")
    used = run(folder, "snakemake", "--profile", "profiles/quiet", "--cores", "all")
    records = [read_json(path) for path in (folder / "results" / "default" / "provenance" / "runs").rglob("*.json")]
    trained = sum(record["cost"]["seconds"] for record in records)
    cores = len(os.sched_getaffinity(0))
    ratio = used.seconds / (trained / cores)
    note = f"{used.seconds:.0f} s; {len(records)} trainings of {trained:.0f} s in all on {cores} cores"
    return [Row("the default study from nothing", "its training seconds / cores", ratio, Goal("≤", 1.5), note=note)]
