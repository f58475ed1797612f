"""A page on which every name that a user can choose tries to break out of its place, and a browser to open it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from collabpipe.common.files import read_json, sealed, write_json
from collabpipe.plan.plan import Plan
from collabpipe.report.write import write_report
from collabpipe.results.studies import Study
from tests.conftest import Once
from tests.dvc_projects import copy_tree
from tests.report.browser import Browser, browsing
from tests.workspaces import SMALL, Workspace, altered

HOSTILE = "<script>alert(1)</script>\"'&</title><!--"
"""As a name it would run, if it were not escaped."""
CELL = "digits/symmetric-0.5/resnet8"
FAILED = f"{CELL}/output_control/seed1"
CLAIMS = {
    "output_helps": {
        "source": HOSTILE,
        "says": f"Agreement helps. {HOSTILE}",
        "metric": "accuracy",
        "methods": ["output"],
        "against": ["baseline"],
        "margin": 2.0,
        "readings": ["last points", "best points"],
        "places": [CELL],
    },
    "elsewhere": {
        "source": "nowhere",
        "says": "It helps elsewhere.",
        "metric": "accuracy",
        "methods": ["output"],
        "against": ["baseline"],
        "margin": 2.0,
        "readings": ["last points"],
        "places": ["cifar10/none/resnet18"],
    },
}


def relabelled(path: Path, **changes: Any) -> None:
    """Change a record and seal it again."""
    write_json(path, sealed(read_json(path) | changes))


@pytest.fixture(scope="session")
def hostile(finished_study: Path, once: Once) -> Workspace:
    """The small study with hostile names; a job has failed, so its page is of the runs that are finished."""

    def make(root: Path) -> None:
        copy_tree(finished_study, root)
        work = Workspace(root)
        old = work.folder
        (root / "config" / "claims.yaml").write_text(yaml.safe_dump({"diverged": "chance", "claims": CLAIMS}))
        work.configure(altered({"study": HOSTILE, "claims": "claims.yaml"}, SMALL))
        plan = work.plan
        old.rename(plan.paths.folder)
        for labels in plan.labels.values():
            classes = [f"{HOSTILE}{number}" for number in range(10)]
            relabelled(plan.paths.label_files(labels)[1], classes=classes)
        for recipe in plan.runs.values():
            recipe.write(plan.paths.recipes)
            relabelled(plan.paths.provenance(plan.paths.run(recipe.run)), host=HOSTILE)
        gone = plan.runs[FAILED]
        (plan.paths.metrics(gone.run)).unlink()
        log = plan.paths.log(f"evaluate/{CELL}/output_control/block0")
        log.write_text(f"begins\nerror: the disk is full {HOSTILE}\n")

    return Workspace(once("hostile", make))


@pytest.fixture(scope="session")
def page(hostile: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the hostile study."""
    copy_tree(hostile.root, root := tmp_path_factory.mktemp("page") / "study")
    plan = Plan.from_files([root / "config" / "config.yaml"], root / "results")
    return write_report(Study.of_files(plan), partial=True)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    with browsing() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """A wide window in the light theme, with nothing to tell yet."""
    chromium.look()
    chromium.complaints(), chromium.requests()
    return chromium
