"""Weights for plain PyTorch: the script beside them finds the run's test accuracy where this package is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from collabpipe.cli import main
from collabpipe.common.files import read_json
from collabpipe.model.networks.torchvision_models import torchvision_models
from collabpipe.plan.paths import METRICS, RECORD, TEST, TRAIN
from collabpipe.plan.plan import Plan
from collabpipe.settings.study import check_settings
from tests.conftest import Once
from tests.searches import Searched
from tests.workspaces import Lab, altered

CHANGES: dict[str, Any] = {
    "networks": {name: {"width": 4} for name in ("resnet8", "resnet18", "vgg16", "preact_resnet18")},
    "methods": {"output": None, "output_control": None},
    "seeds": [0],
    "training": {"epochs": 4},
}
WITHOUT_THE_PACKAGE = (
    "import runpy, sys; sys.modules['collabpipe'] = None; del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


@pytest.fixture(scope="session")
def plan(lab: Lab, once: Once) -> Plan:
    """Small networks, trained and evaluated."""

    def make(root: Path) -> None:
        paths, recipes = lab.lay_out(root, CHANGES)
        for command in ("train", "evaluate"):
            assert main([command, *map(str, recipes.values()), *paths.options]) == 0

    root = once("networks", make)
    return Plan(check_settings(altered(CHANGES), {}), root / "results")


def exported(plan: Plan, network: str, out: Path, *options: str) -> Path:
    """The folder with the weights of a network's run."""
    run = plan.runs[f"digits/symmetric-0.5/{network}/baseline/seed0"].run
    assert main(["export", "weights", str(plan.paths.run(run)), "--out", str(out), *options]) == 0
    return out


def metrics(plan: Plan, network: str) -> dict[str, Any]:
    run = plan.runs[f"digits/symmetric-0.5/{network}/baseline/seed0"].run
    found: dict[str, Any] = read_json(plan.paths.evaluation(run) / METRICS)
    return found


def measured(folder: Path, test: Path) -> float:
    """What the script beside the weights prints, in a process that cannot import this package."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, folder / "accuracy.py", test],
        cwd=folder.parent,
        capture_output=True,
        text=True,
    )
    found = re.fullmatch(r"test accuracy: (\S+) \(\d+ of 500\)\n", done.stdout)
    assert found, done.stderr
    return float(found[1])


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("resnet8", []),
        ("resnet18", []),
        ("vgg16", []),
        ("resnet18", ["--format", "torchscript"]),
        ("preact_resnet18", []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_the_script_finds_the_test_accuracy_of_the_run(
    network: str, options: list[str], plan: Plan, tmp_path: Path
) -> None:
    folder = exported(plan, network, tmp_path / "out", *options)

    accuracy = measured(folder, plan.paths.dataset("digits") / TEST)

    assert accuracy == metrics(plan, network)["last"]["accuracy"]
    readme = (folder / "README.md").read_text()
    assert f"evaluation found {accuracy} (on " in readme
    assert (folder / "accuracy.py").read_text() in readme


def test_the_script_finds_the_test_accuracy_of_the_best_epoch(plan: Plan, tmp_path: Path) -> None:
    # Which networks are not best at their last epoch depends on the processor's rounding.
    found = {network: metrics(plan, network) for network in CHANGES["networks"]}
    network = next(name for name, of in found.items() if of["best"]["accuracy"] != of["last"]["accuracy"])
    folder = exported(plan, network, tmp_path / "out", "--best")

    accuracy = measured(folder, plan.paths.dataset("digits") / TEST)

    assert accuracy == found[network]["best"]["accuracy"]
    assert f"evaluation found {accuracy} (on " in (folder / "README.md").read_text()


def test_the_script_says_which_file_it_needs(plan: Plan, tmp_path: Path) -> None:
    script = exported(plan, "resnet8", tmp_path / "out") / "accuracy.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr == "usage: python accuracy.py PATH/TO/test.arrow\n"


@pytest.mark.parametrize("wrong", ["nowhere.arrow", "--help", ".", "README.md", "train.arrow"])
def test_the_script_measures_on_no_other_file(wrong: str, plan: Plan, tmp_path: Path) -> None:
    folder = exported(plan, "resnet8", tmp_path / "out")
    prepared = plan.paths.dataset("digits")
    (folder / "train.arrow").symlink_to((prepared / TRAIN).absolute())

    done = subprocess.run([sys.executable, "accuracy.py", wrong], cwd=folder, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stdout == ""
    digest = read_json(prepared / RECORD)["files"][TEST]["sha256"]
    assert done.stderr == f"{wrong} is not the test set of this run: it has the SHA-256 {digest}.\n"


def test_the_command_in_the_readme_works_as_it_stands(plan: Plan, tmp_path: Path) -> None:
    results = tmp_path / "two words" / "results"
    shutil.copytree(plan.paths.root, results)
    run = plan.paths.run(plan.runs["digits/symmetric-0.5/resnet8/baseline/seed0"].run)
    folder = tmp_path / "out"
    moved = results / run.relative_to(plan.paths.root)
    assert main(["export", "weights", str(moved), "--out", str(folder)]) == 0
    command = re.search(r"```\npython (accuracy\.py .*)\n```", (folder / "README.md").read_text())
    assert command

    done = subprocess.run(["sh", "-c", f"{sys.executable} {command[1]}"], cwd=folder, capture_output=True, text=True)

    assert done.stdout.startswith("test accuracy: "), done.stderr


@pytest.mark.parametrize("times", [1, 37])
def test_the_readme_loads_the_weights_and_uses_them(
    times: int, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(plan, "resnet18", tmp_path / "out")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels.repeat(times, 0).repeat(times, 1)).save(folder / "image.png")
    load, use, _ = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    torchvision_models()  # whichever build of torchvision is installed
    monkeypatch.chdir(folder)
    capsys.readouterr()
    names: dict[str, Any] = {}

    exec(load + use, names)  # noqa: S102

    network = type(names["network"])
    assert (network.__module__, network.__name__) == ("torchvision.models.resnet", "ResNet")
    chosen, probability = re.findall(r"[\d.]+", capsys.readouterr().out)
    run = plan.runs["digits/symmetric-0.5/resnet18/baseline/seed0"].run
    assert main(["predict", str(plan.paths.run(run)), "image.png", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    assert found["class"] == chosen
    assert found["probabilities"][chosen] == pytest.approx(float(probability), abs=0.01)


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
def test_torchscript_takes_any_number_of_images(plan: Plan, tmp_path: Path) -> None:
    folder = exported(plan, "vgg16", tmp_path / "out", "--format", "torchscript")

    network = torch.jit.load(folder / "network.pt")

    images = torch.randn(7, 1, 8, 8)
    assert network(images).shape == (7, 10)
    torch.testing.assert_close(network(images)[:3], network(images[:3]))


def test_a_network_that_torchvision_lacks_is_exported_as_torchscript(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(plan, "preact_resnet18", tmp_path / "out")
    assert (folder / "network.pt").is_file()
    run = plan.runs["digits/symmetric-0.5/preact_resnet18/baseline/seed0"].run

    arguments = ["export", "weights", str(plan.paths.run(run)), "--out", str(tmp_path / "no")]
    assert main([*arguments, "--format", "torchvision"]) == 1

    assert "torchvision has no network of kind preact_resnet18. Use --format torchscript." in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_the_readme_says_where_the_weights_come_from(plan: Plan, tmp_path: Path) -> None:
    folder = exported(plan, "resnet18", tmp_path / "out")
    readme = (folder / "README.md").read_text()
    recipe = plan.runs["digits/symmetric-0.5/resnet18/baseline/seed0"]

    made = read_json(plan.paths.provenance(plan.paths.run(recipe.run)))
    commit = made["commit"] or made["no_commit"]
    for said in (recipe.digest, commit, made["packages"]["torch"], "MIT", "not 7×7 of stride 2", "(source: `digits`)"):
        assert said in " ".join(readme.split())
    assert (folder / "classes.txt").read_text().split() == [str(number) for number in range(10)]


def test_a_folder_that_is_not_empty_is_left_as_it_is(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    run = plan.runs["digits/symmetric-0.5/resnet8/baseline/seed0"].run

    assert main(["export", "weights", str(plan.paths.run(run)), "--out", str(tmp_path)]) == 1

    assert f"{tmp_path}: exists and is not empty. Name a new folder, or remove it." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_weights_of_half_precision_are_exported_and_named_as_such(searched: Searched, tmp_path: Path) -> None:
    run = searched.plan.runs["digits/symmetric-0.5/resnet8/output/seed0"].run

    assert main(["export", "weights", str(searched.plan.paths.run(run)), "--out", str(tmp_path / "out")]) == 0

    assert "These weights were kept in half precision" in (tmp_path / "out" / "README.md").read_text()
    found = measured(tmp_path / "out", searched.plan.paths.dataset("digits") / TEST)
    assert found == pytest.approx(
        read_json(searched.plan.paths.evaluation(run) / METRICS)["last"]["accuracy"], abs=0.01
    )
