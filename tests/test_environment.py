"""What a person's shell, variables and disks must not break: each is tried on the small finished study."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from collabpipe.paths import STAGES
from tests.conftest import REPOSITORY, SMALL
from tests.dvc_projects import Project, copy_tree

# --- shells ----------------------------------------------------------------------------------------------------------

# Takes a command as fish and tcsh do: outside of quotes neither knows ${NAME:-value}, and tcsh no NAME=value either.
OTHER_SHELL = r"""#!/bin/sh
[ "$1" = -c ] || exit 64
bare=$(printf '%s' "$2" | sed "s/'[^']*'//g")
case $bare in
    *'${'* | [A-Z]*=*) echo "no such syntax here: $bare" >&2; exit 121 ;;
esac
exec /bin/sh "$@"
"""


@pytest.fixture(params=["a stand-in", "fish", "tcsh"])
def other_shell(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A shell that is not POSIX's: real ones where they are installed, and one that always is."""
    if request.param == "a stand-in":
        path = tmp_path / "othersh"
        path.write_text(OTHER_SHELL)
        path.chmod(0o755)
        return path
    found = shutil.which(request.param)
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    return Path(found)


def test_dvc_runs_a_study_whose_file_has_a_space_in_its_name_from_any_shell(
    other_shell: Path, finished_study: Path, tmp_path: Path
) -> None:
    project = Project.begin(tmp_path / "project", SMALL)
    copy_tree(finished_study / "results", project.results)
    project.config.rename(project.root / "config" / "my study.yaml")
    stages = project.root / "dvc.yaml"
    stages.write_text(stages.read_text().replace("study: config/config.yaml", "study: config/my study.yaml"))

    project.dvc("repro", "datasets", env={"SHELL": str(other_shell)})

    assert "results/datasets" in project.hashes()
    assert project.collabpipe("share", "--no-push").returncode == 0, "the study that dvc.yaml names is found"


def test_all_stages_have_one_command_but_for_its_target() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert tuple(stages) == STAGES
    assert len({stage["cmd"].replace(f"-- {name}", "-- TARGET") for name, stage in stages.items()}) == 1
