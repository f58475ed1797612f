"""Times that tell Snakemake the truth, whatever they were before, and results that come from elsewhere."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import json_digest, read_json, sealed, write_json
from collabpipe.host.signals import Interruption
from collabpipe.jobs.train import train
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.results.store import Store
from collabpipe.results.timestamps import OLD, settle
from collabpipe.settings.training import ExecutionSettings
from tests import searches
from tests.workspaces import Workspace, altered

# One finished search for all test files that need it.

NOTHING = "Nothing to be done"
CELL = "digits/symmetric-0.5/resnet8"
RUN = f"{CELL}/output/seed0"
OTHER_RUN = f"{CELL}/output/seed1"
DAY = 86400.0


def shuffle_times(results: Path, seed: int, first: float = OLD + DAY) -> None:
    """A modification time of its own for every result, between `first` and tomorrow; links are parted before."""
    draw = random.Random(seed)  # noqa: S311
    for path in sorted(path for path in results.rglob("*") if path.is_file()):
        if path.stat().st_nlink > 1:
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
        when = draw.uniform(first, time.time() + DAY)
        os.utime(path, (when, when))


def lose(study: Workspace, *what: str) -> None:
    """Drop what a clone, a pull or another machine lacks: folders of the results, or Snakemake's memory."""
    for name in what:
        places = [study.root / name] if name == ".snakemake" else [study.results / name, study.folder / name]
        found = [place for place in places if place.exists()]
        assert found
        for place in found:
            shutil.rmtree(place)


# --- times -----------------------------------------------------------------------------------------------------------

CASES: list[tuple[int, tuple[str, ...]]] = [
    (1, ()),
    (2, (".snakemake",)),
    (3, (".snakemake", "store", "recipes")),
    (4, (".snakemake", "store", "recipes", "raw", "logs", "benchmarks", "provenance")),
    (5, ("store",)),
    (6, (".snakemake", "benchmarks")),
]


@pytest.mark.parametrize(("seed", "lost"), CASES, ids=lambda case: "-".join(case) if isinstance(case, tuple) else None)
def test_whatever_the_times_are_a_finished_study_has_nothing_to_be_done(
    seed: int, lost: tuple[str, ...], study: Workspace
) -> None:
    lose(study, *lost)
    shuffle_times(study.results, seed)
    assert settle(study.plan).complete(study.plan)
    assert NOTHING in study.snakemake("-n").stdout


@pytest.mark.parametrize("block", [1, 3])
def test_repacked_seeds_have_nothing_to_be_done_whatever_the_times_are(block: int, study: Workspace) -> None:
    study.configure(altered({"execution": {"seeds_per_job": block}}))
    lose(study, ".snakemake")
    shuffle_times(study.results, seed=10 + block)
    assert NOTHING in study.snakemake("-n").stdout


@pytest.mark.parametrize("lost", [(), (".snakemake", "store", "recipes", "raw")], ids=["whole", "pulled"])
def test_whatever_the_times_are_a_searched_study_has_nothing_to_be_done(
    lost: tuple[str, ...], searched: searches.Searched
) -> None:
    lose(searched, *lost)
    shuffle_times(searched.results, seed=20 + len(lost))
    assert NOTHING in searched.snakemake("-n").stdout


@pytest.mark.parametrize("first", [0.0, 100.0, 315532800.0], ids=["1970", "soon after", "1980"])
def test_times_before_any_artefact_as_archives_have_them_are_times_as_well(first: float, study: Workspace) -> None:
    lose(study, ".snakemake")
    for path in study.results.rglob("*"):
        os.utime(path, (first, first))
    assert NOTHING in study.snakemake("-n").stdout


def test_benchmarks_that_are_older_than_what_went_in_do_not_run_a_job_again(study: Workspace) -> None:
    lose(study, ".snakemake")
    benchmarks = list((study.folder / "benchmarks").rglob("*.tsv"))
    assert benchmarks
    for path in benchmarks:
        os.utime(path, (OLD, OLD))
    assert NOTHING in study.snakemake("-n").stdout


def test_settling_a_second_time_touches_nothing(study: Workspace, searched: searches.Searched) -> None:
    for workspace in (study, searched):
        shuffle_times(workspace.results, seed=30)
        settle(workspace.plan)
        before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in workspace.results.rglob("*")}
        settle(workspace.plan)
        assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in workspace.results.rglob("*")} == before


def test_whatever_the_times_are_what_does_not_fit_is_made_again_and_nothing_else(study: Workspace) -> None:
    """One label file is lost, and one run is of another recipe: as after a partial pull of two revisions."""
    trained = study.trainings()
    record = study.folder / "runs" / RUN / "record.json"
    write_json(record, sealed(read_json(record) | {"recipe": "0" * 64}))
    lose(study, ".snakemake")
    shuffle_times(study.results, seed=40)

    state = settle(study.plan)

    assert set(study.plan.runs) - state.trained == {RUN}
    study.snakemake("checkpoints")
    assert study.trainings() == trained, "it was in the store"
    assert settle(study.plan).trained == frozenset(study.plan.runs)


# --- results from elsewhere ------------------------------------------------------------------------------------------


@contextmanager
def counted(study: Workspace) -> Iterator[dict[str, bool]]:
    """Which runs were trained inside, by what the making of each cost: a training measures its own time."""
    before, new = study.costs(), dict[str, bool]()
    yield new
    new |= {name: cost != before[name] for name, cost in study.costs().items()}


def result_of(study: Workspace, name: str) -> dict[str, Any] | None:
    """What the store has of a run, its files verified."""
    key = read_json(study.folder / "runs" / name / "record.json")["key"]
    result: dict[str, Any] | None = Store(study.results / "store").find(key)
    return result


def again(study: Workspace, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for a run once more."""
    monkeypatch.chdir(study.root)
    recipe: TrainRecipe = study.plan.runs[name]
    train(recipe, Paths(Path("results"), "small"), ExecutionSettings(), Interruption())


def test_a_store_that_is_lost_is_made_of_the_results_without_taking_room(study: Workspace) -> None:
    store = Path(study.results / "store")
    wanted = {path.parent.name: read_json(path) for path in store.glob("*/*/result.json")}
    asked = {path.parent.name: read_json(path) for path in store.glob("*/*/asked.json")}
    overhead = {path.parent.name for path in store.glob("*/*/overhead.json")}
    lose(study, "store")

    settle(study.plan)

    found = {path.parent.name: read_json(path) for path in store.glob("*/*/result.json")}
    assert found.keys() == wanted.keys() - overhead
    for key, result in found.items():
        for name in ("files", "status", "weights", "cost", "best_epoch", "inputs", "last", "best"):
            assert result.get(name) == wanted[key].get(name), name
    assert {path.parent.name: read_json(path) for path in store.glob("*/*/asked.json")} == asked
    for name in study.plan.runs:
        for kind, files in (
            ("runs", ("last.safetensors", "history.parquet")),
            ("evaluations", ("predictions.parquet",)),
        ):
            for file in files:
                assert (study.folder / kind / name / file).stat().st_nlink == 2


def test_adopted_results_are_used_and_corrupt_ones_made_again(
    study: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = study.folder / "runs" / RUN / "last.safetensors"
    right = weights.read_bytes()
    lose(study, "store")
    content = bytearray(right)
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    settle(study.plan)

    with counted(study) as trained:
        for name in (RUN, OTHER_RUN):
            again(study, name, monkeypatch)

    assert [name for name, new in trained.items() if new] == [RUN]
    assert weights.read_bytes() == right
    assert result_of(study, RUN) is not None
    settle(study.plan)
    assert (study.folder / "runs" / OTHER_RUN / "last.safetensors").stat().st_size == weights.stat().st_size


def test_what_is_in_the_store_already_is_not_taken_from_elsewhere(study: Workspace) -> None:
    before = study.times()
    record = read_json(study.folder / "runs" / RUN / "record.json")
    settle(study.plan)
    assert study.times(leave_out="recipes") == {n: t for n, t in before.items() if not n.startswith("recipes/")}
    result = result_of(study, RUN)
    assert result is not None
    assert result["files"] == record["files"]


def edited(record: dict[str, Any]) -> dict[str, Any]:
    return record | {"best_epoch": 7}


def with_a_false_key(record: dict[str, Any]) -> dict[str, Any]:
    return sealed(record | {"key": "f" * 64})


def of_another_data_set(record: dict[str, Any]) -> dict[str, Any]:
    return sealed(record | {"inputs": record["inputs"] | {"train.arrow": "0" * 64}})


@pytest.mark.parametrize("change", [edited, with_a_false_key, of_another_data_set])
def test_a_record_that_was_edited_or_names_a_false_key_is_not_adopted(change: Any, study: Workspace) -> None:
    record = study.folder / "runs" / RUN / "record.json"
    key = read_json(record)["key"]
    write_json(record, change(read_json(record)))
    lose(study, "store")

    settle(study.plan)

    store = Store(study.results / "store")
    assert not (store.folder(key) / "result.json").exists()
    assert not store.folder("f" * 64).exists()
    others = {name for name in study.plan.runs if name != RUN}
    assert all(result_of(study, name) is not None for name in others)


@pytest.mark.parametrize("change", ["accuracy", "key"])
def test_an_evaluation_that_was_edited_or_names_a_false_key_is_not_adopted(change: str, study: Workspace) -> None:
    path = study.folder / "evaluations" / RUN / "metrics.json"
    metrics = read_json(path)
    key = metrics["key"]
    wrong = metrics | {"last": metrics["last"] | {"accuracy": 0.99}} if change == "accuracy" else None
    write_json(path, wrong or sealed(metrics | {"key": "f" * 64}))
    lose(study, "store")

    settle(study.plan)

    store = Store(study.results / "store")
    assert not (store.folder(key) / "result.json").exists()
    assert not store.folder("f" * 64).exists()
    assert result_of(study, RUN) is not None


def test_results_of_a_search_are_adopted_with_what_was_chosen(searched: searches.Searched) -> None:
    trained, evaluated = searched.trainings(), searched.evaluations()
    asked = {path.parent.name: read_json(path) for path in searched.results.glob("store/*/*/asked.json")}
    lose(searched, "store", ".snakemake", "recipes")

    settle(searched.plan)

    assert (searched.trainings(), searched.evaluations()) == (trained, evaluated)
    found = {path.parent.name: read_json(path) for path in searched.results.glob("store/*/*/asked.json")}
    assert {key: about["asked"] for key, about in found.items()} == {key: a["asked"] for key, a in asked.items()}
    for key in trained | evaluated:
        assert Store(searched.results / "store").find(key) is not None


# --- what keeps it from settling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        f"small/runs/{RUN}/last.safetensors",
        f"small/evaluations/{RUN}/metrics.json",
        "small/labels/digits/symmetric-0.5/seed0.json",
        "datasets/digits/train.arrow",
        "small/tables/main.csv",
        "small/figures/curves.png",
        "small/report.html",
        "small/overhead/overhead.md",
    ],
)
def test_write_protected_results_are_explained(file: str, study: Workspace) -> None:
    """As DVC leaves them with a linked cache."""
    path = study.results / file
    path.chmod(0o444)
    with pytest.raises(CollabpipeError) as refused:
        settle(study.plan)
    assert str(refused.value) == (
        f"{path}: is write-protected, so Snakemake could not make any result again. DVC does this where cache.type is "
        "hardlink "
        "or symlink. Let it copy instead: dvc config --local cache.type reflink,copy && dvc checkout --relink"
    )


def test_snakemake_and_plan_explain_write_protected_results_without_a_traceback(study: Workspace) -> None:
    (study.folder / "runs" / RUN / "record.json").chmod(0o444)
    for refused in (study.snakemake("-n", check=False), study.collabpipe("plan", "--write", check=False)):
        assert refused.returncode != 0
        printed = refused.stdout + refused.stderr
        assert f"results/small/runs/{RUN}/record.json: is write-protected" in printed
        assert "Traceback" not in printed


def test_settling_a_study_that_was_never_run_writes_recipes_its_record_and_no_results(fresh: Workspace) -> None:
    plan: Plan = fresh.plan
    settle(plan)
    assert {path.name for path in fresh.results.iterdir()} == {"recipes", "small", "studies"}
    assert list((fresh.folder / "selection").iterdir()) == []
    for path in (fresh.results / "recipes").iterdir():
        assert json_digest(read_json(path)) == path.stem
