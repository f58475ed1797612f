"""Plugins in a real workflow: the examples of docs/examples/plugins, an edit, and a clone that restores the study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from collabpipe.analysis.figures.described import shown_figures
from collabpipe.common.files import read_json
from collabpipe.data.labels import read_labels
from collabpipe.plan.plan import Plan
from tests.conftest import Once
from tests.dvc_projects import Project, copy_tree
from tests.workspaces import SMALL, Workspace, jobs, with_plugins


@pytest.fixture(scope="module")
def finished_plugins(once: Once) -> Path:
    """The folder of the examples' study, finished."""

    def finish(root: Path) -> None:
        workspace = Workspace.create(root, SMALL | {"study": "plugins"})
        with_plugins(workspace)
        workspace.snakemake()

    return once("plugins", finish)


@pytest.fixture
def plugged(finished_plugins: Path, tmp_path: Path) -> Workspace:
    """A copy of the finished study of the examples."""
    copy_tree(finished_plugins, tmp_path / "study")
    return Workspace(tmp_path / "study")


def edit(workspace: Workspace, plugin: str, old: str, new: str) -> None:
    """Replace a text in one of the workspace's plugins."""
    path = workspace.config.with_name(plugin)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_examples_bring_a_source_a_noise_a_network_a_term_and_a_method(plugged: Workspace) -> None:
    plan = plugged.plan
    records = plugged.records()

    assert sorted(records) == sorted(plan.runs)
    assert len(records) == 3 * 2
    run = plan.runs["stripes/dark-0.3/plain/confidence/seed0"].run
    assert "confidence" in pd.read_parquet(plan.paths.run(run) / "history.parquet").columns
    data = read_json(plan.paths.data_record(plan.data["stripes"]))
    assert (data["classes"], data["shape"]) == (["across", "along", "both"], [1, 8, 8])
    # A chance of 1/3, and an easy set.
    table = pd.read_csv(plan.paths.tables / "main.csv")
    assert set(table["method"]) == {"baseline", "confidence", "smoothed"}
    assert table["accuracy_mean"].max() > 50
    # A plugin's network predicts for figures too.
    shown = {figure.name: figure.alternative for figure in shown_figures(plan.paths.figures)}
    assert shown["seen_images"].count("sees through") == 3


def test_the_darkest_images_have_the_wrong_labels(plugged: Workspace) -> None:
    plan = plugged.plan
    labels = read_labels(
        plan.paths.labels(plan.labels["stripes", "dark-0.3", 0]), plan.labels["stripes", "dark-0.3", 0]
    )

    assert (labels.clean != labels.noisy).sum() == round(0.3 * 300)


def test_nothing_is_made_again_without_an_edit(plugged: Workspace) -> None:
    assert "Nothing to be done" in plugged.snakemake("--dry-run").stdout


def test_an_edit_makes_again_what_uses_the_plugin_and_nothing_else(plugged: Workspace) -> None:
    before = plugged.trainings()
    edit(plugged, "term.py", ".sum(-1).mean()", ".sum(-1).mean() * 2")

    plugged.snakemake()

    # Two seeds of the one method whose loss was edited.
    assert len(plugged.trainings() - before) == 2
    assert {r["run"]["method"] for r in plugged.records().values() if r["key"] not in before} == {"confidence"}


def test_a_loss_that_fails_in_a_job_is_told_with_its_line_and_without_a_traceback(plugged: Workspace) -> None:
    edit(plugged, "term.py", ".log_softmax(-1)", ".log_softmax(-1).no_such_thing()")

    done = plugged.snakemake("--keep-going", check=False)

    assert done.returncode != 0
    logs = [path.read_text() for path in plugged.results.rglob("train/**/confidence/*.log")]
    assert logs
    for log in logs:
        assert "Traceback" not in log
        # A copy that is named as the plugin, whose lines are the plugin's.
        assert "/term-" in log
        assert ".py:15: AttributeError: 'Tensor' object has no attribute 'no_such_thing'" in log


def test_a_wrong_plugin_stops_snakemake_with_one_line(plugged: Workspace) -> None:
    edit(plugged, "noise.py", "import numpy as np", "import numpy as np\nimport torch")

    done = plugged.snakemake("--dry-run", check=False)

    assert done.returncode != 0
    assert "config/noise.py:4: imports torch when the file is loaded" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_pruning_keeps_the_texts_that_recipes_need_and_no_others(plugged: Workspace) -> None:
    edit(plugged, "term.py", "0.1", "0.3")
    plugged.collabpipe("plan", "--write")
    recipes = plugged.plan.paths.recipes

    def named() -> list[str]:
        return sorted(path.name.partition("-")[0] for path in recipes.glob("*.py"))

    # What the method's plugin composes is written out in the recipes: its text is not asked for.
    assert named() == ["network", "noise", "source", "term", "term"]
    plugged.collabpipe("prune", "--remove")
    assert named() == ["network", "noise", "source", "term"]


def test_a_recipe_is_made_by_hand_with_the_copy_beside_it(plugged: Workspace) -> None:
    plan = plugged.plan
    for plugin in plugged.config.parent.glob("*.py"):
        plugin.unlink()
    recipe = plan.paths.recipes / f"{plan.data['stripes'].digest}.json"

    plugged.collabpipe("prepare", recipe)
    (copied,) = plan.paths.recipes.glob(f"source-{plan.data['stripes'].plugins[0]}.py")
    copied.write_text(copied.read_text() + "\n# edited\n")
    done = plugged.collabpipe("prepare", recipe, check=False)

    assert done.returncode == 1
    assert f"{copied.name}: was edited" in done.stderr
    copied.unlink()
    done = plugged.collabpipe("prepare", recipe, check=False)
    assert "lacks a plugin that the recipe was made with" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_clone_restores_a_shared_study_with_its_plugins(finished_plugins: Path, tmp_path: Path) -> None:
    project = Project.begin(tmp_path / "project", SMALL | {"study": "plugins"})
    with_plugins(project)
    copy_tree(finished_plugins / "results", project.results)
    project.collabpipe("share")
    project.commit("share the study")

    clone = project.cloned()
    clone.collabpipe("restore")

    assert jobs(clone.snakemake("--dry-run")) == {}
    assert Plan.from_files([clone.config], clone.results).study == project.plan.study
