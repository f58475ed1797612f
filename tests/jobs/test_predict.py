"""Predictions for a user's own images: the run's own numbers, ensembles, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from collabpipe.cli import main
from collabpipe.common.files import read_json, write_json
from collabpipe.data.prepared import Images, open_images
from collabpipe.plan.paths import METRICS
from collabpipe.plan.recipes import RunName
from tests.searches import Searched
from tests.workspaces import Workspace

CELL = {"dataset": "digits", "noise": "symmetric-0.5", "network": "resnet8"}


def folder(study: Workspace, method: str = "output", seed: int = 0) -> Path:
    return study.plan.paths.run(RunName(**CELL, method=method, seed=seed))


def images_of(study: Workspace) -> Images:
    return open_images(study.plan.data["digits"], study.plan.paths.dataset("digits"), "test")


def evaluated(study: Workspace, seed: int, method: str = "output") -> NDArray[np.float64]:
    """The probabilities (N, K) of the test images that the run's evaluation has."""
    table = pd.read_parquet(
        study.plan.paths.evaluation(RunName(**CELL, method=method, seed=seed)) / "predictions.parquet"
    )
    logits = np.stack(table["logits"].to_list()).astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))


@pytest.fixture
def images(study: Workspace, tmp_path: Path) -> Path:
    """The test images as one array."""
    np.save(tmp_path / "test.npy", images_of(study).images[:, 0])
    return tmp_path / "test.npy"


def asked(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["predict", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def probabilities(answer: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([list(one["probabilities"].values()) for one in answer["predictions"]])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert main(["predict", *map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_test_images_get_the_probabilities_of_the_runs_evaluation(
    study: Workspace, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = asked(capsys, folder(study), images)

    expected = evaluated(study, 0)
    np.testing.assert_allclose(probabilities(answer), expected, atol=1e-6)
    assert answer["runs"] == ["digits/symmetric-0.5/resnet8/output/seed0"]
    assert answer["weights"] == "last"
    assert answer["predictions"][3]["image"] == f"{images}[3]"
    assert [one["class"] for one in answer["predictions"]] == [str(k) for k in expected.argmax(1)]


def test_several_runs_give_the_mean_of_their_probabilities(
    study: Workspace, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = (evaluated(study, 0) + evaluated(study, 1)) / 2

    named = asked(capsys, folder(study), folder(study, seed=1), images)
    cell = asked(capsys, folder(study).parent, images, "--ensemble")

    np.testing.assert_allclose(probabilities(named), mean, atol=1e-6)
    assert named == cell
    assert len(cell["runs"]) == 2


def test_the_best_epochs_weights_give_its_test_accuracy(
    study: Workspace, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = read_json(study.plan.paths.evaluation(RunName(**CELL, method="baseline", seed=1)) / METRICS)

    answer = asked(capsys, folder(study, "baseline", 1), images, "--best")

    labels = [str(label) for label in images_of(study).labels]
    hits = [one["class"] == label for one, label in zip(answer["predictions"], labels, strict=True)]
    assert np.mean(hits) == metrics["best"]["accuracy"]
    assert answer["weights"] == "best"


def test_people_get_a_table_with_what_was_done_to_an_image(
    study: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = images_of(study).images[0, 0]
    Image.fromarray(first.repeat(3, axis=0).repeat(3, axis=1)).save(tmp_path / "large.png")
    expected = evaluated(study, 0)[0]

    assert main(["predict", str(folder(study)), str(tmp_path / "large.png"), "--top", "2"]) == 0

    shown = capsys.readouterr().out
    second = expected.argsort()[-2]
    assert "digits/symmetric-0.5/resnet8/output, seed 0, weights of the last epoch" in shown
    assert f"│ {expected.argmax()}" in shown
    assert f"{100 * expected.max():.1f} │ {second} ({100 * expected[second]:.1f})" in shown
    assert "24×24 made 8×8" in shown


def test_what_cannot_be_predicted_is_refused_with_what_to_do(
    study: Workspace, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder(study)
    (tmp_path / "text.png").write_text("hello")

    assert f"{run.parent}: holds 2 runs. Name one of them, such as {run}, or add --ensemble" in refused(
        capsys, run.parent, images
    )
    assert "different cells" in refused(capsys, run, folder(study, "baseline"), images)
    assert f"{tmp_path}: is not the folder of a trained run" in refused(capsys, tmp_path, images)
    assert "there is no image among what was named" in refused(capsys, run, run)
    assert "there is no run among what was named" in refused(capsys, images, images)
    assert f"{tmp_path / 'none.png'}: no such file or folder" in refused(capsys, run, tmp_path / "none.png")
    assert f"{tmp_path / 'text.png'}: cannot be read as an image" in refused(capsys, run, tmp_path / "text.png")


def test_a_run_that_has_been_moved_out_of_its_results_is_refused(
    study: Workspace, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder(study), tmp_path / "moved")

    assert "Name a run within its results folder." in refused(capsys, tmp_path / "moved", images)


def test_a_diverged_run_and_other_images_are_refused(
    study: Workspace, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_json(folder(study) / "record.json")
    write_json(folder(study) / "record.json", record | {"status": "diverged"})
    assert "has diverged and has no weights" in refused(capsys, folder(study), images)

    write_json(folder(study) / "record.json", record | {"inputs": record["inputs"] | {"train.arrow": "0"}})
    assert "these are not the images that" in refused(capsys, folder(study), images)


def test_weights_that_were_kept_in_half_precision_are_used(
    searched: Searched, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = asked(capsys, folder(searched), images)

    np.testing.assert_allclose(probabilities(answer), evaluated(searched, 0), atol=0.01)
    message = refused(capsys, folder(searched), images, "--best")
    assert "The last epoch's were kept in half precision: leave --best out." in message
    message = refused(capsys, folder(searched, "kernel.candidate0", 7), images)
    assert "these weights were not kept (keep_weights: none)" in message
