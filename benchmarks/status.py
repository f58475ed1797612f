"""`collabpipe status` of 2,000 finished runs, and of as many that were begun and stopped."""

from __future__ import annotations

import shutil
import statistics

from benchmarks.finished import finish
from benchmarks.rounds import Context, Goal, Row
from benchmarks.studies import large_study, run, working_folder
from collabpipe.common.files import write_json
from collabpipe.plan.paths import ASKED_FILE
from collabpipe.plan.plan import Plan
from collabpipe.results.store import Store
from collabpipe.results.under_way import UnderWay


def stop(plan: Plan) -> None:
    """Leave each run of the plan as a killed training does, but for the saved state."""
    shutil.rmtree(plan.paths.store)
    note = UnderWay(epoch=3, epochs=25, loss=0.5, rate=100.0, seconds=3.0, left=22.0, device="cpu")
    for name, recipe in plan.runs.items():
        shutil.rmtree(plan.paths.run(recipe.run))
        folder = Store(plan.paths.store).folder(recipe.digest)
        write_json(folder / ASKED_FILE, {"asked": recipe.asked_digest, "run": name}, durable=False)
        note.write(folder)


def measure(context: Context) -> list[Row]:
    """The whole command, with its imports."""
    folder = working_folder(context.folder / "study", large_study(100, 1, 10))
    plan = Plan.from_files([folder / "config" / "config.yaml"], folder / "results")
    finish(plan)
    run(folder, "collabpipe", "plan", "--write")
    rows = []
    for what in ("finished", "stopped"):
        if what == "stopped":
            stop(plan)
        used = [run(folder, "collabpipe", "status") for _ in range(3)]
        seconds, processor = (statistics.median(getattr(u, name) for u in used) for name in ("seconds", "processor"))
        note = f"of three; processor {processor:.1f} s"
        rows.append(Row(f"status of {len(plan.runs):,} {what} runs", "", seconds, Goal("≤", 2.0), "s", note))
    return rows
