"""Sharing and restoring a study, with real git, real DVC, a folder remote and an S3 server on this machine.

Work is counted by the costs that trainings record, never by jobs: a job whose result is there already costs nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
import yaml
from moto.server import ThreadedMotoServer

from collabpipe.audit.share import LOCK_BEFORE
from collabpipe.plan.recipes import NUMERICS
from tests import forks
from tests.dvc_projects import CELL, DVC_STAGES, SKIPS_ALL, Project, files_below, flip_a_bit, wait_for
from tests.workspaces import SMALL, Workspace, altered

NOTHING = "Nothing to be done"
PROVEN = "Every cell of the tables follows from its data, labels, recipes and checkpoints."
BASELINE: dict[str, Any] = {"methods": {"output": None, "output_control": None}}
ALL = [f"{method}/seed{seed}" for method in SMALL["methods"] for seed in SMALL["seeds"]]
WEIGHTS = f"results/small/runs/{CELL}/output/seed1/last.safetensors"


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What a command says that refuses, which is made for people; of collabpipe its own message, without DVC's."""
    printed = done.stdout + done.stderr
    assert done.returncode == 1, printed
    assert "Traceback" not in printed
    return printed.rpartition(": error: ")[2] if "collabpipe" in done.args[0] else printed


def assert_whole(clone: Project, original: Project) -> None:
    """The clone has all that was shared, and nothing is left to be done in it."""
    assert clone.shared() == original.shared()
    assert NOTHING in clone.snakemake("-n").stdout


# --- two runs of one study -------------------------------------------------------------------------------------------


def test_two_runs_of_a_study_give_equal_hashes_and_a_second_repro_does_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    again = Project.begin(tmp_path / "again", SMALL)
    with again.trains(*ALL):
        again.dvc("repro")
    lock = again.lock
    with again.trains():
        assert again.dvc("repro").stdout.splitlines()[: len(SKIPS_ALL)] == SKIPS_ALL
    assert again.lock == lock

    first: Project = request.getfixturevalue("project")
    hashes, others = again.hashes(), first.hashes()
    assert set(hashes) == set(others)
    differing = {name for name, md5 in hashes.items() if md5 != others[name]}
    # Host, time and commit, measured times with their figure, and the report that shows them; nothing else.
    figures = {f"results/small/figures/{name}" for name in ("overhead.png", "overhead.svg", "record.json")}
    report = {"results/small/report.html", "results/small/report.json"}
    assert {name for name in differing if "/provenance/" not in name} == {"results/small/overhead"} | figures | report


# --- restored, then changed ------------------------------------------------------------------------------------------


def test_in_a_restored_clone_a_seed_more_trains_alone_and_a_seed_less_trains_nothing(
    restored: tuple[Project, Project],
) -> None:
    project, clone = restored
    assert_whole(clone, project)
    clone.collabpipe("verify")
    assert clone.cost_records() == project.cost_records()
    first = clone.table()
    assert first["n"].to_dict() == {"baseline": 2, "output": 2, "output_control": 2}

    clone.configure(altered({"seeds": [0, 1, 2]}))
    lock = clone.lock
    with (
        clone.trains("baseline/seed2", "output/seed2", "output_control/seed2"),
        clone.working("snakemake", "--cores", "2") as running,
    ):
        log = clone.folder / "logs" / "train"
        wait_for(lambda: running.poll() is not None or log.exists())
        os.killpg(running.pid, signal.SIGSTOP)
        for command in (["restore"], ["share", "--no-push"], ["prune", "--remove"]):
            assert "Snakemake or a command of collabpipe is at work here" in refused(
                clone.collabpipe(*command, check=False)
            )
        os.killpg(running.pid, signal.SIGCONT)
        assert running.wait() == 0
    assert clone.lock == lock
    assert set(clone.table()["n"]) == {3}

    # What Snakemake made is taken into dvc.lock as it is, and DVC then has nothing to run.
    with clone.trains():
        clone.collabpipe("share", "--no-push")
        assert NOTHING in clone.snakemake("-n").stdout
    assert clone.lock != lock
    with clone.trains():
        assert clone.dvc("repro").stdout.splitlines()[: len(SKIPS_ALL)] == SKIPS_ALL

    clone.configure(altered({"seeds": [0, 2]}))
    with clone.trains():
        clone.snakemake()
    assert set(clone.table()["n"]) == {2}
    assert not clone.table().equals(first)
    assert NOTHING in clone.snakemake("-n").stdout


def test_a_weight_that_is_changed_after_a_restore_trains_its_runs_and_leaves_no_old_checkpoint_beside_it(
    restored: tuple[Project, Project],
) -> None:
    project, clone = restored
    lock, hashes, old = clone.lock, clone.hashes(), clone.records()
    clone.configure(altered({"methods": {"output": {"weight": 7.0}}}))
    # The old checkpoints cannot be declared the new weight's.
    assert "is not finished" in refused(clone.collabpipe("share", "--no-push", check=False))
    assert clone.lock == lock
    with clone.trains("output/seed0", "output/seed1"):
        clone.dvc("repro")
    records = clone.records()
    changed = {name for name, record in records.items() if record != old[name]}
    assert changed == {f"{CELL}/output/seed{seed}" for seed in (0, 1)}
    clone.collabpipe("verify")
    changed = {name for name, md5 in clone.hashes().items() if md5 != hashes[name]}
    assert {"results/small/runs", "results/small/evaluations", "results/small/tables/main.csv"} < changed
    assert not changed & {"results/datasets", "results/small/labels"}
    with clone.trains():
        assert clone.dvc("repro").stdout.splitlines()[: len(SKIPS_ALL)] == SKIPS_ALL

    # Back to the weight that was shared: its checkpoints come from the store or the remote.
    clone.configure(SMALL)
    clone.run("git", "checkout", "--quiet", "--", "dvc.lock")
    with clone.trains():
        clone.collabpipe("restore", "--force")
        assert_whole(clone, project)


@pytest.mark.slow
def test_with_raised_numerics_everything_is_trained_again_beside_what_dvc_pulled(clone: Project) -> None:
    clone.dvc("pull")
    recipe = clone.root / "collabpipe" / "plan" / "recipes.py"
    text = recipe.read_text()
    recipe.write_text(text.replace(f"\nNUMERICS = {NUMERICS}\n", f"\nNUMERICS = {NUMERICS + 1}\n"))
    assert recipe.read_text() != text
    status = clone.dvc("status").stdout
    assert all(f"{stage}:" in status for stage in DVC_STAGES)
    changed = Project(clone.root, PYTHONPATH=str(clone.root))
    with changed.trains(*ALL):
        changed.snakemake("checkpoints")


# --- two studies -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_study_is_kept_beside_the_first_and_each_is_restored_alone_or_both(project: Project) -> None:
    lock = project.hashes()
    stages, config = project.root / "dvc.yaml", project.root / "config" / "second.yaml"
    config.write_text(yaml.safe_dump(altered({"study": "second", "methods": {"output_control": None}, "seeds": [0]})))
    text = stages.read_text()
    line = next(line for line in text.splitlines() if "-- datasets" in line)
    text = text.replace("small: config/config.yaml\n", "small: config/config.yaml\n      second: config/second.yaml\n")
    stages.write_text(text.replace(line, f"{line}\n{line.replace('studies.small', 'studies.second')}"))
    with project.trains():
        project.dvc("repro", "report@second")
    assert lock.items() <= project.hashes().items()
    project.collabpipe("share")
    assert lock.items() <= project.hashes().items()
    project.commit("a second study")

    one, both = project.cloned("one"), project.cloned("both")
    one.collabpipe("restore", "second")
    assert not (one.folder / "runs").exists()
    assert NOTHING in one.snakemake("-n", "--configfile", "config/second.yaml").stdout
    assert PROVEN in one.collabpipe("verify").stdout
    both.collabpipe("restore")
    assert both.shared() == project.shared()
    for options in ((), ("--configfile", "config/second.yaml")):
        assert NOTHING in both.snakemake("-n", *options).stdout

    assert "has no study third. Known: small, second." in refused(project.collabpipe("share", "third", check=False))
    config.write_text(config.read_text().replace("study: second", "study: Second"))
    told = "config/second.yaml describes study Second, whose results lie in results/second-"
    assert told in refused(project.collabpipe("share", check=False))
    repro = project.dvc("repro", check=False)
    assert told in repro.stdout + repro.stderr


# --- sharing ---------------------------------------------------------------------------------------------------------


def test_what_is_not_finished_or_was_tampered_with_is_not_shared(project: Project) -> None:
    lock = project.lock
    project.configure(altered({"seeds": [0, 1, 2]}))
    message = refused(project.collabpipe("share", check=False))
    assert "study small is not finished" in message
    assert "Finish it: snakemake --cores all" in message

    project.configure(SMALL)
    flip_a_bit(project.root / WEIGHTS)
    assert f"{WEIGHTS}: its content is not" in refused(project.collabpipe("share", check=False))
    assert project.lock == lock


# --- a damaged remote ------------------------------------------------------------------------------------------------


def damage_list(file: Path) -> None:
    """Change a list of files so that it can still be read."""
    file.chmod(0o644)
    text = file.read_text()
    file.write_text(text.replace("seed0", "seed9", 1))
    assert file.read_text() != text


@pytest.mark.parametrize(
    ("name", "damage"),
    [(WEIGHTS, flip_a_bit), (WEIGHTS, Path.unlink), ("results/small/runs", damage_list)],
    ids=["a flipped bit", "a missing file", "a damaged list"],
)
def test_what_is_damaged_in_the_remote_is_named_and_the_advice_fixes_it(
    name: str, damage: Any, project: Project, clone: Project
) -> None:
    damage(project.stored(name))
    message = refused(clone.collabpipe("restore", check=False))
    assert re.findall(r"results/[^\s:]+", message) == [name]

    # The advice is followed: DVC itself pushes nothing in the place of what is there, or of a list that is there.
    for damaged in re.findall(r"files/md5/[0-9a-f]{2}/\w+(?:\.dir)?", message):
        (project.remote / damaged).unlink(missing_ok=True)
    assert "collabpipe share" in message
    project.collabpipe("share")
    clone.collabpipe("restore")
    assert clone.shared() == project.shared()


def test_damage_that_a_remote_without_verify_lets_through_is_found_and_made_again_alone(
    project: Project, clone: Project
) -> None:
    clone.dvc("remote", "modify", "--unset", "folder", "verify")
    flip_a_bit(project.stored(WEIGHTS))
    done = clone.collabpipe("restore")
    assert f"removed, will be made again: {WEIGHTS}: its content is not" in done.stdout
    assert not (clone.root / WEIGHTS).exists()
    with clone.trains("output/seed1"):
        clone.snakemake("checkpoints")
    assert (clone.root / WEIGHTS).read_bytes() == (project.root / WEIGHTS).read_bytes()


# --- killed ----------------------------------------------------------------------------------------------------------


def test_sharing_that_is_killed_is_completed_by_sharing_again(project: Project) -> None:
    cache, remote = project.root / ".dvc" / "cache", project.remote
    lock, number = project.hashes(), files_below(remote)
    for made in (cache, remote):
        shutil.rmtree(made)
    (project.root / "dvc.lock").unlink()
    for folder, part in ((cache, number // 3), (remote, 1), (remote, number // 3)):
        project.killed("collabpipe", "share", when=lambda f=folder, n=part: files_below(f) >= n)  # type: ignore[misc]
    project.collabpipe("share")
    assert project.hashes() == lock
    clone = project.cloned()
    clone.collabpipe("restore")
    assert clone.shared() == project.shared()
    clone.collabpipe("verify")


@pytest.mark.parametrize("left", [0, 5000], ids=["nothing", "a part"])
def test_sharing_that_is_killed_while_dvc_writes_its_lock_loses_nothing_of_it(left: int, project: Project) -> None:
    lock, before = project.root / "dvc.lock", project.root / LOCK_BEFORE
    stages = yaml.safe_load(lock.read_text())
    stages["stages"]["tables@zoo"] = stages["stages"]["tables@small"]  # of another study, which is not shared now
    lock.write_text(yaml.safe_dump(stages, sort_keys=False))
    project.killed("collabpipe", "share", when=before.exists)
    lock.write_bytes(lock.read_bytes()[:left])
    project.collabpipe("share", "--no-push")
    assert yaml.safe_load(lock.read_text()) == stages
    assert not before.exists()


def test_sharing_for_the_first_time_that_is_killed_while_dvc_writes_its_lock_is_completed(project: Project) -> None:
    lock, known = project.root / "dvc.lock", project.hashes()
    lock.unlink()
    project.killed("collabpipe", "share", when=(project.root / LOCK_BEFORE).exists)
    lock.write_bytes(b"")
    project.collabpipe("share", "--no-push")
    assert project.hashes() == known


def test_a_lock_that_is_cut_off_or_damaged_is_told_and_the_advice_fixes_it(project: Project, clone: Project) -> None:
    for one, command in ((project, "share"), (clone, "restore")):
        for damaged in ("", "stages:\n  labels@sm", "<<<<<<< HEAD\nstages:\n", "stages\n"):
            (one.root / "dvc.lock").write_text(damaged)
            message = refused(one.collabpipe(command, check=False))
            assert "dvc.lock: is cut off or damaged: " in message
            assert "git checkout dvc.lock" in message
            assert (one.root / "dvc.lock").read_text() == damaged
        one.run("git", "checkout", "dvc.lock")
        one.collabpipe(command)
    assert clone.shared() == project.shared()


def test_restoring_that_is_killed_is_completed_by_restoring_again(project: Project, clone: Project) -> None:
    cache, results = clone.root / ".dvc" / "cache", clone.results
    objects, files = files_below(project.remote), len(project.shared())
    recipes = results / "recipes"
    for folder, part in ((cache, 1), (cache, objects // 3), (results, 2), (results, files // 3), (recipes, 1)):
        clone.killed("collabpipe", "restore", when=lambda f=folder, n=part: files_below(f) >= n)  # type: ignore[misc]
    half = clone.folder / "runs" / f".{'x' * 22}.tmp"  # as DVC leaves a file that it was checking out
    half.parent.mkdir(parents=True, exist_ok=True)
    half.touch()
    clone.collabpipe("restore")
    assert not half.exists()
    assert_whole(clone, project)
    clone.collabpipe("verify")
    assert clone.cost_records() == project.cost_records()


# --- a part of it ----------------------------------------------------------------------------------------------------


def test_tables_alone_can_be_read_and_nothing_is_trained_for_them(project: Project, clone: Project) -> None:
    done = clone.collabpipe("restore", "--only", "tables")
    assert "proven: 1 × overhead, 1 × tables, 1 × figures" in done.stdout
    assert "6 × checkpoint" in done.stdout
    shown, known = (one.collabpipe("show").stdout.partition("The tables are ") for one in (clone, project))
    assert shown[0] == known[0]
    assert known[2].startswith("what study small (config/config.yaml) asks for.")
    assert shown[2].startswith("of study small (config/config.yaml); not all that they were made from is here.")
    assert clone.cost_records() == {}
    tables = (clone.folder / "tables" / "main.csv").read_bytes()
    assert tables == (project.folder / "tables" / "main.csv").read_bytes()
    # Asked for the rest, it comes from the remote.
    clone.collabpipe("restore")
    assert_whole(clone, project)
    assert clone.cost_records() == project.cost_records()


# --- at the same time ------------------------------------------------------------------------------------------------


def test_snakemake_is_refused_while_a_study_is_restored(project: Project, clone: Project) -> None:
    with clone.working("collabpipe", "restore") as restoring:
        wait_for(lambda: restoring.poll() is not None or files_below(clone.root / ".dvc" / "cache") > 0)
        os.killpg(restoring.pid, signal.SIGSTOP)
        assert restoring.poll() is None
        assert "is being restored, shared or pruned by another process" in refused(clone.snakemake("-n", check=False))
        recipe = next(project.results.glob("recipes/*.json"))
        assert "is being restored" in refused(clone.collabpipe("train", recipe, check=False))
        assert "is at work here" in refused(clone.collabpipe("restore", check=False))
        os.killpg(restoring.pid, signal.SIGCONT)
        assert restoring.wait() == 0
    assert clone.shared() == project.shared()


# --- a cache that links ----------------------------------------------------------------------------------------------


def test_results_that_a_linking_cache_protects_are_explained_and_the_advice_fixes_them(
    project: Project, clone: Project
) -> None:
    clone.dvc("config", "--local", "cache.type", "hardlink")
    messages = [
        refused(clone.collabpipe("restore", check=False)),
        refused(clone.snakemake("-n", check=False)),
        refused(clone.collabpipe("share", check=False)),
    ]
    for message in messages:
        assert "is write-protected" in message
        assert "cache.type is hardlink" in message
    advice = re.search(r"(dvc config .*?) && (dvc checkout --relink)", messages[0])
    assert advice is not None
    for command in advice.groups():
        clone.run(*command.split())
    clone.collabpipe("restore", "--no-pull")
    assert_whole(clone, project)


# --- users -----------------------------------------------------------------------------------------------------------


class OrdinaryUser(Project):
    """A project whose commands are run by a user who is not root."""

    def __init__(self, root: Path, user: forks.User):
        super().__init__(root, **user.environment)
        self.user = user

    def run(self, *command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        path = {"PATH": f"{forks.folder(self.user)}:{self.environment['PATH']}"}
        return super().run(*self.user.become, *command, check=check, env=path | options.pop("env", {}), **options)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
def test_an_ordinary_user_restores_adds_a_seed_and_shares(shared_study: Path, elsewhere: Path) -> None:
    someone = forks.User(12345, 12345, elsewhere / "home")
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("becoming another user takes root and setpriv")
    probe = [*someone.become, "env", sys.executable, "-c", "import collabpipe"]
    if subprocess.run(probe, check=False, cwd="/").returncode != 0:
        pytest.skip("the environment cannot be read by another user")
    subprocess.run(["cp", "-a", str(shared_study), str(someone.home)], check=True)
    subprocess.run(["chown", "-R", f"{someone.number}:{someone.group}", str(someone.home)], check=True)
    OrdinaryUser(someone.home, someone).run("git", "clone", "--quiet", "project", "clone")
    clone = OrdinaryUser(someone.home / "clone", someone)

    clone.collabpipe("restore")
    clone.configure(altered(BASELINE | {"seeds": [0, 1, 2]}))
    with clone.trains("baseline/seed2"):
        clone.snakemake()
    clone.collabpipe("share")
    clone.commit("a seed more")

    clone.run("git", "clone", "--quiet", clone.root, someone.home / "third")
    third = OrdinaryUser(someone.home / "third", someone)
    third.collabpipe("restore")
    assert NOTHING in third.snakemake("-n").stdout
    assert third.table()["n"].to_dict() == {"baseline": 3}


# --- remotes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server with the bucket `studies`, and a user's credentials in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "someone")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=address).create_bucket(Bucket="studies")
        yield address
    finally:
        server.stop()


def test_a_study_is_shared_and_restored_through_s3(project: Project, s3: str) -> None:
    project.dvc("remote", "add", "bucket", "s3://studies/small")
    for name, value in (("endpointurl", s3), ("verify", "true")):
        project.dvc("remote", "modify", "bucket", name, value)
    project.collabpipe("share", "--remote", "bucket")
    project.commit("a bucket")
    shutil.rmtree(project.remote)

    clone = project.cloned()
    clone.collabpipe("restore", "--remote", "bucket")
    assert clone.shared() == project.shared()
    assert clone.cost_records() == project.cost_records()


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_restored_is_said_for_people(clone: Project) -> None:
    lock = clone.root / "dvc.lock"
    lock.rename(clone.root / "kept")
    message = refused(clone.collabpipe("restore", check=False))
    assert "dvc.lock: is missing" in message
    assert "collabpipe share writes it" in message
    (clone.root / "kept").rename(lock)

    unknown = clone.collabpipe("restore", "--remote", "nowhere", check=False)
    assert "remote 'nowhere' doesn't exist" in unknown.stderr
    clone.dvc("remote", "remove", "folder")
    for done in (unknown, clone.collabpipe("restore", check=False)):
        message = refused(done)
        assert "Missing or damaged" not in message
        assert "remote" in message


def test_results_that_were_never_shared_are_not_overwritten_unasked(restored: tuple[Project, Project]) -> None:
    project, clone = restored
    table = clone.folder / "tables" / "main.csv"
    metrics = clone.folder / "evaluations" / CELL / "baseline" / "seed0" / "metrics.json"
    mine = {file: file.read_text() + "\n" for file in (table, metrics)}
    for file, text in mine.items():
        file.write_text(text)
    message = refused(clone.collabpipe("restore", check=False))
    assert "--force" in message
    assert "Push it again" not in message
    assert {file: file.read_text() for file in mine} == mine
    clone.collabpipe("restore", "--force")
    assert clone.shared() == project.shared()


def test_what_another_recipe_made_is_named_and_stays_until_it_is_made_again(study: Workspace) -> None:
    """Only what is damaged is removed: a changed configuration may be changed back."""
    made = {path: path.read_bytes() for path in study.folder.glob("runs/**/*.safetensors")}
    study.configure(altered({"methods": {"output": {"weight": 2.0}}}))
    damaged = study.folder / "runs" / CELL / "baseline" / "seed1" / "last.safetensors"
    flip_a_bit(damaged)

    told = study.collabpipe("restore", "--no-pull").stdout
    again = {line.split(":")[1].strip() for line in told.splitlines() if line.startswith("will be made again")}
    assert f"results/small/runs/{CELL}/output/seed0/record.json" in again
    assert [line for line in told.splitlines() if line.startswith("removed")] == [
        f"removed, will be made again: {damaged.relative_to(study.root)}: its content is not the one that "
        f"{damaged.parent.relative_to(study.root)}/record.json names"
    ]
    assert not damaged.exists()
    gone = {damaged, damaged.with_name("best.safetensors")}
    assert {path: path.read_bytes() for path in made if path not in gone} == {
        path: content for path, content in made.items() if path not in gone
    }
