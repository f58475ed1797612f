"""Further test sets under the real commands: corruptions and the user's own images, added, changed and taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from collabpipe.common.files import read_json
from collabpipe.data.formats import READERS
from tests.workspaces import Workspace, altered, jobs

TEST = READERS["digits"](None, {})[1]  # type: ignore[arg-type]
IMAGES, LABELS = np.concatenate(list(TEST.parts()))[:, 0], TEST.labels
STUDY: dict[str, Any] = {
    "datasets": {"digits": {"test_on": ["corruptions", "other"]}},
    "test_sets": {"other": {"source": "npz", "data_dir": "other.npz", "image_size": 8}},
    "corruptions": {"kinds": ["gaussian_noise", "contrast"], "severities": [1, 5]},
    "methods": {"output_control": None},
    "training": {"epochs": 1},
}
RUN = "digits/symmetric-0.5/resnet8/baseline/seed0"


def write(workspace: Workspace, images: np.ndarray[Any, Any], names: list[str]) -> None:
    """The second test set, whose classes are in another order than those of digits."""
    order = np.array([names.index(str(label)) if str(label) in names else 0 for label in LABELS])
    np.savez(
        workspace.config.parent / "other.npz",
        test_images=images,
        test_labels=order,
        class_names=np.array(names),
    )


def study(root: Path, names: list[str] | None = None, **changes: Any) -> Workspace:
    workspace = Workspace.create(root / "study", altered(changes, altered(STUDY)))
    write(workspace, IMAGES, names or [str(digit) for digit in reversed(range(10))])
    return workspace


def test_runs_are_tested_on_corruptions_and_on_images_of_the_user(tmp_path: Path) -> None:
    workspace = study(tmp_path)
    made = jobs(workspace.snakemake())
    assert made["test"] == 4, "a block of two seeds, of two methods, on two test sets"
    plan = workspace.plan

    own = pq.read_table(plan.paths.evaluation(plan.runs[RUN].run) / "predictions.parquet")
    other = plan.paths.test(plan.runs[RUN].run, "other")
    there = pq.read_table(other / "predictions.parquet")
    # The same images in another file: scaled as the training images, classes counted as there.
    for column in ("label", "prediction", "logits"):
        assert there[column].to_pylist() == own[column].to_pylist(), column
    metrics = {
        name: read_json(plan.paths.test(plan.runs[RUN].run, name) / "metrics.json")
        for name in STUDY["datasets"]["digits"]["test_on"]
    }
    clean = read_json(plan.paths.metrics(plan.runs[RUN].run))
    assert metrics["other"]["last"] == clean["last"]
    found = metrics["corruptions"]
    assert {kind: set(of) for kind, of in found["corruptions"].items()} == {
        "gaussian_noise": {"1", "5"},
        "contrast": {"1", "5"},
    }
    assert found["last"]["accuracy"] == pytest.approx(
        np.mean([list(of.values()) for of in found["corruptions"].values()])
    )
    again = workspace.snakemake("--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    assert workspace.collabpipe("verify", "--recompute").returncode == 0

    rows = pd.read_csv(plan.paths.tables / "robustness.csv").to_dict("records")
    table = {(row["method"], row["test_set"]): row for row in rows}
    assert len(table) == 4
    row = table["baseline", "corruptions"]
    assert row["n"] == 2
    assert row["accuracy_mean"] == pytest.approx((row["gaussian_noise"] + row["contrast"]) / 2, abs=1e-3)
    assert row["accuracy_mean"] == pytest.approx((row["severity_1"] + row["severity_5"]) / 2, abs=1e-3)
    assert row["clean_mean"] == pytest.approx(table["baseline", "other"]["accuracy_mean"])
    shown = workspace.collabpipe("show").stdout
    assert "further test sets" in shown
    assert "Further test sets</h3>" in plan.paths.report.read_text(encoding="utf-8")

    # Another test set: only it is evaluated again.
    before = workspace.evaluations()
    write(workspace, 255 - IMAGES, [str(digit) for digit in range(10)])
    made = jobs(workspace.snakemake())
    assert made == {"fetch_dataset": 1, "prepare_dataset": 1, "test": 2, "assemble_tables": 1}
    assert len(workspace.evaluations() - before) == 4
    assert workspace.collabpipe("verify").returncode == 0

    # One that nobody asks for any more is pruned, and the tables forget it.
    workspace.configure(altered({"datasets": {"digits": {"test_on": ["corruptions"]}}}, altered(STUDY)))
    assert jobs(workspace.snakemake()) == {"assemble_tables": 1}
    workspace.collabpipe("prune", "--remove")
    assert not other.exists()
    assert plan.paths.test(plan.runs[RUN].run, "corruptions").exists()


def test_other_classes_are_told_with_the_names_of_both(tmp_path: Path) -> None:
    workspace = study(tmp_path, ["zero", *(str(digit) for digit in range(1, 10))], methods={"output": None})

    failed = workspace.snakemake("--", "evaluations", check=False)

    assert failed.returncode != 0
    log = (workspace.paths.log(f"test/other/{RUN.rpartition('/')[0]}/block0")).read_text()
    assert "test set other: has classes 1, 2, 3, 4, 5, 6, 7, 8, 9, zero, and data set digits, which" in log
    assert "was trained on, has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9. Give it the same, or take other out of" in log
    assert "Traceback" not in log


def test_a_missing_test_set_is_told_before_any_job(tmp_path: Path) -> None:
    workspace = study(tmp_path)
    (workspace.config.parent / "other.npz").unlink()

    refused = workspace.snakemake(check=False)

    assert refused.returncode != 0
    assert "test_sets.other.data_dir: " in refused.stdout + refused.stderr
    assert not workspace.trainings()
