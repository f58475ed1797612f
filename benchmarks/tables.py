"""Tables and claims of 10,000 finished runs: 20 methods, five kinds of noise, 100 seeds."""

from __future__ import annotations

import statistics

from benchmarks.finished import finish
from benchmarks.rounds import Context, Goal, Row
from benchmarks.studies import large_study, run, working_folder
from collabpipe.plan.plan import Plan


def measure(context: Context) -> list[Row]:
    """The whole command, with its imports."""
    folder = working_folder(context.folder / "study", large_study(100, 5, 10))
    plan = Plan.from_files([folder / "config" / "config.yaml"], folder / "results")
    finish(plan)
    command = ("collabpipe", "tables", str(plan.paths.recipe(plan.study.digest)), *plan.paths.options)
    used = [run(folder, *command) for _ in range(3)]
    seconds, processor = (statistics.median(getattr(u, name) for u in used) for name in ("seconds", "processor"))
    peak = max(one.peak for one in used) / (1 << 20)
    note = f"of three; processor {processor:.1f} s, {peak:.0f} MiB at most"
    return [Row(f"tables and claims of {len(plan.runs):,} runs", "", seconds, Goal("≤", 20.0), "s", note)]
