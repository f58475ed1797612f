"""Planning by the real Snakemake: a finished study in which nothing is to be done, and 10,000 runs from nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.finished import finish
from benchmarks.rounds import Context, Goal, Row, in_turns, paired
from benchmarks.studies import Used, large_study, run, working_folder
from collabpipe.plan.plan import Plan

DRY = ("snakemake", "--cores", "2", "--dry-run")


def finished_default_study(folder: Path) -> Path:
    """A working folder in which the default study is finished."""
    working_folder(folder)
    plan = Plan.from_files([folder / "config" / "config.yaml"], folder / "results")
    finish(plan)
    for command in ("tables", "figures", "report"):
        run(folder, "collabpipe", command, str(plan.paths.recipe(plan.study.digest)), *plan.paths.options)
    run(folder, *DRY)  # what the store lacks is taken in once
    return folder


def nothing_to_do(context: Context) -> list[Row]:
    """The default study, finished, against Snakemake's own start-up; and the floor that an empty workflow sets."""
    study, empty = finished_default_study(context.folder / "finished"), context.folder / "empty"
    empty.mkdir()
    (empty / "Snakefile").write_text("rule all:\n    output: touch('made')\n", encoding="utf-8")
    (empty / "made").touch()
    times = in_turns(
        {
            "version": lambda: run(study, "snakemake", "--version"),
            "study": lambda: run(study, *DRY),
            "empty": lambda: run(empty, *DRY),
        },
        context.seconds,
    )
    against = "snakemake --version"
    ratio, floor = (paired(times[name], times["version"]) for name in ("study", "empty"))
    return [
        Row("nothing to do, default study", against, ratio.median, Goal("≤", 1.5), note=str(ratio)),
        Row("nothing to do, a workflow of one rule", against, floor.median, note=f"{floor}; the floor"),
    ]


def from_nothing(context: Context, runs: int, seeds_per_job: int) -> Used:
    """A dry run of so many runs: 20 methods, one kind of noise."""
    folder = working_folder(context.folder / "large", large_study(runs // 20, 1, seeds_per_job))
    used = run(folder, *DRY)
    shutil.rmtree(folder)
    return used


def measure(context: Context) -> list[Row]:
    """Nothing to do; 1,000 and 10,000 runs, one seed per job and ten seeds per job."""
    rows = nothing_to_do(context)
    for seeds_per_job in (1, 10):
        few, many = (from_nothing(context, runs, seeds_per_job) for runs in (1_000, 10_000))
        what, note = f"10,000 runs planned, {seeds_per_job} a job", f"processor {many.processor:.1f} s"
        growth = many.seconds / few.seconds
        rows += [
            Row(what, "", many.seconds, Goal("≤", 60.0), "s", note),
            Row(f"{what}: peak memory", "", many.peak / (1 << 30), Goal("≤", 1.0), "GiB"),
            Row(what, "1,000 runs", growth, Goal("≤", 12.0), note=f"1,000 in {few.seconds:.1f} s"),
        ]
    return rows
