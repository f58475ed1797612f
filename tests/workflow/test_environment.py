"""What a person's shell, variables and disks must not break: each is tried on the small finished study."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from collabpipe.cli.doctor.machine import check_results
from collabpipe.common.files import read_json
from collabpipe.common.whereabouts import Commit, commit
from collabpipe.plan.figures import FIGURES
from collabpipe.plan.paths import STAGES, WEIGHTS
from tests.dvc_projects import SKIPS_ALL, Project, copy_tree
from tests.workspaces import REPOSITORY, SMALL, Workspace

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
    stages.write_text(stages.read_text().replace("small: config/config.yaml", "small: config/my study.yaml"))

    project.dvc("repro", "datasets", env={"SHELL": str(other_shell)})

    assert "results/datasets" in project.hashes()
    assert project.collabpipe("share", "--no-push").returncode == 0, "the study that dvc.yaml names is found"


def test_all_stages_have_one_command_but_for_its_target() -> None:
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert tuple(stages) == STAGES
    [datasets] = stages.pop(STAGES[0])["cmd"]
    commands = {stage["do"]["cmd"].replace(f"-- {name}", "-- TARGET") for name, stage in stages.items()}
    assert commands == {datasets.replace(f"-- {STAGES[0]}", "-- TARGET").replace("${studies.default}", "${item}")}


# --- which commit ----------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    """What git prints in `folder`."""
    who = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in no repository, and a home without settings."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "alone").mkdir()
    return tmp_path / "alone"


def unpacked(root: Path) -> Path:
    """The package, as out of an archive, below `root`."""
    shutil.copytree(
        REPOSITORY / "collabpipe", root / "code" / "collabpipe", ignore=shutil.ignore_patterns("__pycache__")
    )
    return root / "code" / "collabpipe"


def committed(root: Path) -> str:
    """The new commit of all that lies below `root`."""
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "begin")
    return git(root, "rev-parse", "HEAD")


def test_a_repository_is_named_only_if_it_holds_the_package(alone: Path) -> None:
    (alone / "thesis.txt").write_text("of another project")
    foreign = committed(alone)
    package = unpacked(alone)
    found = commit(package)
    assert found.name is None
    assert found.reason == f"the git repository around {package} has no commit that holds it"
    assert found.remedy == "clone the repository with git"

    held = committed(alone)
    assert held != foreign
    assert commit(package) == Commit(held)
    (package / "common" / "errors.py").write_text("")
    assert commit(package) == Commit(f"{held}+")


def test_without_a_repository_or_without_git_that_is_the_reason(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = unpacked(alone)
    assert commit(package).reason == f"there is no git repository with a commit at {package}"
    git(alone, "init", "--quiet")
    assert commit(package).reason == f"there is no git repository with a commit at {package}"
    monkeypatch.setenv("PATH", str(alone))
    assert commit(package) == Commit(None, "git is not installed", "install git")


def test_a_hook_of_another_repository_and_settings_of_git_change_no_commit(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = unpacked(alone)
    (other := alone.parent / "other").mkdir()
    held, foreign = committed(alone), committed(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert git(alone, "rev-parse", "HEAD") == foreign
    for setting in ("log.showSignature=true", "core.pager=false", "color.ui=always", "core.abbrev=4"):
        git(other, "config", "--global", *setting.split("="))
    assert commit(package) == Commit(held)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder to another user takes root")
def test_where_git_distrusts_the_owner_its_own_remedy_is_named_and_works(alone: Path) -> None:
    repository = alone / "of another"
    package = unpacked(repository)
    held = committed(repository)
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 65534, 65534)
    found = commit(package)
    assert found.name is None
    assert found.reason == "git does not read a repository that belongs to another user"
    subprocess.run(["sh", "-c", found.remedy], check=True)
    assert commit(package) == Commit(held)


def test_a_record_says_why_it_names_no_commit(
    study: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = study.results / "recipes" / f"{study.plan.study.digest}.json"
    (bin := tmp_path / "bin").mkdir()
    collabpipe = shutil.which("collabpipe", path=study.environment["PATH"])
    study.run(str(collabpipe), "tables", recipe, env={"PATH": str(bin)})
    about = read_json(study.paths.provenance(study.paths.tables))
    assert (about["commit"], about["no_commit"]) == (None, "git is not installed")


# --- results on another disk -----------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(finished_study: Path, tmp_path: Path) -> Project:
    """A project whose results are a link to a folder elsewhere, where the finished study lies."""
    project = Project.begin(tmp_path / "project", SMALL)
    copy_tree(finished_study / "results", tmp_path / "a disk")
    project.results.symlink_to(tmp_path / "a disk")
    return project


def test_results_behind_a_link_are_refused_to_dvc_at_once_and_the_remedy_works(elsewhere: Project) -> None:
    assert "Nothing to be done" in elsewhere.snakemake("-n").stdout
    assert "results" not in elsewhere.run("git", "status", "--porcelain").stdout, "git ignores the link as the folder"
    for command in (("dvc", "repro"), ("collabpipe", "share"), ("collabpipe", "restore")):
        done = elsewhere.run(*command, check=False)
        assert done.returncode != 0
        assert "results is a symbolic link, and DVC keeps nothing behind a link" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    assert not (elsewhere.root / "dvc.lock").exists()

    remedy = next(line.strip() for line in done.stderr.splitlines() if line.startswith("  rm "))
    elsewhere.run("sh", "-c", remedy)

    assert (elsewhere.folder / "runs").is_symlink()
    assert "Nothing to be done" in elsewhere.snakemake("-n").stdout
    elsewhere.collabpipe("share", "--no-push")
    assert elsewhere.dvc("repro").stdout.splitlines()[: len(SKIPS_ALL)] == SKIPS_ALL
    assert (elsewhere.folder / "runs").is_symlink()


def test_a_link_to_nothing_is_named_as_such(elsewhere: Project, tmp_path: Path) -> None:
    (tmp_path / "a disk").rename(tmp_path / "unmounted")
    done = elsewhere.snakemake("-n", check=False)
    assert done.returncode != 0
    assert f"results is a symbolic link to {tmp_path}/a disk, which is not there." in done.stdout + done.stderr
    assert f"mkdir -p '{tmp_path}/a disk'" in done.stdout + done.stderr
    (tmp_path / "a disk").mkdir()
    assert elsewhere.snakemake("-n").returncode == 0


def test_the_doctor_names_a_link_and_its_remedy(tmp_path: Path) -> None:
    (results := tmp_path / "results").symlink_to(tmp_path / "disk")
    [finding] = check_results(results)
    assert (finding.level, finding.fix) == ("failure", f"mount its disk, or: mkdir -p {tmp_path}/disk")
    (tmp_path / "disk").mkdir()
    finding, *others = check_results(results)
    assert (finding.level, [other.level for other in others]) == ("warning", ["ok", "ok"])
    subprocess.run(["sh", "-c", finding.fix], check=True)
    assert [found.level for found in check_results(results)] == ["ok", "ok"]


# --- variables, and where the checkout lies --------------------------------------------------------------------------


def equal_everywhere(results: Path) -> dict[str, bytes]:
    """The content of what a study must make to the same bytes on this machine."""
    found = [*results.glob("small/runs/**/*.safetensors"), *results.glob("small/figures/*.*g")]
    found += [results / "small" / "tables" / name for name in ("main.csv", "noise.csv", "main.tex")]
    # The figure of the overhead shows measured times.
    return {str(path.relative_to(results)): path.read_bytes() for path in found if path.stem != "overhead"}


@pytest.mark.slow
def test_variables_and_a_folder_of_another_kind_change_no_bit(finished_study: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "eine süße Studie", SMALL)
    (tmp_path / "für jetzt").mkdir()
    (config := tmp_path / "settings" / "dvc").mkdir(parents=True)
    (config / "config").write_text("[cache]\n    type = symlink\n[core]\n    autostage = true\n")
    variables = {
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "TMPDIR": str(tmp_path / "für jetzt"),
        "XDG_CONFIG_HOME": str(config.parent),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "7",
        "MKL_NUM_THREADS": "5",
        "PYTHONWARNINGS": "error",
        "PYTHONSTARTUP": "/nothing/here",
        "PYTHONHASHSEED": "3",
        "PYTHONOPTIMIZE": "1",
        "GIT_DIR": "/nothing/here",
        "COLUMNS": "20",
        "FORCE_COLOR": "1",
    }
    workspace.run("sh", "-c", "umask 077 && unset HOME && snakemake --cores 2 && collabpipe verify", env=variables)

    wanted = equal_everywhere(finished_study / "results")
    assert len(wanted) == 3 * 2 * len(WEIGHTS) + sum(len(figure.files) for figure in FIGURES[1:]) + 3
    assert equal_everywhere(workspace.results) == wanted
