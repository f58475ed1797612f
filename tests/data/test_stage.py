"""Images copied to the host's own disk: the same images, or the originals with a word why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collabpipe.cli import main
from collabpipe.common.files import read_json, sealed, write_json
from collabpipe.data.prepared import Images, data_record, open_images
from collabpipe.data.stage import staged
from collabpipe.jobs import train
from collabpipe.plan.recipes import DataRecipe
from tests.jobs.test_resume import Desk, study
from tests.workspaces import Lab


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Desk:
    return Desk(lab, tmp_path / "desk", study(epochs=2))


def staged_images(desk: Desk, where: str) -> Path:
    folder = desk.paths.dataset("digits")
    return staged(folder, data_record(desk.plan.data["digits"], folder), where)


def test_a_training_reads_the_copy_and_ends_in_the_same_bits(
    desk: Desk, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Desk(lab, tmp_path / "other", study(epochs=2))
    assert other.main("train", "baseline") == 0
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    options = [*desk.paths.options, "--stage", "$NODE_DISK"]
    own = tmp_path / "disk" / f"collabpipe-{os.getuid()}"
    first = desk.workspace.collabpipe("train", desk.recipes["baseline"], *options)
    assert f"copied to {own}" in first.stderr
    assert desk.record("baseline")["digest"] == other.record("baseline")["digest"]

    second = desk.workspace.collabpipe("train", desk.recipes["heads"], *options)
    assert "copied" not in second.stderr


def test_a_training_opens_the_images_in_the_copy(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def open_and_note(recipe: DataRecipe, folder: Path, split: str) -> Images:
        opened.append(folder)
        return open_images(recipe, folder, split)

    monkeypatch.setattr(train, "open_images", open_and_note)
    command = ["train", str(desk.recipes["baseline"]), *desk.paths.options, "--stage", str(tmp_path / "disk")]
    assert main(command) == 0

    assert opened == [staged_images(desk, str(tmp_path / "disk"))]
    assert tmp_path / "disk" in opened[0].parents


def test_the_copy_is_whole_and_made_once(desk: Desk, tmp_path: Path) -> None:
    target = staged_images(desk, str(tmp_path / "disk"))
    inode = (target / "train.arrow").stat().st_ino
    assert target == staged_images(desk, str(tmp_path / "disk"))
    assert (target / "train.arrow").stat().st_ino == inode
    assert (target.parent.stat().st_mode & 0o777) == 0o700
    recipe = desk.plan.data["digits"]
    original = open_images(recipe, desk.paths.dataset("digits"), "train")
    assert (open_images(recipe, target, "train").images == original.images).all()
    assert not (target / "test.arrow").exists()


def test_a_copy_that_was_cut_short_is_made_again(desk: Desk, tmp_path: Path) -> None:
    target = staged_images(desk, str(tmp_path / "disk"))
    os.truncate(target / "train.arrow", 100)
    assert staged_images(desk, str(tmp_path / "disk")) == target
    open_images(desk.plan.data["digits"], target, "train")


def test_what_killed_jobs_left_is_tidied(desk: Desk, tmp_path: Path) -> None:
    target = staged_images(desk, str(tmp_path / "disk"))
    (target / ".train.arrow.abc.part").write_bytes(b"half")
    staged_images(desk, str(tmp_path / "disk"))
    assert sorted(path.name for path in target.iterdir()) == [".lock", "record.json", "train.arrow"]


def test_several_jobs_of_a_host_copy_once(desk: Desk, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from collabpipe.data.stage import staged; "
        "from collabpipe.common.files import read_json; folder = Path(sys.argv[1]); "
        "print('ready', flush=True); input(); "
        "print(staged(folder, read_json(folder / 'record.json'), sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(desk.paths.dataset("digits")), str(tmp_path / "disk")]
    pipe = subprocess.PIPE
    jobs = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(6)]
    assert {job.stdout.readline() for job in jobs if job.stdout} == {"ready\n"}
    for job in jobs:
        assert job.stdin
        job.stdin.write("\n")
        job.stdin.flush()
    ends = [job.communicate(timeout=60) for job in jobs]
    assert len({out for out, _ in ends}) == 1
    assert sum(err.count("copied to") for _, err in ends) == 1


@pytest.mark.parametrize("why", ["unset", "empty", "file", "others", "damaged"])
def test_where_staging_cannot_be_the_originals_are_read_and_it_is_said_why(
    why: str, desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_HERE", raising=False)
    disk, folder = tmp_path / "disk", desk.paths.dataset("digits")
    where, said = str(disk), ""
    if why == "unset":
        where, said = "${NOT_HERE}/x", "${NOT_HERE} is not set on this host"
    elif why == "empty":
        monkeypatch.setenv("EMPTY", "")
        where, said = "$EMPTY", "$EMPTY: is no absolute path on this host"
    elif why == "file":
        disk.write_text("in the way")
        said = "Not a directory"
    elif why == "others":
        (disk / f"collabpipe-{os.getuid()}").mkdir(parents=True)
        (disk / f"collabpipe-{os.getuid()}").chmod(0o777)
        said = "others may write there"
    else:
        record = read_json(folder / "record.json")
        record["files"]["train.arrow"]["sha256"] = "0" * 64
        write_json(folder / "record.json", sealed(record))
        said = "differs from its record"
    assert staged_images(desk, where) == folder
    err = capsys.readouterr().err
    assert "not staged: " in err
    assert said in err
    assert "images are read from" in err
    assert not list(disk.rglob("train.arrow")) if disk.is_dir() else True
