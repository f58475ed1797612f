"""The user's own files after a study was made from them: changed, repaired, moved, gone, under real Snakemake."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from collabpipe.cli import main
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import file_digest, read_json
from collabpipe.data import raw
from collabpipe.data.own import SUMS_FILE
from collabpipe.plan.plan import Plan
from collabpipe.results.state import check_files, look
from collabpipe.results.timestamps import settle
from tests.archives import Small, cifar10, md5
from tests.workspaces import Workspace, altered, jobs


def draw(path: Path, seed: int) -> None:
    """An image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def frames(folder: Path) -> Path:
    for seed, (split, name, number) in enumerate(
        (split, name, number) for split in ("train", "test") for name in ("fake", "real") for number in range(8)
    ):
        draw(folder / split / name / f"{number}.bmp", seed)
    return folder


def workspace_of(root: Path, *, offline: bool = False, **dataset: Any) -> Workspace:
    """A study of one data set, its training as small as it can be."""
    known = {"validation_size": 4, "noise": ["symmetric-0.2"]}
    changes = {"methods": {"output": None, "output_control": None}, "seeds": [0], "training": {"epochs": 1}}
    datasets = {"digits": None, "own": known | dataset}
    return Workspace.create(root, altered({"datasets": datasets, "execution": {"offline": offline}, **changes}))


@pytest.fixture
def pictures(tmp_path: Path) -> Workspace:
    folder = frames(tmp_path / "frames")
    return workspace_of(tmp_path / "study", source="image_folder", data_dir=str(folder), image_size=8)


def made(workspace: Workspace) -> Plan:
    """The plan of a workspace whose data set was fetched and prepared by the real commands."""
    plan = workspace.plan
    settle(plan)
    recipe = plan.data["own"].write(plan.paths.recipes)
    results = ["--results", str(plan.results)]
    assert main(["fetch", str(recipe), "--data-dir", str(plan.data_dir("own")), *results]) == 0
    assert main(["prepare", str(recipe), *results]) == 0
    assert settle(plan).data == {"own"}
    return plan


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose contents are read."""
    names: list[str] = []
    digest = file_digest

    def counted(path: Path, algorithm: str) -> str:
        names.append(path.name)
        return digest(path, algorithm)

    monkeypatch.setattr(raw, "file_digest", counted)
    return names


def test_the_same_command_takes_up_what_was_repaired_and_what_was_changed(pictures: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    broken = [folder / "train" / "fake" / "3.bmp", folder / "test" / "real" / "5.bmp"]
    right = broken[0].read_bytes()
    for path in broken:
        path.write_bytes(path.read_bytes()[:100])
    failed = pictures.snakemake("--", "labels", check=False)
    assert failed.returncode != 0
    log = (pictures.results / "logs" / "prepare_dataset" / "own.log").read_text()
    assert all(f"{path}: cannot be read as an image" in log for path in broken)

    broken[0].write_bytes(right)
    broken[1].unlink()
    pictures.snakemake("--", "labels")
    record = pictures.results / "datasets" / "own" / "record.json"
    assert read_json(record)["files"]["test.arrow"]["images"] == 15
    again = pictures.snakemake("--dry-run", "--", "labels")
    assert "Nothing to be done" in again.stdout + again.stderr

    before = read_json(record)["files"]
    draw(folder / "train" / "real" / "0.bmp", seed=1000)
    refused = pictures.collabpipe("verify", check=False)
    assert (
        f"was prepared from other files than those that lie in data_dir {folder} now" in refused.stdout + refused.stderr
    )
    assert "Nothing of this needs to be removed. Make it again: snakemake --cores all" in refused.stderr
    assert jobs(pictures.snakemake("--", "labels")) == {"fetch_dataset": 1, "prepare_dataset": 1, "noisy_labels": 1}
    assert read_json(record)["files"]["train.arrow"]["sha256"] != before["train.arrow"]["sha256"]
    again = pictures.snakemake("--dry-run", "--", "labels")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_missing_data_dir_is_told_before_any_job_with_file_line_and_key(pictures: Workspace, tmp_path: Path) -> None:
    (tmp_path / "frames").rename(tmp_path / "elsewhere")
    line = next(n for n, text in enumerate(pictures.config.read_text().splitlines(), 1) if "data_dir" in text)

    for command in (("snakemake", "--cores", "1"), ("collabpipe", "plan")):
        refused = pictures.run(*command, check=False)
        told = refused.stdout + refused.stderr
        assert refused.returncode != 0
        assert f"config/config.yaml:{line}: datasets.own.data_dir: {tmp_path / 'frames' / 'train'}: is missing." in told
        assert "CalledProcessError" not in told
        assert "Traceback" not in told
    assert "1 run: 0 trained" in told, "the plan is shown all the same"


def test_what_is_prepared_needs_no_data_dir(pictures: Workspace, tmp_path: Path) -> None:
    plan = made(pictures)
    (tmp_path / "frames").rename(tmp_path / "elsewhere")
    assert look(plan).data == {"own"}
    (tmp_path / "frames").mkdir()  # a disk that is not mounted
    check_files(plan, look(plan))

    shutil.rmtree(plan.paths.dataset("own"))
    with pytest.raises(CollabpipeError, match="data_dir must hold train/ and test/"):
        check_files(plan, look(plan))


def test_no_content_is_read_where_names_sizes_and_times_are_as_they_were(
    pictures: Workspace, tmp_path: Path, read: list[str]
) -> None:
    plan = made(pictures)
    read.clear()

    settle(plan)
    assert read == []

    times = pictures.times()
    os.utime(tmp_path / "frames" / "train" / "fake" / "3.bmp", (1e9, 1e9))
    assert settle(plan).data == {"own"}
    assert read == ["3.bmp"], "another time alone is no other content"
    settle(plan)
    assert read == ["3.bmp"], "and is noted"
    changed = {name for name, time in pictures.times().items() if times[name] != time}
    assert changed == {f"raw/own/{SUMS_FILE}"}


@pytest.mark.parametrize("change", ["content", "size", "added", "removed", "renamed", "a class"])
def test_any_change_of_a_folder_is_seen(change: str, pictures: Workspace, tmp_path: Path, read: list[str]) -> None:
    plan = made(pictures)
    read.clear()
    path = tmp_path / "frames" / "test" / "fake" / "3.bmp"
    about = path.stat()
    if change == "content":
        draw(path, seed=1000)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # as a copy that keeps times
    elif change == "size":
        path.write_bytes(b"")
    elif change == "removed":
        path.unlink()
    elif change == "a class":
        draw(tmp_path / "frames" / "test" / "other" / "1.bmp", seed=0)
        draw(tmp_path / "frames" / "train" / "other" / "1.bmp", seed=0)
    elif change == "renamed":
        path.rename(path.with_name("9.bmp"))
    else:
        draw(path.with_name("9.bmp"), seed=1000)

    assert look(plan).data == frozenset()
    assert read == (["3.bmp"] if change == "content" else [])
    settle(plan)
    recipe = plan.paths.recipes / f"{plan.data['own'].digest}.json"
    for made_of_it in (plan.paths.data_record(plan.data["own"]), plan.paths.raw("own") / "fetched.json"):
        assert recipe.stat().st_mtime > made_of_it.stat().st_mtime


def test_a_folder_that_moved_is_no_other_one(pictures: Workspace, tmp_path: Path) -> None:
    made(pictures)
    shutil.copytree(tmp_path / "frames", tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "frames")
    pictures.configure(altered({"datasets": {"own": {"data_dir": str(tmp_path / "copy")}}}, read_config(pictures)))

    plan = pictures.plan
    assert settle(plan).data == {"own"}
    # What was prepared is lost: it can be made again from where the files lie now.
    shutil.rmtree(plan.paths.dataset("own"))
    settle(plan)
    recipe = plan.paths.recipes / f"{plan.data['own'].digest}.json"
    assert main(["prepare", str(recipe), "--results", str(plan.paths.root)]) == 0


def read_config(workspace: Workspace) -> dict[str, Any]:
    import yaml

    config: dict[str, Any] = yaml.safe_load(workspace.config.read_text())
    return config


def test_results_without_what_was_noted_are_held_against_the_files_once(
    pictures: Workspace, tmp_path: Path, read: list[str]
) -> None:
    """As after a restore, which brings no raw files."""
    plan = made(pictures)
    shutil.rmtree(plan.paths.raw("own"))
    read.clear()

    assert settle(plan).data == {"own"}
    assert len(read) == 32
    assert settle(plan).data == {"own"}
    assert len(read) == 32
    draw(tmp_path / "frames" / "train" / "fake" / "3.bmp", seed=1000)
    assert settle(plan).data == frozenset()


def archives(root: Path, small: Small) -> Workspace:
    folder = root / "archives"
    folder.mkdir()
    for name, content in small.files.items():
        (folder / name).write_bytes(content)
    accept = {name: md5(content) for name, content in small.files.items()}
    return workspace_of(root / "study", source=small.source, data_dir=str(folder), accept=accept)


def test_an_archive_that_is_replaced_is_another_input(tmp_path: Path) -> None:
    small = cifar10()
    plan = made(archives(tmp_path, small))
    (path,) = (tmp_path / "archives").iterdir()
    path.write_bytes(small.files[path.name])
    assert settle(plan).data == {"own"}, "the same bytes again"

    path.write_bytes(small.files[path.name][:-1] + b"?")

    assert settle(plan).data == frozenset()


def test_an_archive_that_is_lost_is_told_early(tmp_path: Path) -> None:
    workspace = archives(tmp_path, cifar10())
    (path,) = (tmp_path / "archives").iterdir()
    path.unlink()

    with pytest.raises(CollabpipeError, match=r"config\.yaml:\d+: datasets\.own\.data_dir: data_dir .* lacks files of"):
        check_files(workspace.plan, look(workspace.plan))


@pytest.mark.parametrize(
    ("source", "offline", "told"),
    [
        ("imagenet32", False, "imagenet32 cannot be downloaded, and .*results/raw/own lacks files:"),
        ("cifar10", True, "offline: nothing is downloaded, and .*results/raw/own lacks files:"),
    ],
)
def test_files_that_cannot_be_downloaded_are_told_before_any_job(
    source: str, offline: bool, told: str, tmp_path: Path
) -> None:
    workspace = workspace_of(tmp_path / "study", source=source, offline=offline)

    for command in (("snakemake", "-n"), ("collabpipe", "plan")):
        refused = workspace.run(*command, check=False)
        assert refused.returncode == 1
        assert re.search(rf"config\.yaml:\d+: datasets\.own(\.data_dir)?: {told}", refused.stdout + refused.stderr)


def test_a_file_that_was_put_in_place_need_not_be_downloaded(tmp_path: Path) -> None:
    small = cifar10()
    (name,) = small.files
    accept = {name: md5(small.files[name])}
    plan = workspace_of(tmp_path / "study", source="cifar10", accept=accept, offline=True).plan
    with pytest.raises(CollabpipeError, match="Put them there"):
        check_files(plan, look(plan))

    plan.paths.raw("own").mkdir(parents=True)
    (plan.paths.raw("own") / name).write_bytes(small.files[name])

    check_files(plan, look(plan))


def test_a_download_that_was_damaged_before_it_was_prepared_is_fetched_again(tmp_path: Path) -> None:
    small = cifar10()
    (name,) = small.files
    workspace = workspace_of(tmp_path / "study", source="cifar10", accept={name: md5(small.files[name])})
    plan = workspace.plan
    recipe = plan.data["own"].write(plan.paths.recipes)
    raw = plan.paths.raw("own")
    raw.mkdir(parents=True)
    (raw / name).write_bytes(small.files[name])
    assert main(["fetch", str(recipe), "--offline", "--results", str(plan.paths.root)]) == 0
    settle(plan)
    assert recipe.stat().st_mtime <= (raw / "fetched.json").stat().st_mtime

    fetched = (raw / "fetched.json").stat().st_mtime
    (raw / name).write_bytes(b"damaged")
    os.utime(raw / name, (fetched + 1, fetched + 1))
    settle(plan)
    assert recipe.stat().st_mtime > (raw / "fetched.json").stat().st_mtime
