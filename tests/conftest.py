"""Shared fixtures: small finished studies, made once by the real pipeline and copied for each test that needs one.

Tests of training alone take `lab` instead: recipes, labels and images without Snakemake.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from filelock import FileLock

from collabpipe.cli import main
from tests.dvc_projects import Project, copy_tree
from tests.searches import STUDY, Searched
from tests.workspaces import SMALL, Lab, Workspace

# How long an example takes hangs on what else the machine does.
hypothesis.settings.register_profile("timeless", deadline=None)
hypothesis.settings.load_profile("timeless")

Once = Callable[[str, Callable[[Path], None]], Path]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m gpu` no other tests are read: on a machine for these alone the others may lack their libraries."""
    if config.option.markexpr != "gpu":
        return None
    here, gpu = Path(__file__).parent, Path(__file__).parent / "gpu"
    # Folders too: a conftest.py is read when its folder is.
    others = collection_path.is_relative_to(here) and not collection_path.is_relative_to(gpu)
    return True if others and collection_path != here else None


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The digits, prepared by the real commands, and torch held to one thread and the same numbers."""
    from collabpipe.training.device import be_deterministic

    be_deterministic(threads=1)
    lab = Lab(tmp_path_factory.mktemp("lab"))
    recipe = lab.plan({}).data["digits"].write(lab.results / "recipes")
    for command in ("fetch", "prepare"):
        assert main([command, str(recipe), "--results", str(lab.results)]) == 0
    return lab


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """Makes a folder once for all workers; nobody writes to it afterwards."""
    base = tmp_path_factory.getbasetemp()

    def made(name: str, make: Callable[[Path], None]) -> Path:
        shared = (base if worker_id == "master" else base.parent) / name
        with FileLock(f"{shared}.lock"):
            if not shared.exists():
                make(making := shared.with_suffix(".making"))
                making.rename(shared)
        return shared

    return made


@pytest.fixture(scope="session")
def finished_study(once: Once) -> Path:
    """The folder of a small study that Snakemake has finished."""
    return once("finished", lambda root: finish(root, SMALL))


@pytest.fixture(scope="session")
def finished_search(once: Once) -> Path:
    """The folder of a searched study that Snakemake has finished."""
    return once("searched", lambda root: finish(root, STUDY))


def finish(root: Path, config: dict[str, Any]) -> None:
    """Let Snakemake finish a study."""
    Workspace.create(root, config).snakemake()


@pytest.fixture
def study(finished_study: Path, tmp_path: Path) -> Workspace:
    """A copy of the finished study, its times and links kept."""
    # With the hard links between the store and the runs, as a user's own folder has them.
    copy_tree(finished_study, tmp_path / "study")
    return Workspace(tmp_path / "study")


@pytest.fixture
def searched(finished_search: Path, tmp_path: Path) -> Searched:
    """A copy of the finished searched study, its times and links kept."""
    copy_tree(finished_search, tmp_path / "study")
    return Searched(tmp_path / "study")


@pytest.fixture
def fresh(tmp_path: Path) -> Workspace:
    """A folder in which nothing has run yet."""
    return Workspace.create(tmp_path / "fresh", SMALL)


@pytest.fixture(scope="session")
def shared_study(finished_study: Path, once: Once) -> Path:
    """A folder with the small finished study in `project`, shared, and the folder `remote` that it was pushed to."""

    def share(root: Path) -> None:
        project = Project.begin(root / "project", SMALL)
        copy_tree(finished_study / "results", project.results)
        project.collabpipe("share")
        project.commit("share the study")

    return once("shared", share)


@pytest.fixture
def project(shared_study: Path, tmp_path: Path) -> Project:
    """A project with the finished and shared study; its remote beside it."""
    copy_tree(shared_study, tmp_path / "shared")
    return Project(tmp_path / "shared" / "project")


@pytest.fixture
def clone(project: Project) -> Project:
    """A fresh clone of the project, in which nothing is restored yet."""
    return project.cloned()


@pytest.fixture(scope="session")
def restored_study(shared_study: Path, once: Once) -> Path:
    """The shared study, its remote, and a clone of it in which it was restored."""

    def restore(root: Path) -> None:
        copy_tree(shared_study, root)
        Project(root / "project").cloned().collabpipe("restore")

    return once("restored", restore)


@pytest.fixture
def restored(restored_study: Path, tmp_path: Path) -> tuple[Project, Project]:
    """A project with the finished and shared study, and a clone of it in which it was restored."""
    copy_tree(restored_study, tmp_path / "restored")
    return Project(tmp_path / "restored" / "project"), Project(tmp_path / "restored" / "clone")
