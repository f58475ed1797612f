"""The command for a rented GPU, tried on a CPU: a study without Snakemake, packed and taken over."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import carrying, gpu_day
from benchmarks.by_hand import StudyByHand
from benchmarks.carrying import pack, take_over
from benchmarks.gpu_day import Day
from collabpipe.audit.verify import Verifier
from collabpipe.common.files import read_json
from collabpipe.plan.plan import Plan
from tests.workspaces import REPOSITORY, Workspace, altered, jobs

STUDY: dict[str, Any] = {
    "methods": {
        "output": {"weight": [0.5, 1.0], "select": {"seeds": [100]}},
        "output_control": None,
    },
    "training": {"epochs": 1},
    "execution": {"keep_weights": "half"},
}


@pytest.mark.slow
def test_a_study_made_without_snakemake_is_taken_over_and_leaves_nothing_to_train(
    fresh: Workspace, tmp_path: Path
) -> None:
    fresh.configure(altered(STUDY))
    out, work = tmp_path / "out", tmp_path / "work"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "benchmarks.gpu_day",
        "--configs",
        fresh.config,
        "--device",
        "cpu",
    ]
    options: list[str | Path] = [
        "--only",
        "studies",
        "prices",
        "--presets",
        fresh.config,
        "--minutes",
        "10",
        "--price",
        "2.5",
    ]
    variables = {"PYTHONPATH": str(REPOSITORY)}
    fresh.run(*command, *options, "--out", out, "--work", work, env=variables)
    day = read_json(out / "day.json")
    about = day["study config"]
    assert (about["trained"], about["left"], about["failed"], about["without room"]) == (6, 0, [], 0)
    page = (out / "page.md").read_text(encoding="utf-8")
    assert "6 trainings in the last call" in page
    assert "at 2.5 an hour" in page

    # Called again it has nothing to do.
    fresh.run(*command, "--only", "studies", "--out", out, "--work", work, env=variables)
    assert read_json(out / "day.json")["study config"]["trained"] == 0

    shutil.rmtree(work)
    fresh.run(*command, "--take-over", out, "--results", fresh.results, env=variables)
    state = next(fresh.folder.glob("runs/digits/*/resnet8/baseline/seed0"))
    assert read_json(state / "record.json")["kept"] == "none"
    made = fresh.snakemake("-n")
    assert set(jobs(made)) <= {"measure_overhead", "assemble_tables"}, jobs(made)
    fresh.snakemake()
    assert set(fresh.table().index) == {"baseline", "output"}
    broken = [check.broken() for check in Verifier(fresh.plan, "follows").checks() if check.is_there]
    assert not [one for one in broken if one]


@pytest.mark.slow
def test_several_trainings_at_once_are_the_runs_that_they_are_alone(fresh: Workspace, tmp_path: Path) -> None:
    # Both controls are one training, which two processes must not make at the same time.
    methods = STUDY["methods"] | {"control": {"control_of": "output"}, "twin": {"control_of": "output"}}
    fresh.configure(altered(STUDY | {"methods": methods}))
    plans = [Plan.from_files([fresh.config], tmp_path / name) for name in ("together", "alone")]
    together = StudyByHand(plans[0], float("inf"), {}, processes=2, threads=2).work()
    alone = StudyByHand(plans[1], float("inf"), {}).work()
    assert (together.trained, together.left, together.failed) == (alone.trained, 0, []) == (10, 0, [])
    for recipe in plans[0].runs.values():
        records = [read_json(plan.paths.run(recipe.run) / "record.json") for plan in plans]
        assert records[0]["digest"] == records[1]["digest"]


def test_what_finds_no_room_is_told_and_the_rest_is_taken_over(
    study: Workspace, tmp_path: Path, monkeypatch: Any
) -> None:
    smaller = 250_000
    monkeypatch.setattr(carrying, "MOST_BYTES", smaller)
    monkeypatch.setattr(carrying, "MOST_FILES", 1)
    files, left = pack(study.plan, tmp_path / "out", "small")
    assert 0 < left < len(study.plan.runs) + 20
    assert [file.name for file in files] == ["small.1.tar.gz"]
    assert files[0].stat().st_size <= smaller
    state = take_over(Plan.from_files([study.config], tmp_path / "there"), tmp_path / "out", "small", {})
    assert state.labels
    assert len(state.evaluated) < len(study.plan.runs)


def test_what_has_no_result_is_on_the_page_until_it_has_one(tmp_path: Path) -> None:
    day = Day(tmp_path, 1.0, "cpu")
    fails = "import sys; print('loading'); sys.exit('no room on the device')"

    assert not day.succeeds("overhead-float32-96", "-c", fails)
    day.end = 0.0
    assert day.is_over("prices")
    assert not day.succeeds("benchmarks-step", "-c", "import time; time.sleep(60)")

    again = Day(tmp_path, 1.0, "cpu")
    assert again.missing == {
        "overhead-float32-96": "no room on the device",
        "prices": "the time was up before it began",
        "benchmarks-step": "the time was up",
    }
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "- overhead-float32-96: no room on the device\n- prices: the time was up before it began\n" in page

    assert again.succeeds("overhead-float32-96", "-c", "")
    again.keep("prices", {"an hour": 3.0, "of": {}})
    assert list(Day(tmp_path, 1.0, "cpu").missing) == ["benchmarks-step"]
    assert "overhead-float32-96" not in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_a_section_of_which_nothing_was_measured_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = Day(tmp_path, 1.0, "cpu")
    monkeypatch.setattr(gpu_day, "GPU_BENCHMARKS", ("input", "step"))
    rows = {
        "Input pipeline": [{"value": None, "goal": None, "note": "not measured: out of memory"}],
        "Training step": [{"what": "a", "against": "b", "unit": "", "value": 2.0, "goal": None, "note": ""}],
    }
    (tmp_path / "benchmarks.json").write_text(json.dumps({"sections": rows}), encoding="utf-8")
    asked: list[str] = []

    def succeeds(_: Day, name: str, *__: object) -> bool:
        asked.append(name)
        return True

    monkeypatch.setattr(Day, "succeeds", succeeds)

    for _ in range(2):
        gpu_day.benchmark(day)

    assert asked == ["benchmarks-input", "benchmarks-step", "benchmarks-input"]
    assert day.missing == {"benchmarks-input": "not measured: out of memory"}
    assert list(day.found["benchmarks"]) == ["Training step"]
