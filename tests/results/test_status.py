"""How far a study is, at several moments: real processes, real files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collabpipe.common.files import read_json, sealed, write_json
from collabpipe.host.writer import writing
from collabpipe.results.under_way import UnderWay
from tests.workspaces import Lab, Workspace, altered, key_of

CELL = "digits/symmetric-0.5/resnet8"
LONG: dict[str, Any] = {"training": {"epochs": 2000}, "seeds": [0, 1], "execution": {"seeds_per_job": 1}}


def record(study: Workspace, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """What the command tells scripts."""
    done = study.collabpipe("status", "--json", *arguments, check=False)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def counts(found: dict[str, Any]) -> dict[str, int]:
    """The stages that some training is at."""
    return {stage: number for stage, number in found["counts"].items() if number}


def stages(found: dict[str, Any]) -> dict[str, str]:
    return {one["run"].removeprefix(f"{CELL}/"): one["state"] for one in found["trainings"]}


def text(study: Workspace, *arguments: str | Path, code: int = 0) -> str:
    done = study.collabpipe("status", *arguments, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


@contextmanager
def training(study: Workspace, run: str) -> Iterator[subprocess.Popen[bytes]]:
    """A training by hand, killed in the end."""
    recipe = study.paths.recipe(study.plan.runs[run].digest)
    running = study.start("collabpipe", "train", recipe, "--save-seconds", "0")
    try:
        yield running
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def wait(running: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 180
    while not ready():
        assert running.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_before_anything_was_done_all_is_planned_and_nothing_is_written(fresh: Workspace) -> None:
    before = sorted(fresh.root.rglob("*"))
    found = record(fresh)
    assert counts(found) == {"planned": 6}
    assert (found["study"], found["complete"], found["share"], found["seconds_left"]) == ("small", False, 0.0, None)
    printed = text(fresh)
    assert printed.startswith("study small: 0% of 6 trainings\n6 planned; tables are to be made\nTime left: not known")
    assert "collabpipe plan --estimate" in printed
    assert sorted(fresh.root.rglob("*")) == before


def test_a_training_that_runs_shows_how_far_it_is_and_a_killed_one_where_it_stopped(study: Workspace) -> None:
    study.configure(altered(LONG))
    study.collabpipe("plan", "--write")
    assert counts(record(study)) == {"waiting": 6}, "labels are there"

    name = f"{CELL}/output/seed0"
    key = key_of(study.plan, name)
    folder = study.results / "store" / key[:2] / key
    with training(study, name) as running:
        wait(running, lambda: bool((note := UnderWay.read(folder)) and note.epoch))
        found = record(study)
        assert counts(found) == {"waiting": 5, "running": 1}
        [one] = [one for one in found["trainings"] if one["state"] == "running"]
        assert one["run"] == name
        assert one["process"].startswith(f"process {running.pid} on ")
        progress = one["progress"]
        assert 1 <= progress["epoch"] < progress["epochs"] == 2000
        assert progress["device"] == "cpu"
        assert min(progress["loss"], progress["rate"], progress["left"], progress["seconds"]) > 0
        # Six such trainings, one of them begun.
        assert found["share"] == pytest.approx(progress["epoch"] / 2000 / 6)
        whole = progress["seconds"] / progress["epoch"] * 2000
        assert found["seconds_left"] == pytest.approx(whole * (6 - progress["epoch"] / 2000))
        told = r"running, epoch \d+ of 2000, loss \d+\.\d{4}, \d+ steps/s, \d+ s left, on cpu, process \d+ on "
        assert re.search(f"  {name}: {told}", text(study))
        assert " with 1 at once as now." in text(study)

    found = record(study)
    assert counts(found) == {"waiting": 5, "stopped": 1}
    epoch = next(one for one in found["trainings"] if one["state"] == "stopped")["progress"]["epoch"]
    assert f"  {name}: stopped at epoch {epoch}, saved after epoch " in text(study)
    assert " one after the other." in text(study)


def test_a_failed_job_is_shown_with_its_log_and_snakemakes_message_names_the_command(study: Workspace) -> None:
    study.configure(altered({"methods": {"output": {"weight": 7.0}, "output_control": None}}))
    key = key_of(study.plan, f"{CELL}/output/seed0")
    state = study.results / "store" / key[:2] / key / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"not a state")
    done = study.snakemake(check=False)
    assert done.returncode != 0
    hint = "All failed jobs and how far the study is: collabpipe status --study small\n"
    assert (done.stdout + done.stderr).count(hint) == 1

    found = record(study, "--study", "small", code=3)
    job = f"train/{CELL}/output/block0"
    log = Path("results") / study.paths.log(job).relative_to(study.results)
    [failed] = found["failed_jobs"]
    assert (failed["job"], failed["log"]) == (job, str(log))
    assert failed["last_line"] == (study.root / log).read_text().splitlines()[-1]
    assert stages(found) == {
        "baseline/seed0": "done",
        "baseline/seed1": "done",
        "output/seed0": "failed",
        "output/seed1": "waiting",  # it is in the store; Snakemake removed what the failed job had put in place
    }
    assert f"  {job}: {failed['last_line']}\n    {log}\n" in text(study, code=3)

    # While it is tried again it runs; its log is a new one then.
    state.unlink()
    study.snakemake("--", "evaluations")
    assert counts(record(study)) == {"done": 4}


def test_a_failed_evaluation_is_no_failed_training(study: Workspace) -> None:
    shutil.rmtree(study.folder / "evaluations" / CELL / "output")
    job = f"evaluate/{CELL}/output/block0"
    study.paths.log(job).write_text("/bin/bash: line 1: collabpipe: command not found\n")
    found = record(study, code=3)
    assert counts(found) == {"done": 4, "failed": 2}
    assert (found["share"], found["seconds_left"]) == (1.0, 0.0)
    study.paths.log(job).unlink()
    assert counts(record(study)) == {"done": 4, "trained": 2}
    assert "Time left: none." in text(study)


def test_a_diverged_training_says_where(lab: Lab, tmp_path: Path) -> None:
    changes = {"training": {"learning_rate": 1e30}, "methods": {"output": None, "output_control": None}, "seeds": [0]}
    study = Workspace.create(tmp_path / "study", altered(changes))
    shutil.copytree(lab.results, study.results)
    study.collabpipe("plan", "--write")
    plan = study.plan
    for labels in plan.labels.values():
        study.collabpipe("labels", plan.paths.recipe(labels.digest))
    study.collabpipe("train", plan.paths.recipe(plan.runs[f"{CELL}/baseline/seed0"].digest))
    found = record(study)
    assert counts(found) == {"diverged": 1}
    assert found["share"] == 1.0
    assert re.search(rf"  {CELL}/baseline/seed0: diverged: in epoch 1, step \d: .+ not finite\n", text(study))


def test_a_finished_study_is_complete_and_watching_it_ends(study: Workspace) -> None:
    assert not list(study.results.glob("store/*/*/progress.json")), "a training that has ended leaves no note"
    found = record(study, "--watch")
    assert found["complete"]
    assert counts(found) == {"done": 6}
    assert {one["seconds"] for one in found["trainings"]} == {cost["seconds"] for cost in study.costs().values()}
    printed = text(study, "config/config.yaml", "--watch", "1")
    assert printed == (
        "study small: 100% of 6 trainings\n6 done; tables are current\nThe study is finished: collabpipe show small\n"
    )


def test_a_report_that_is_to_be_written_again_is_told(study: Workspace) -> None:
    study.paths.report.unlink()
    found = record(study)
    assert (found["tables"], found["figures"], found["report"], found["complete"]) == (True, True, False, False)
    assert "6 done; tables and figures are current, the report is not\n" in text(study)


def test_watching_without_a_terminal_prints_lines_until_the_study_is_finished(study: Workspace) -> None:
    tables = study.paths.tables / "record.json"
    text_of_tables = tables.read_text()
    write_json(tables, sealed(read_json(tables) | {"evaluations": []}))
    watching = subprocess.Popen(
        ["collabpipe", "status", "--watch", "1"],
        cwd=study.root,
        env=study.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    assert [watching.stdout.readline() for _ in range(2)][1] == "6 done; tables are to be made\n"
    tables.write_text(text_of_tables)
    printed, _ = watching.communicate(timeout=120)
    assert watching.returncode == 0
    assert printed.endswith("The study is finished: collabpipe show small\n")


def test_on_a_terminal_there_is_a_bar_and_ctrl_c_ends_watching(study: Workspace) -> None:
    shutil.rmtree(study.paths.tables)
    ours, theirs = os.openpty()
    watching = subprocess.Popen(
        ["collabpipe", "status", "--watch"],
        cwd=study.root,
        env=study.environment | {"TERM": "xterm", "COLUMNS": "100"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while b"Time left: none." not in seen:
        seen += os.read(ours, 1000)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode(errors="replace"))
    assert f"study small: 100% of 6 trainings\r\n{'━' * 60}\r\n6 done; tables are to be made\r\n" in shown
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=60) == 0
    os.close(ours)


def test_without_a_study_there_is_one_message(tmp_path: Path) -> None:
    done = Workspace(tmp_path).collabpipe("status", "--study", "nothing", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("collabpipe status: error: results: no study nothing was planned here.")


def test_a_note_of_another_version_and_a_lock_that_may_only_be_read_disturb_nobody(tmp_path: Path) -> None:
    assert UnderWay.read(tmp_path) is None
    write_json(tmp_path / "progress.json", {"epoch": 1})
    assert UnderWay.read(tmp_path) is None
    note = UnderWay(epoch=3, epochs=9, loss=0.5, rate=10.0, seconds=4.0, left=7.0, device="cpu")
    with writing(tmp_path):
        note.write(tmp_path)
    os.utime(tmp_path / "progress.json", (time.time() + 3600, time.time() + 3600))
    assert UnderWay.read(tmp_path) == note, "a host whose clock is ahead"
    os.utime(tmp_path / "progress.json", (0, 0))
    late = UnderWay.read(tmp_path)
    assert late is not None
    assert late.left == 0.0
