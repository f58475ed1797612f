"""The generator of finished studies that benchmarks measure on: what it makes passes for what the pipeline makes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.finished import finish
from collabpipe.cli import main
from collabpipe.plan.plan import Plan
from collabpipe.report.write import write_report
from collabpipe.results.state import look
from collabpipe.results.studies import Study
from collabpipe.settings.study import check_settings
from tests.workspaces import altered


def test_a_generated_study_is_current_and_its_tables_can_be_made(tmp_path: Path) -> None:
    settings = check_settings(altered({"noise": ["none", "symmetric-0.5"], "seeds": [0, 1, 2]}), {})
    plan = Plan(settings, tmp_path / "results")

    finish(plan)

    state = look(plan)
    assert state.trained == state.evaluated == frozenset(plan.runs)
    assert (state.labels, state.overhead, state.tables) == (frozenset(plan.labels), True, False)
    study = plan.paths.recipe(plan.study.digest)
    for command in ("tables", "figures"):
        assert main([command, str(study), *plan.paths.options]) == 0
    write_report(Study(plan, "of this test"))
    assert look(plan).complete(plan)
