"""The user's own label files under the real commands: taken up, changed, missing, per replicate, and exported again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_json
from collabpipe.data.formats import READERS
from collabpipe.data.labels import read_label_file
from collabpipe.plan.plan import Plan
from tests.workspaces import Workspace, altered, jobs

CLEAN = READERS["digits"](None, {})[0].labels  # type: ignore[arg-type]
ONE = {"methods": {"output": None, "output_control": None}, "training": {"epochs": 1}}


def wrong(seed: int) -> list[int]:
    """Labels of all training images of digits, every third of them wrong."""
    labels = CLEAN.copy()
    labels[seed::3] = (labels[seed::3] + 1 + seed) % 10
    return [int(label) for label in labels]


def study(root: Path, file: str = "noise/third.json", **changes: Any) -> Workspace:
    """The small study with labels from `file`, which lies beside its configuration."""
    config = {"noise": ["file-third"], "noise_files": {"third": file}, **ONE} | changes
    workspace = Workspace.create(root / "study", altered(config))
    (workspace.config.parent / "noise").mkdir()
    for seed in (0, 1):
        name = "third.json" if seed == 0 else "other.json"
        (workspace.config.parent / "noise" / name).write_text(json.dumps(wrong(seed)))
    return workspace


def labels_of(plan: Plan) -> dict[int, pd.DataFrame]:
    """The label file of each replicate."""
    return {seed: pd.read_parquet(plan.paths.labels(recipe)) for (_, _, seed), recipe in plan.labels.items()}


def test_a_label_file_is_an_input_like_any_other(tmp_path: Path) -> None:
    workspace = study(tmp_path)
    file = workspace.config.parent / "noise" / "third.json"
    workspace.snakemake()
    plan = workspace.plan
    for seed, labels in labels_of(plan).items():
        assert (labels["noisy"] == np.array(wrong(0))[labels["index"]]).all(), seed
        assert (labels["clean"] == CLEAN[labels["index"]]).all()
    assert (labels_of(plan)[0]["index"].tolist()) != labels_of(plan)[1]["index"].tolist(), "subsets are the replicates'"
    record = read_json(plan.paths.labels(plan.labels["digits", "file-third", 0]).with_suffix(".json"))
    assert record["rate_asked"] is None
    assert 0.25 < record["true_rate"] < 0.42
    assert record["noise"]["sha256"] == plan.labels["digits", "file-third", 0].noise.sha256
    assert len(workspace.table()) == 1
    assert workspace.collabpipe("verify", "--recompute").returncode == 0
    trained = workspace.trainings()

    # The same labels in another format: the label files are made again, and no training.
    file.write_text(json.dumps({str(index): label for index, label in enumerate(wrong(0))}))
    told = workspace.collabpipe("verify", check=False)
    assert "belongs to another recipe" in told.stderr
    assert jobs(workspace.snakemake())["noisy_labels"] == 2
    assert workspace.trainings() == trained

    file.write_text(json.dumps(wrong(1)))
    assert jobs(workspace.snakemake())["noisy_labels"] == 2
    assert len(workspace.trainings()) == 2 * len(trained)
    again = workspace.snakemake("--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_placeholder_names_a_file_per_replicate(tmp_path: Path) -> None:
    workspace = study(tmp_path, "noise/seed{seed}.json")
    folder = workspace.config.parent / "noise"
    shutil.copy(folder / "third.json", folder / "seed0.json")
    shutil.copy(folder / "other.json", folder / "seed1.json")

    workspace.snakemake("--", "labels")

    for seed, labels in labels_of(workspace.plan).items():
        assert (labels["noisy"] == np.array(wrong(seed))[labels["index"]]).all(), seed


def test_a_placeholder_follows_the_seeds_of_the_noise(tmp_path: Path) -> None:
    workspace = study(tmp_path, "noise/seed{seed}.json", replicates={"noise": [7, 7]})
    folder = workspace.config.parent / "noise"
    shutil.copy(folder / "third.json", folder / "seed7.json")

    plan = workspace.plan

    assert {plan.noise_files.path("file-third", seed) for seed in (0, 1)} == {(folder / "seed7.json").resolve()}


def test_a_missing_file_is_told_before_any_job_with_file_line_and_key(tmp_path: Path) -> None:
    workspace = study(tmp_path, "noise/seed{seed}.json")
    line = next(n for n, text in enumerate(workspace.config.read_text().splitlines(), 1) if "third:" in text)

    for command in (("snakemake", "--cores", "1"), ("collabpipe", "plan")):
        refused = workspace.run(*command, check=False)
        told = refused.stdout + refused.stderr
        assert refused.returncode != 0
        file = workspace.config.parent / "noise" / "seed0.json"
        assert f"config/config.yaml:{line}: noise_files.third: {file}: cannot be read: No such file" in told
        assert "The replicate of seed 0 takes its labels from it." in told
        assert "Traceback" not in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise": ["file-thrid"]}, "noise: noise 'file-thrid' is not allowed. Allowed: file-third. Did you mean"),
        ({"noise": ["file-"]}, "noise.0: noise 'file-' is not allowed. Allowed: file-NAME, with a NAME of noise_files"),
        ({"noise_files": None}, "Allowed: file-NAME, with NAME: PATH under noise_files."),
        ({"noise_files": {"a/b": "x.json"}}, "noise_files.a/b: name 'a/b' is not allowed"),
        ({"noise_files": {"third": 3}}, "noise_files.third: value 3 is not allowed"),
    ],
)
def test_a_noise_without_a_file_is_refused_with_its_place(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    config = {"noise": ["file-third"], "noise_files": {"third": "noise/third.json"}}
    workspace = Workspace.create(tmp_path / "study", altered({}))
    workspace.configure(altered(changes, altered(config)))

    with pytest.raises(CollabpipeError) as caught:
        _ = workspace.plan

    assert words in str(caught.value)


def test_a_file_that_does_not_fit_fails_with_what_to_do(tmp_path: Path) -> None:
    workspace = study(tmp_path)
    file = workspace.config.parent / "noise" / "third.json"
    file.write_text(json.dumps(wrong(0)[:1000]))

    failed = workspace.snakemake("--", "labels", check=False)

    told = f"{file.resolve()}: has 1000 labels, and the training set of digits has 1297 images."
    assert told in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_file_with_a_part_of_the_images_is_taken_where_it_has_all_that_are_drawn(tmp_path: Path) -> None:
    workspace = study(tmp_path)
    file = workspace.config.parent / "noise" / "third.json"
    workspace.snakemake("--", "labels")
    drawn = labels_of(workspace.plan)
    both = sorted(set(drawn[0]["index"]) | set(drawn[1]["index"]))

    file.write_text(json.dumps([[int(index), wrong(1)[index]] for index in both]))
    workspace.snakemake("--", "labels")
    assert (labels_of(workspace.plan)[0]["noisy"] == np.array(wrong(1))[drawn[0]["index"]]).all()

    file.write_text(json.dumps([[int(index), wrong(1)[index]] for index in drawn[0]["index"]]))
    failed = workspace.snakemake("--", "labels", check=False)
    lost = sorted(set(drawn[1]["index"]) - set(drawn[0]["index"]))
    assert (
        f"digits: noise file-third has no label for {len(lost)} of the 250 images of this replicate, first for image "
        f"{lost[0]}. Add them to the label file, or draw fewer images (train_size)." in failed.stdout + failed.stderr
    )


def test_labels_by_hand_need_the_file_of_the_recipe(tmp_path: Path) -> None:
    workspace = study(tmp_path)
    workspace.snakemake("--", "datasets")
    plan = workspace.plan
    recipe = plan.labels["digits", "file-third", 0].write(plan.paths.recipes)
    folder = workspace.config.parent / "noise"

    without = workspace.collabpipe("labels", recipe, check=False)
    assert "noise file-third needs its label file. Name it: --file PATH." in without.stderr
    other = workspace.collabpipe("labels", recipe, "--file", folder / "other.json", check=False)
    assert f"{folder / 'other.json'}: has SHA-256 " in other.stderr
    workspace.collabpipe("labels", recipe, "--file", folder / "third.json")
    assert (labels_of_one(plan, 0)["noisy"] == np.array(wrong(0))[labels_of_one(plan, 0)["index"]]).all()


def labels_of_one(plan: Plan, seed: int) -> pd.DataFrame:
    return pd.read_parquet(plan.paths.labels(plan.labels["digits", "file-third", seed]))


def test_exported_labels_make_the_same_label_file(tmp_path: Path) -> None:
    whole = {"datasets": {"digits": {"train_size": None}}, "seeds": [0]}
    first = Workspace.create(tmp_path / "first", altered({"noise": ["symmetric-0.5"], **ONE, **whole}))
    first.snakemake("--", "checkpoints")
    recipe = first.plan.labels["digits", "symmetric-0.5", 0]
    made, _ = read_label_file(first.plan.paths.labels(recipe))
    file = tmp_path / "labels.json"
    (run,) = (first.plan.paths.run(one.run) for one in first.plan.runs.values())
    told = first.collabpipe("export", "labels", run, "--format", "json", "--out", file)
    assert told.stdout == f"{file}: 1297 labels of all training images, in order; 50.0% are wrong.\n"

    second = study(tmp_path, str(file), **whole)
    second.snakemake("--", "labels")

    again, _ = read_label_file(second.plan.paths.labels(second.plan.labels["digits", "file-third", 0]))
    assert again.sha256 == made.sha256


def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    workspace = study(tmp_path)
    options = ("--format", "json", "--out", tmp_path / "a.json")

    run = next(iter(workspace.plan.runs.values()))
    for source, words in {
        workspace.plan.paths.labels(run.labels): "seed0.parquet: cannot be read",
        workspace.config: "config.yaml: cannot be read",
        tmp_path: "is not the folder of a trained run",
    }.items():
        refused = workspace.collabpipe("export", "labels", source, *options, check=False)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "a.json").exists()
