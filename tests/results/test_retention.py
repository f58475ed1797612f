"""What stays of a run's weights: they go, and nothing else changes or has to be made again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from collabpipe.cli import main
from collabpipe.common.files import file_digest, read_json, sealed, write_json
from collabpipe.plan.paths import CHECKPOINT_FILES, EVALUATION_FILES
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.plan.record_types import Keep
from collabpipe.results.retention import thin
from collabpipe.results.store import Store
from collabpipe.settings.study import check_settings
from tests.workspaces import Lab, Workspace, altered, jobs

NOTHING = "Nothing to be done"
METHODS: dict[str, Any] = {
    "output": None,
    "output_control": None,
    "kernel": {},
    "explodes": {"kind": "kernel", "weight": 1e39},
}
STUDY: dict[str, Any] = {"methods": METHODS, "seeds": [0], "training": {"epochs": 2}}
SEARCHED: dict[str, Any] = STUDY | {
    "methods": {"output": None, "output_control": None, "kernel": {"weight": [0.1, 1.0], "select": {"seeds": [7]}}}
}


class Desk:
    """A results folder ready for training, and the commands in this process."""

    def __init__(self, lab: Lab, root: Path, changes: dict[str, Any] = STUDY):
        self.paths, _ = lab.lay_out(root, changes)
        self.plan = Plan(check_settings(altered(changes), {}), self.paths.root)
        self.store = Store(self.paths.store)
        for recipe in (*self.plan.trainings.values(), *self.plan.selections.values()):
            recipe.write(self.paths.recipes)

    def recipe(self, method: str, seed: int = 0) -> TrainRecipe:
        return self.plan.trainings[f"digits/symmetric-0.5/resnet8/{method}/seed{seed}"]

    def folder(self, method: str, seed: int = 0) -> Path:
        return self.paths.run(self.recipe(method, seed).run)

    def evaluation(self, method: str) -> Path:
        return self.paths.evaluation(self.recipe(method).run)

    def main(self, command: str, digest: str, *options: str) -> int:
        recipe = str(self.paths.recipes / f"{digest}.json")
        return main([command, recipe, *self.paths.options, *options])

    def train(self, method: str, seed: int = 0) -> None:
        assert self.main("train", self.recipe(method, seed).digest) == 0

    def evaluate(self, method: str, keep: Keep = "all") -> None:
        assert self.main("evaluate", self.recipe(method).digest, "--keep", keep) == 0

    def record(self, method: str, seed: int = 0) -> dict[str, Any]:
        record: dict[str, Any] = read_json(self.folder(method, seed) / "record.json")
        return record

    def whereabouts(self, method: str) -> dict[str, Any]:
        """When and where a run was trained, at what cost."""
        about: dict[str, Any] = read_json(self.paths.provenance(self.folder(method)))
        return about

    def found(self, method: str) -> dict[str, Any] | None:
        """What the store has, its files verified; a damaged result would be gone afterwards."""
        result: dict[str, Any] | None = self.store.find(self.record(method)["key"])
        return result


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of every file of a run."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Desk:
    """A run that is trained and evaluated."""
    desk = Desk(lab, tmp_path / "desk")
    desk.train("baseline")
    desk.evaluate("baseline")
    # Long ago, so that a time that was touched shows.
    files = [desk.folder("baseline") / name for name in sorted(CHECKPOINT_FILES)]
    files += [desk.evaluation("baseline") / name for name in sorted(EVALUATION_FILES)]
    for number, path in enumerate(files):
        os.utime(path, (1.6e9, 1.6e9 + number))
    return desk


def test_half_keeps_the_last_weights_in_half_precision_and_everything_else_as_it_was(desk: Desk) -> None:
    folder = desk.folder("baseline")
    whole, record, before = load_file(folder / "last.safetensors"), desk.record("baseline"), state(folder)
    evaluated = state(desk.evaluation("baseline"))

    desk.evaluate("baseline", keep="half")

    half = load_file(folder / "last.safetensors")
    assert half.keys() == whole.keys()
    for name, value in whole.items():
        assert half[name].dtype == (torch.float16 if value.is_floating_point() else value.dtype)
        assert torch.equal(half[name], value.half() if value.is_floating_point() else value)
    assert load_file(folder / "best.safetensors") == {}
    after = state(folder)
    assert len(after["last.safetensors"][1]) < 0.65 * len(before["last.safetensors"][1])
    assert len(after["best.safetensors"][1]) < 200
    assert after["history.parquet"][1] == before["history.parquet"][1]
    assert evaluated.keys() == set(EVALUATION_FILES)
    for name, (_, content) in state(desk.evaluation("baseline")).items():
        assert content == evaluated[name][1], name
    weights = ("last.safetensors", "best.safetensors")
    files = record["files"] | {name: file_digest(folder / name) for name in weights}
    # The record says what was trained, as before, its weights' digest too.
    assert desk.record("baseline") == sealed(record | {"kept": "half", "files": files})
    stored = desk.found("baseline")
    assert stored is not None
    assert (stored["kept"], stored["files"]) == ("half", files)


def test_all_modification_times_stay(desk: Desk) -> None:
    def times() -> dict[str, int]:
        return {name: time for name, (time, _) in state(desk.folder("baseline")).items()}

    checkpoint, evaluated = times(), state(desk.evaluation("baseline"))
    assert checkpoint.keys() == set(CHECKPOINT_FILES)

    thin(desk.recipe("baseline").run, desk.paths, "half")
    thin(desk.recipe("baseline").run, desk.paths, "none")

    assert times() == checkpoint
    assert state(desk.evaluation("baseline")) == evaluated


def test_a_second_time_does_nothing(desk: Desk) -> None:
    desk.evaluate("baseline", keep="half")
    key = desk.record("baseline")["key"]
    folders = desk.folder("baseline"), desk.evaluation("baseline"), desk.store.folder(key)
    before = [state(folder) for folder in folders]

    thin(desk.recipe("baseline").run, desk.paths, "half")

    assert [state(folder) for folder in folders] == before


def test_weights_go_step_by_step_and_never_come_back(desk: Desk) -> None:
    folder = desk.folder("baseline")
    sizes = []
    for asked, kept in (
        ("all", "all"),
        ("half", "half"),
        ("all", "half"),
        ("none", "none"),
        ("half", "none"),
        ("all", "none"),
    ):
        desk.evaluate("baseline", keep=asked)  # type: ignore[arg-type]
        assert desk.record("baseline").get("kept", "all") == kept
        stored = desk.found("baseline")
        assert stored is not None
        assert stored.get("kept", "all") == kept
        sizes.append(sum((folder / name).stat().st_size for name in ("last.safetensors", "best.safetensors")))
    assert sizes[0] > sizes[1] == sizes[2] > 1000 > sizes[3] == sizes[4] == sizes[5]


def test_the_space_is_given_back(desk: Desk) -> None:
    def used() -> int:
        files = [path.stat() for path in desk.paths.root.rglob("*.safetensors")]
        return sum({found.st_ino: found.st_size for found in files}.values())

    before = used()
    desk.evaluate("baseline", keep="none")

    assert used() < 1000 < before
    assert not list(desk.paths.root.rglob("*.part"))


def test_a_diverged_run_has_nothing_to_lose(lab: Lab, tmp_path: Path) -> None:
    desk = Desk(lab, tmp_path / "desk")
    desk.train("explodes")

    desk.evaluate("explodes", keep="half")

    assert load_file(desk.folder("explodes") / "last.safetensors") == {}
    assert desk.record("explodes")["kept"] == "half"
    assert desk.found("explodes") is not None


# --- killed ----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of a process: nothing of it is caught."""


@pytest.mark.parametrize("moves", range(10))
def test_killed_at_any_file_it_leaves_a_result_that_counts_and_finishes_the_next_time(
    moves: int, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, key, record = desk.recipe("baseline"), desk.record("baseline")["key"], desk.record("baseline")
    whereabouts = desk.whereabouts("baseline")
    replace, left = Path.replace, [moves]

    def dies(self: Path, target: Any) -> Path:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return replace(self, target)

    # Every file comes into place by a rename; a process can die before any of them.
    monkeypatch.setattr(Path, "replace", dies)
    died = False
    try:
        thin(recipe.run, desk.paths, "half")
    except Killed:
        died = True
    monkeypatch.undo()
    # Two new weights are written and take the places of the old ones; the record before and after that, two links and
    # the run's record.
    assert died == (moves < 9)

    assert desk.store.find(key) is not None, "the store's entry counts"
    desk.train("baseline")
    assert desk.record("baseline")["weights"] == record["weights"]
    assert desk.whereabouts("baseline") == whereabouts, "it was not trained again"
    desk.evaluate("baseline", keep="half")
    assert desk.record("baseline")["kept"] == "half"
    assert load_file(desk.folder("baseline") / "last.safetensors")["classifier.bias"].dtype == torch.float16
    assert load_file(desk.folder("baseline") / "best.safetensors") == {}
    stored = desk.found("baseline")
    assert stored is not None
    assert stored["kept"] == "half"
    assert not list(desk.paths.root.rglob("*.part"))


# --- trained again, and not ------------------------------------------------------------------------------------------


def trained_again(desk: Desk, method: str, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether training a run takes work."""
    capsys.readouterr()
    desk.train(method)
    return "in the store already" not in capsys.readouterr().err


def test_an_evaluated_run_is_placed_from_the_store_although_its_weights_are_gone(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.evaluate("baseline", keep="none")
    evaluated = {name: content for name, (_, content) in state(desk.evaluation("baseline")).items()}
    assert evaluated.keys() == set(EVALUATION_FILES)
    for path in (*desk.folder("baseline").iterdir(), *desk.evaluation("baseline").iterdir()):
        path.unlink()

    assert not trained_again(desk, "baseline", capsys)
    desk.evaluate("baseline", keep="none")

    assert {name: content for name, (_, content) in state(desk.evaluation("baseline")).items()} == evaluated
    assert desk.record("baseline")["kept"] == "none"


@pytest.mark.parametrize("keep", ["half", "none"])
def test_a_run_without_weights_that_is_not_evaluated_is_trained_again(
    keep: Keep, lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(lab, tmp_path / "desk")
    desk.train("baseline")
    weights = desk.record("baseline")["weights"]
    thin(desk.recipe("baseline").run, desk.paths, keep)
    # Evaluating says what is wrong.
    assert desk.main("evaluate", desk.recipe("baseline").digest) == 1
    message = capsys.readouterr().err
    assert f"its weights were not kept (keep_weights: {keep})" in message
    assert "collabpipe train RECIPE" in message

    assert trained_again(desk, "baseline", capsys)

    assert desk.record("baseline")["weights"] == weights
    assert desk.record("baseline").get("kept", "all") == "all"
    desk.evaluate("baseline")
    assert not trained_again(desk, "baseline", capsys)


def test_a_lost_evaluation_of_a_run_without_weights_costs_its_training(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.evaluate("baseline", keep="half")
    for result in desk.paths.store.glob("*/*/predictions.parquet"):
        (result.parent / "result.json").unlink()

    assert trained_again(desk, "baseline", capsys)
    desk.evaluate("baseline", keep="half")
    assert desk.record("baseline")["kept"] == "half"


def test_choosing_drops_the_weights_of_candidates_and_they_serve_without(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(lab, tmp_path / "desk", SEARCHED)
    selection = desk.plan.selections["digits", "symmetric-0.5", "resnet8", "kernel"]
    candidates = [f"kernel.candidate{number}" for number in (0, 1)]
    for name in candidates:
        desk.train(name, 7)
    assert desk.main("choose", selection.digest) == 0
    choice = read_json(desk.paths.choice("digits", "symmetric-0.5", "resnet8", "kernel"))
    for name in candidates:
        assert load_file(desk.folder(name, 7) / "last.safetensors")
    before = [desk.record(name, 7) for name in candidates]

    assert desk.main("choose", selection.digest, "--keep", "half") == 0

    for name, record in zip(candidates, before, strict=True):
        assert load_file(desk.folder(name, 7) / "last.safetensors") == {}
        assert load_file(desk.folder(name, 7) / "best.safetensors") == {}
        after = desk.record(name, 7)
        assert after == sealed(record | {"kept": "none", "files": after["files"]})
        capsys.readouterr()
        desk.train(name, 7)
        assert "in the store already" in capsys.readouterr().err
    # Without weights the choice is the same, down to the trainings that it names.
    assert desk.main("choose", selection.digest, "--keep", "none") == 0
    assert read_json(desk.paths.choice("digits", "symmetric-0.5", "resnet8", "kernel")) == choice


# --- the whole pipeline ----------------------------------------------------------------------------------------------


def test_snakemake_has_nothing_to_do_after_weights_are_gone(study: Workspace) -> None:
    trained, evaluated = study.trainings(), study.evaluations()

    for recipe in study.plan.runs.values():
        thin(recipe.run, study.paths, "half")

    assert NOTHING in study.snakemake("-n").stdout
    assert (study.trainings(), study.evaluations()) == (trained, evaluated)
    for record in study.records().values():
        assert record["kept"] == "half"
        assert Store(study.results / "store").find(record["key"]) is not None
    # By the command the predictions are placed anew: the tables are younger than these no longer, and yet current.
    for recipe in study.plan.runs.values():
        path = recipe.write(study.results / "recipes")
        assert main(["evaluate", str(path), "--results", str(study.results), "--keep", "none"]) == 0
    table = (study.folder / "tables" / "main.csv").read_bytes()
    assert jobs(study.snakemake()) == {}
    assert (study.folder / "tables" / "main.csv").read_bytes() == table
    assert (study.trainings(), study.evaluations()) == (trained, evaluated)
    assert NOTHING in study.snakemake("-n").stdout


def test_a_run_that_came_without_its_store_is_thinned_all_the_same(desk: Desk) -> None:
    shutil.rmtree(desk.paths.store)

    thin(desk.recipe("baseline").run, desk.paths, "none")

    assert desk.record("baseline")["kept"] == "none"
    assert load_file(desk.folder("baseline") / "last.safetensors") == {}


def test_what_a_killed_exchange_left_is_not_taken_for_whole_weights(desk: Desk) -> None:
    key = desk.record("baseline")["key"]
    exchange = desk.paths.store / key[:2] / key / "result.json"
    before = read_json(exchange)
    thin(desk.recipe("baseline").run, desk.paths, "none")
    after = read_json(exchange)
    # As if it had died before its last write: the files are the new ones, the result still names both.
    write_json(exchange, before | {"exchange": {"files": after["files"], "about": {"kept": "none"}}})

    found = desk.store.find(key)

    assert found is not None
    assert (found["kept"], found["unfinished"]) == ("none", True)
