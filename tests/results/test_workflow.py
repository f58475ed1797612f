"""What the rules tell the commands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from collabpipe.cli import main
from collabpipe.jobs import overhead, train
from collabpipe.plan.plan import Plan
from collabpipe.results.workflow import Workflow
from collabpipe.settings.study import check_settings
from collabpipe.settings.training import ExecutionSettings
from tests.workspaces import altered

OTHER_THAN_DEFAULT = {"save_seconds": 7.0, "save_epochs": 2, "jobs_per_gpu": 3, "cuda_graphs": False, "stage": "here"}


@pytest.mark.parametrize("asked", [{}, *({name: value} for name, value in OTHER_THAN_DEFAULT.items())])
def test_what_a_study_says_of_execution_reaches_its_trainings(
    asked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(check_settings(altered({"execution": asked}), {}), tmp_path)
    recipe = next(iter(plan.runs.values())).write(plan.paths.recipes)
    reached: list[ExecutionSettings] = []
    monkeypatch.setattr(train, "train", lambda _recipe, _paths, execution, _interruption: reached.append(execution))

    assert main(["train", str(recipe), *shlex.split(Workflow(plan).train_options)]) == 0

    names = set(OTHER_THAN_DEFAULT)
    [found] = reached
    assert found.model_dump(include=names) == plan.settings.execution.model_dump(include=names)


@pytest.mark.parametrize("asked", [{}, {"overhead_seconds": 7.0}, {"cuda_graphs": False}])
def test_what_a_study_says_of_execution_reaches_its_overhead_table(
    asked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(check_settings(altered({"execution": asked}), {}), tmp_path)
    recipe = plan.overhead.write(plan.paths.recipes)
    reached: list[tuple[float, bool]] = []
    monkeypatch.setattr(overhead, "measure_study", lambda _recipe, _paths, *given: reached.append(given))

    assert main(["overhead", str(recipe), *shlex.split(Workflow(plan).overhead_options)]) == 0

    execution = plan.settings.execution
    assert reached == [(execution.overhead_seconds, execution.cuda_graphs)]
