"""The installed package, away from its repository: the command, a study that it writes, the workflow that it brings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workspaces import REPOSITORY

BIN = Path(sys.executable).parent
SOURCES = (
    "collabpipe",
    "Snakefile",
    "rules",
    "profiles",
    "config",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CITATION.cff",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that a wheel of the package was installed into, with its commands in `bin`."""
    root = tmp_path_factory.mktemp("installed")
    (root / "source").mkdir()
    for name in SOURCES:  # a build writes beside what it builds
        source = REPOSITORY / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, root / "source" / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, root / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--quiet", "--no-index", "--no-deps"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", root / "wheel", root / "source"], check=True
    )
    (wheel,) = (root / "wheel").glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", root / "site", wheel], check=True)
    return root / "site"


def run(command: str, folder: Path, installed: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run lines of a shell where the installed package is the one that is found."""
    environment = os.environ | {"PYTHONPATH": str(installed), "PATH": f"{installed / 'bin'}:{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def test_the_wheel_holds_every_file_of_the_package(installed: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "collabpipe", "rules", "profiles/*/*.yaml", "config/*.yaml", "Snakefile"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "collabpipe/shipped/study/config/config.yaml" in tracked

    places = [installed / (name if name.startswith("collabpipe") else f"collabpipe/shipped/{name}") for name in tracked]

    assert [place for place in places if not place.exists()] == []


def test_the_command_is_there_outside_of_the_repository(installed: Path, tmp_path: Path) -> None:
    shown = run("collabpipe --help; python -c 'import collabpipe; print(collabpipe.__file__)'", tmp_path, installed)

    assert "  init  " in shown.stdout
    assert shown.stdout.splitlines()[-1] == str(installed / "collabpipe" / "__init__.py")


@pytest.mark.slow
def test_the_steps_that_init_prints_lead_to_a_table_and_a_report(installed: Path, tmp_path: Path) -> None:
    told = run("collabpipe init 'my study'", tmp_path, installed).stdout
    steps = "\n".join(re.findall(r"^  (.*?)(?: +#.*)?$", told, re.M))
    assert steps.count("\n") == 3

    done = run(steps, tmp_path, installed)

    study = tmp_path / "my study"
    dry, table = done.stdout.index("This was a dry-run"), done.stdout.rindex("output_control")
    assert dry < table
    assert (study / "results" / "first" / "tables" / "main.md").exists()
    # Nothing is left to do, and the profile in the folder applies.
    assert "Nothing to be done" in run("snakemake --cores all --dry-run", study, installed).stdout
    readme = (study / "README.md").read_text()
    for command in re.findall(r"^collabpipe .*?(?=  |$)", readme, re.M):
        if command != "collabpipe plan --estimate":  # measures for a while
            run(command, study, installed)


def test_init_leaves_a_folder_alone_that_holds_something(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    refused = run("collabpipe init .", tmp_path, installed, check=False)

    assert refused.returncode == 1
    assert (
        refused.stderr == "collabpipe init: error: . is not empty, and nothing in it was changed. Name a new folder.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_installed_workflow_is_a_module_of_another(installed: Path, tmp_path: Path) -> None:
    study = installed / "collabpipe" / "shipped" / "study" / "config" / "config.yaml"
    (tmp_path / "host.yaml").write_text(yaml.safe_dump({"ours": yaml.safe_load(study.read_text())}))
    page = (REPOSITORY / "docs" / "workflow.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```\n(from collabpipe.shipped import SNAKEFILE\n.*?)^```", page, re.M | re.S)
    assert 'config: config["study"]' in example
    (tmp_path / "Snakefile").write_text(
        'configfile: "host.yaml"\n' + example.replace('config["study"]', 'config["ours"]')
    )

    planned = run("snakemake --cores 1 --dry-run -- summary", tmp_path, installed)

    assert re.search(r"^study_train_0 +3$", planned.stdout, re.M)
    assert (tmp_path / "robustness" / "results" / "recipes").is_dir()


def test_the_catalogues_workflow_is_the_repositorys(tmp_path: Path) -> None:
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    # What a tool that deploys from the catalogue writes.
    (tmp_path / "config").mkdir()
    shutil.copy(REPOSITORY / "collabpipe" / "shipped" / "study" / "config" / "config.yaml", tmp_path / "config")
    (tmp_path / "Snakefile").write_text(
        'configfile: "config/config.yaml"\n\n\n'
        f'module collabpipe:\n    snakefile: "{REPOSITORY}/workflow/Snakefile"\n    config: config\n\n\n'
        "use rule * from collabpipe\n"
    )

    planned = run("snakemake --cores 1 --dry-run", tmp_path, REPOSITORY)

    assert re.search(r"^train_0 +3$", planned.stdout, re.M)
