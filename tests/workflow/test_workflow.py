"""The pipeline as a whole, run by the real Snakemake: what is trained again and what is not.

Work is counted by what was added to the store, not by Snakemake's jobs: a job whose result is there already does
nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.torch import load_file

from collabpipe.analysis.tables import read_costs
from collabpipe.common.files import read_json
from collabpipe.plan.recipes import NUMERICS
from collabpipe.results.state import look
from collabpipe.results.store import Store
from tests.workspaces import SMALL, Workspace, altered, jobs, key_of

NOTHING = "Nothing to be done"
CELL = "digits/symmetric-0.5/resnet8"
ONE_METHOD: dict[str, Any] = {"methods": {"output": None, "output_control": None}}


def run_of(method: str, seed: int) -> str:
    return f"{CELL}/{method}/seed{seed}"


def set_all_times(results: Path) -> None:
    """Give every result the same modification time, as a clone or a restore may."""
    for path in results.rglob("*"):
        os.utime(path, (1.6e9, 1.6e9))


def forget(study: Workspace) -> None:
    """Drop all that Snakemake remembers."""
    shutil.rmtree(study.root / ".snakemake")


# --- nothing changed -------------------------------------------------------------------------------------------------


def test_a_finished_study_has_nothing_to_be_done_and_a_dry_run_touches_nothing(study: Workspace) -> None:
    artefacts = study.times(leave_out="recipes")
    assert NOTHING in study.snakemake("-n").stdout
    assert study.times(leave_out="recipes") == artefacts
    everything = study.times()
    assert NOTHING in study.snakemake("-n").stdout
    assert study.times() == everything


# --- seeds and packing -----------------------------------------------------------------------------------------------


def test_seeds_that_come_go_and_are_repacked_train_what_is_new_alone(study: Workspace) -> None:
    before, evaluated = study.trainings(), study.evaluations()
    one_each = altered({"execution": {"seeds_per_job": 1}})
    study.configure(one_each)
    study.snakemake()
    assert study.trainings() == before

    # Four seeds a job: seed 2 joins the block of 0 and 1, which is run again.
    study.configure(altered(ONE_METHOD | {"seeds": [0, 1, 2], "execution": {"seeds_per_job": 4}}))
    study.snakemake()
    assert study.trainings() - before == {study.records()[run_of("baseline", 2)]["key"]}
    assert study.table()["n"].to_dict() == {"baseline": 3}

    before, evaluated = study.trainings(), study.evaluations()
    study.configure(altered(ONE_METHOD | {"seeds": [0, 2], "execution": {"seeds_per_job": 4}}))
    assert jobs(study.snakemake()) == {"assemble_tables": 1}
    assert (study.trainings(), study.evaluations()) == (before, evaluated)
    assert study.table()["n"].to_dict() == {"baseline": 2}
    assert NOTHING in study.snakemake("-n").stdout


def test_whichever_file_of_a_run_is_missing_it_is_brought_back(study: Workspace) -> None:
    # Jobs name one file of a run alone among their inputs: that of the others is for settling to see.
    trained, evaluated = study.trainings(), study.evaluations()
    gone = [
        study.folder / "runs" / run_of("output", 1) / "history.parquet",
        study.folder / "runs" / run_of("baseline", 0) / "record.json",
        study.folder / "evaluations" / run_of("output_control", 0) / "predictions.parquet",
        study.folder / "evaluations" / run_of("output_control", 1) / "metrics.json",
    ]
    contents = [path.read_bytes() for path in gone]
    for path in gone:
        path.unlink()

    study.snakemake("tables")

    assert [path.read_bytes() for path in gone] == contents
    assert (study.trainings(), study.evaluations()) == (trained, evaluated)
    assert NOTHING in study.snakemake("-n").stdout


def test_a_seed_a_job_is_one_rule_whose_jobs_train_a_seed_each(study: Workspace) -> None:
    trained = study.trainings()
    study.configure(altered({"methods": {"output": {"weight": 7.0}}, "execution": {"seeds_per_job": 1}}))

    assert jobs(study.snakemake()) == {"train": 2, "evaluate": 2, "measure_overhead": 1, "assemble_tables": 1}

    assert study.trainings() - trained == study.keys("output")
    logs = study.folder / "logs" / "train" / CELL / "output"
    assert {log.name for log in logs.iterdir()} == {"block0.log", "block1.log"}
    set_all_times(study.results)
    assert NOTHING in study.snakemake("-n").stdout


# --- methods and weights ---------------------------------------------------------------------------------------------


def test_a_method_with_an_equal_composition_is_not_trained(study: Workspace) -> None:
    trained, evaluated = study.trainings(), study.evaluations()
    twin = {"kind": "output", "heads": 2, "split": "stage2", "weight": 3.0}
    study.configure(altered({"methods": {"twin": twin}}))
    study.snakemake()
    assert (study.trainings(), study.evaluations()) == (trained, evaluated)
    assert study.keys("twin") == study.keys("output")
    accuracy = study.table()["accuracy_mean"].to_dict()
    assert accuracy["twin"] == accuracy["output"]
    assert NOTHING in study.snakemake("-n").stdout


def test_a_changed_weight_trains_its_method_and_results_hang_on_no_memory_of_snakemake(study: Workspace) -> None:
    original, first_table = study.trainings(), (study.folder / "tables" / "main.csv").read_bytes()
    records = study.records()
    forget(study)
    set_all_times(study.results)
    assert NOTHING in study.snakemake("-n").stdout

    # A weight is changed.
    study.configure(altered({"methods": {"output": {"weight": 7.0}}}))
    study.snakemake()
    added = study.trainings() - original
    assert added == study.keys("output")
    assert len(added) == 2
    kept = {name: record["key"] for name, record in study.records().items() if record["key"] not in added}
    assert kept == {name: records[name]["key"] for name in kept}
    assert {name.split("/")[3] for name in kept} == {"baseline", "output_control"}
    second_table = (study.folder / "tables" / "main.csv").read_bytes()
    assert second_table != first_table
    changed = pd.read_parquet(study.folder / "tables" / "runs.parquet").set_index("method")
    assert changed.loc["output", "composition.terms"].str.contains('"weight": 7.0').all()  # type: ignore[union-attr]

    # Older artefacts, of the weight before, swapped in beside the memory of the newer ones.
    swapped = [study.folder / kind / CELL / "output" for kind in ("runs", "evaluations")]
    for folder in swapped:
        shutil.copytree(folder, study.root / "newer" / folder.relative_to(study.results))
    forget(study)
    study.configure(SMALL)
    study.snakemake()
    assert study.trainings() == original | added
    assert (study.folder / "tables" / "main.csv").read_bytes() == first_table
    assert study.records() == records
    for folder in swapped:
        shutil.rmtree(folder)
        subprocess.run(["cp", "-a", study.root / "newer" / folder.relative_to(study.results), folder], check=True)
    assert jobs(study.snakemake()) == {"train": 1, "evaluate": 1, "measure_overhead": 1, "assemble_tables": 1}
    assert study.trainings() == original | added
    assert study.records() == records
    assert (study.folder / "tables" / "main.csv").read_bytes() == first_table


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_failed_seed_keeps_no_other_from_finishing_and_is_trained_once_fixed(study: Workspace) -> None:
    before = study.trainings()
    study.configure(altered({"methods": {"output": {"weight": 7.0}, "dropout": {}}}))
    # The recipe of `output` changes, and a half-finished training of its first seed cannot be read.
    key = key_of(study.plan, run_of("output", 0))
    state = study.results / "store" / key[:2] / key / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"not a state")
    failed = study.snakemake("--profile", "profiles/quiet", check=False)
    assert failed.returncode != 0
    assert str(state.relative_to(study.root)) in failed.stdout + failed.stderr, "the log of the job is shown"
    log = (study.folder / "logs" / "train" / CELL / "output" / "block0.log").read_text()
    assert str(state.relative_to(study.root)) in log
    assert "Traceback" not in log
    other_seed = key_of(study.plan, run_of("output", 1))
    dropout = {key_of(study.plan, run_of("dropout", seed)) for seed in (0, 1)}
    # The other seed of the block, and the other cell: trained, and the cell evaluated.
    assert study.trainings() - before == {other_seed} | dropout
    assert (study.folder / "evaluations" / CELL / "dropout" / "seed1" / "metrics.json").exists()
    # No table of a study that is not whole.
    assert not (study.folder / "tables" / "main.csv").exists() or "dropout" not in study.table().index

    state.unlink()
    before = study.trainings()
    study.snakemake()
    assert study.trainings() - before == {key}
    assert study.table()["n"].to_dict() == {"baseline": 2, "output": 2, "output_control": 2, "dropout": 2}
    assert NOTHING in study.snakemake("-n").stdout


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_labels_with_equal_content_train_nothing_and_those_of_another_recipe_are_refused(study: Workspace) -> None:
    study.configure(altered(ONE_METHOD))
    trained, evaluated = study.trainings(), study.evaluations()
    labels = study.folder / "labels" / "digits" / "symmetric-0.5"
    content = (labels / "seed0.parquet").read_bytes()
    for path in (labels / "seed0.parquet", labels / "seed0.json"):
        path.write_bytes(path.read_bytes())
    # Of the study with fewer methods nothing is trained or evaluated; asked to train, it finds all in the store.
    assert jobs(study.snakemake("-n")) == {"measure_overhead": 1, "assemble_tables": 1}
    assert jobs(study.snakemake("--forcerun", "train_0"))["train"] == 1
    assert (study.trainings(), study.evaluations()) == (trained, evaluated)

    shutil.copyfile(labels / "seed1.parquet", labels / "seed0.parquet")
    refused = study.snakemake("--forcerun", "train_0", check=False)
    assert refused.returncode != 0
    log = (study.folder / "logs" / "train" / CELL / "baseline" / "block0.log").read_text()
    wanted = study.plan.labels["digits", "symmetric-0.5", 0].digest
    assert "seed0.parquet: was made from recipe" in log
    assert wanted[:12] in log
    assert "Traceback" not in log

    # With the record beside them they are noticed before anything runs, and made again.
    shutil.copyfile(labels / "seed1.json", labels / "seed0.json")
    study.snakemake()
    assert (labels / "seed0.parquet").read_bytes() == content
    assert (study.trainings(), study.evaluations()) == (trained, evaluated)


def test_raised_numerics_ask_for_other_data_labels_and_trainings(fresh: Workspace) -> None:
    recipe = fresh.plan.runs[run_of("output", 0)]
    assert recipe.numerics == recipe.labels.numerics == recipe.labels.data.numerics == NUMERICS
    inputs = {"train.arrow": "a", "labels": "b"}
    raised = recipe.model_copy(update={"numerics": NUMERICS + 1})
    assert raised.key(inputs) != recipe.key(inputs)
    for asked in (recipe, recipe.labels, recipe.labels.data):
        assert asked.model_copy(update={"numerics": NUMERICS + 1}).digest != asked.digest
    # Names alone, and labels whose contents are among the inputs, ask for no other training.
    renamed = recipe.model_copy(update={"run": recipe.run.model_copy(update={"method": "other"})})
    assert renamed.key(inputs) == recipe.key(inputs)
    assert recipe.key(inputs | {"labels": "c"}) != recipe.key(inputs)


# --- at the same time ------------------------------------------------------------------------------------------------


def test_a_training_in_progress_is_not_disturbed_by_dry_runs(study: Workspace) -> None:
    before = study.trainings()
    study.configure(altered(ONE_METHOD | {"training": {"epochs": 40}, "execution": {"save_seconds": 0.0}}))
    other = study.root / "config" / "other.yaml"
    other.write_text(yaml.safe_dump(altered(ONE_METHOD | {"training": {"learning_rate": 0.5}})))
    keys = [key_of(study.plan, run_of("baseline", seed)) for seed in (0, 1)]
    state = study.results / "store" / keys[0][:2] / keys[0] / "state.safetensors"
    running = study.start("snakemake", "--cores", "2", start_new_session=True)
    try:
        # The job's second training waits for the test, so that the job does not end before it was to be disturbed.
        with Store(study.results / "store").writing(keys[1]):
            give_up = time.monotonic() + 600
            while not (state.exists() or (state.parent / "result.json").exists()):
                assert running.poll() is None
                assert time.monotonic() < give_up
                time.sleep(0.01)
            # Stopped, it is in progress for as long as the dry runs take.
            os.killpg(running.pid, signal.SIGSTOP)
            assert "collabpipe train" in study.snakemake("-n", "-p", "--nolock").stdout
            # One of another study plans other recipes into the same folder.
            study.snakemake("-n", "--nolock", "--configfile", other)
            assert running.poll() is None
            os.killpg(running.pid, signal.SIGCONT)
        assert running.wait(timeout=600) == 0
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert study.trainings() - before == set(keys)
    assert {record["key"] for record in study.records().values()} == set(keys)
    assert [cost["steps"] for cost in study.costs().values()] == [160, 160]
    assert NOTHING in study.snakemake("-n").stdout


# --- configuration ---------------------------------------------------------------------------------------------------


def test_another_configfile_replaces_the_default_study(fresh: Workspace) -> None:
    other = fresh.root / "other.yaml"
    study = altered({"study": "other", "methods": None, "seeds": [5], "execution": None})
    other.write_text(yaml.safe_dump(study | {"methods": {"label_smoothing": {}}}))
    planned = fresh.snakemake("-n", "--configfile", other)
    recipes = [read_json(path) for path in (fresh.results / "recipes").glob("*.json")]
    runs = {(r["run"]["method"], r["run"]["seed"]) for r in recipes if r["kind"] == "train"}
    assert runs == {("label_smoothing", 5)}
    assert [recipe["study"] for recipe in recipes if recipe["kind"] == "study"] == ["other"]
    assert jobs(planned) == {
        "fetch_dataset": 1,
        "prepare_dataset": 1,
        "noisy_labels": 1,
        "train": 1,
        "evaluate": 1,
        "measure_overhead": 1,
        "assemble_tables": 1,
    }


def test_an_unknown_key_is_named_with_file_and_line_and_no_traceback(fresh: Workspace) -> None:
    fresh.configure(altered({"methods": {"output": {"wieght": 2.0}}}))
    line = 1 + next(n for n, text in enumerate(fresh.config.read_text().splitlines()) if "wieght" in text)
    refused = fresh.snakemake("-n", check=False)
    assert refused.returncode != 0
    printed = refused.stdout + refused.stderr
    assert f"config.yaml:{line}: methods.output.wieght: unknown key" in printed
    assert "Did you mean 'weight'?" in printed
    assert "Traceback" not in printed
    assert not fresh.results.exists()


# --- divergence ------------------------------------------------------------------------------------------------------


def test_a_diverged_method_is_a_result_that_the_tables_show(study: Workspace) -> None:
    explodes = {"methods": {"output": None, "output_control": None, "explodes": {"kind": "kernel", "weight": 1e39}}}
    study.configure(altered(explodes))
    study.snakemake()
    for seed in (0, 1):
        folder = study.folder / "runs" / run_of("explodes", seed)
        record = read_json(folder / "record.json")
        assert record["status"] == "diverged"
        # The weight is beyond float32: the first step's loss is infinite, its terms are not.
        assert record["divergence"] == {"epoch": 1, "step": 1, "terms": ["loss"]}
        assert load_file(folder / "last.safetensors") == {}
        assert load_file(folder / "best.safetensors") == {}
        evaluation = study.folder / "evaluations" / run_of("explodes", seed)
        metrics = read_json(evaluation / "metrics.json")
        assert (metrics["status"], metrics["last"], metrics["best"]) == ("diverged", None, None)
        assert pq.read_table(evaluation / "predictions.parquet").num_rows == 0
    table = study.table()
    assert table["n"].to_dict() == {"baseline": 2, "explodes": 2}
    assert table["diverged"].to_dict() == {"baseline": 0, "explodes": 2}
    assert NOTHING in study.snakemake("-n").stdout


# --- what stands beside it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["small/labels/digits/symmetric-0.5/seed0.json", "datasets/digits/record.json"])
def test_a_training_beside_other_labels_or_images_is_not_current(file: str, study: Workspace) -> None:
    assert len(look(study.plan).trained) == len(study.plan.runs)
    text = (study.results / file).read_text()
    record = json.loads(text)
    sums = [record["sha256"]] if "sha256" in record else [record["files"]["train.arrow"]["sha256"]]
    (study.results / file).write_text(text.replace(sums[0], "0" * 64))

    state = look(study.plan)

    touched = {name for name in study.plan.runs if "labels" not in file or name.endswith("seed0")}
    assert set(state.trained) == set(study.plan.runs) - touched
    assert not state.tables


def test_an_overhead_table_of_another_study_backs_no_claim(study: Workspace) -> None:
    costs = read_costs(study.plan.study, study.plan.paths)
    assert costs is not None
    assert set(costs["dataset"]) == {"digits"}
    assert all(len(rounds) >= 5 for rounds in costs["rounds"])

    other = altered({"methods": {"kernel": {}}})
    study.configure(other)

    assert read_costs(study.plan.study, study.plan.paths) is None
