"""What an evaluation says of images that have names: their files, and the scores of their groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from collabpipe.cli import main
from collabpipe.common.files import read_json
from collabpipe.jobs.evaluate import metrics_of
from collabpipe.plan.paths import ANNOTATIONS, METRICS, PREDICTIONS
from collabpipe.plan.plan import Plan
from collabpipe.settings.study import check_settings
from tests.workspaces import Workspace, altered

VIDEOS, FRAMES = 4, 3


def prepared(tmp_path: Path, **keys: str) -> Plan:
    """A study on frames of videos in an image folder, prepared."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, level in (("fake", 140), ("real", 110)):
            for video in range(VIDEOS):
                for frame in range(FRAMES):
                    place = tmp_path / "faces" / split / name / f"{split}_{name}{video}" / f"{frame}.png"
                    place.parent.mkdir(parents=True, exist_ok=True)
                    pixels = generator.normal(level, 40, (8, 8, 3)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(place)
    faces = {"source": "image_folder", "data_dir": str(tmp_path / "faces"), "image_size": 8, "validation_size": 6}
    changes = {
        "datasets": {"digits": None, "faces": faces | keys},
        "methods": {"output": None, "output_control": None},
        "noise": ["none"],
        "seeds": [0],
        "training": {"batch_size": 8},
    }
    made = Plan(check_settings(altered(changes), {}), tmp_path / "results")
    recipe = str(made.data["faces"].write(made.paths.recipes))
    shared = ["--results", str(made.paths.root)]
    assert main(["fetch", recipe, "--data-dir", str(tmp_path / "faces"), *shared]) == 0
    assert main(["prepare", recipe, *shared]) == 0
    return made


def command(plan: Plan, *words: str | Path) -> None:
    assert main([*map(str, words), *plan.paths.options]) == 0


def evaluate(plan: Plan) -> Path:
    """Label, train and evaluate; returns the folder of the evaluation."""
    (labels,), (recipe,) = plan.labels.values(), plan.runs.values()
    command(plan, "labels", labels.write(plan.paths.recipes))
    for verb in ("train", "evaluate"):
        command(plan, verb, recipe.write(plan.paths.recipes))
    return plan.paths.evaluation(recipe.run)


def test_predictions_name_the_files_of_the_images(tmp_path: Path) -> None:
    folder = evaluate(prepared(tmp_path))

    table = pd.read_parquet(folder / PREDICTIONS)
    assert list(table.columns) == ["index", "file", "label", "prediction", "logits"]
    names = [f"test/{name}/test_{name}{v}/{f}.png" for name in ("fake", "real") for v in range(4) for f in range(3)]
    assert table["file"].tolist() == names
    assert table["label"].tolist() == [int("real" in name) for name in names]
    assert "groups" not in read_json(folder / METRICS)["last"]


def test_groups_are_scored_beside_their_images(tmp_path: Path) -> None:
    folder = evaluate(prepared(tmp_path, group_pattern="^[^/]+/([^/]+)/"))

    table, metrics = pd.read_parquet(folder / PREDICTIONS), read_json(folder / METRICS)
    assert list(table.columns) == ["index", "file", "group", "label", "prediction", "logits"]
    logits = np.stack(table["logits"].to_list()).astype(float)
    table["share"] = 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))
    videos = table.groupby("group")[["share", "label"]].mean()
    last = metrics["last"]
    assert last["groups"] == 2 * VIDEOS == len(videos)
    assert last["group_accuracy"] == ((videos["share"] > 0.5) == videos["label"]).mean()
    fake, real = (videos["share"][videos["label"] == label] for label in (0, 1))
    assert last["group_auc"] == pytest.approx(np.mean([f < r for f in fake for r in real]))
    assert metrics_of(folder) == {"last": last}
    assert set(metrics["inputs"]) == {"training", "test.arrow", ANNOTATIONS}, "other names are another evaluation"


def test_images_without_names_are_evaluated_as_before(study: Workspace) -> None:
    for recipe in study.plan.runs.values():
        folder = study.plan.paths.evaluation(recipe.run)

        assert pq.read_schema(folder / PREDICTIONS).names == ["index", "label", "prediction", "logits"]
        assert set(read_json(folder / METRICS)["inputs"]) == {"training", "test.arrow"}
