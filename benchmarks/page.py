"""The page of 2,000 finished runs: the time to write it, its size, and how long a browser takes to show it.

Not a section of docs/performance.md, as it needs Chromium: `python -m benchmarks.page`.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.finished import finish
from benchmarks.studies import large_study, run, working_folder
from collabpipe.plan.plan import Plan
from tests.report.browser import browsing

SEEDS, NOISES = 20, 5  # with 20 methods: 2,000 runs


def main() -> None:
    """Write the page and open it five times."""
    with tempfile.TemporaryDirectory() as folder, browsing() as browser:
        root = working_folder(Path(folder) / "study", large_study(SEEDS, NOISES))
        plan = Plan.from_files([root / "config" / "config.yaml"], root / "results")
        finish(plan)
        for command in ("tables", "figures"):
            run(root, "collabpipe", command, str(plan.paths.recipe(plan.study.digest)), *plan.paths.options)
        used = run(root, "collabpipe", "report", *plan.paths.options)
        opened = []
        for _ in range(5):
            opened.append(browser.open(plan.paths.report))
            rows = browser.run("return new DataTable.Api('#all-runs').rows().count()")
            if rows != len(plan.runs):
                raise RuntimeError(f"the page shows {rows} runs of {len(plan.runs)}")
        size = plan.paths.report.stat().st_size / 1e6
        print(
            f"{len(plan.runs):,} runs: written in {used.seconds:.1f} s (at most {used.peak / 2**20:.0f} MiB), "
            f"{size:.1f} MB, opened in {statistics.median(opened):.2f} s (of five: {min(opened):.2f} to "
            f"{max(opened):.2f})"
        )


if __name__ == "__main__":
    main()
