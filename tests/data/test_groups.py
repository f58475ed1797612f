"""Groups of an image folder: no draw separates the frames of a video, and every mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collabpipe.common.errors import CollabpipeError
from collabpipe.data.fetch import fetch
from collabpipe.data.labels import make_labels
from collabpipe.data.own import own_files, unchanged
from collabpipe.data.prepared import group_names, open_images, prepare, read_annotations
from tests.data.test_image_folder import labels_recipe, recipe, save

VIDEO = r"/(\d+)/"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Two classes of six videos with three frames each in train, and of two in test."""
    folder = tmp_path / "frames"
    for split, videos in (("train", range(12)), ("test", range(12, 16))):
        for video in videos:
            for frame in range(3):
                place = folder / split / ("fake", "real")[video % 2] / f"{video:03}"
                save(place / f"{frame}.png", np.full((8, 8, 3), video, np.uint8))
    return folder


def prepared(folder: Path, root: Path, **fields: Any) -> Path:
    fetch(recipe(**fields), root / "raw", folder)
    prepare(recipe(**fields), root / "raw", root / "out")
    return root / "out"


def write_groups(frames: Path, lines: list[str] | None = None) -> Path:
    """groups.csv, which gives each frame its video; `lines` are put in the place of some."""
    rows = [f"{path.relative_to(frames)},video {path.parent.name}" for path in sorted(frames.rglob("*.png"))]
    path = frames / "groups.csv"
    path.write_text("\n".join(["file,group", *(lines or []), *rows[len(lines or []) :]]) + "\n")
    return path


@pytest.mark.parametrize("fields", [{"group_pattern": VIDEO}, {"group_file": "groups.csv"}], ids=["pattern", "file"])
def test_no_video_is_in_training_and_validation(fields: dict[str, str], frames: Path, tmp_path: Path) -> None:
    write_groups(frames)
    folder, asked = prepared(frames, tmp_path, **fields), recipe(**fields)

    images, known = open_images(asked, folder, "train"), read_annotations(asked, folder)
    video = images.images[:, 0, 0, 0]
    for seed in range(10):
        labels = make_labels(labels_recipe(asked, 9, seed), images, known)
        assert labels.validation.sum() == 9
        assert not set(video[labels.validation]) & set(video[~labels.validation])
        assert set(labels.clean[labels.validation]) == {0, 1}
    subset = labels_recipe(asked, 6).model_copy(update={"train_size": 12})
    labels = make_labels(subset, images, known)
    assert len(labels.index) == 18
    assert all((video[labels.index] == one).sum() == 3 for one in set(video[labels.index]))
    names = group_names(asked, folder, "test")
    assert names is not None
    assert names[3] == ("video 014" if "group_file" in fields else "014")


def test_without_groups_frames_are_drawn_one_by_one(frames: Path, tmp_path: Path) -> None:
    folder, asked = prepared(frames, tmp_path), recipe()

    images, known = open_images(asked, folder, "train"), read_annotations(asked, folder)
    labels = make_labels(labels_recipe(asked, 10), images, known)

    assert known.keys() == {"label"}
    assert group_names(asked, folder, "train") is None
    video = images.images[:, 0, 0, 0]
    assert labels.validation.sum() == 10
    assert set(video[labels.validation]) & set(video[~labels.validation])


def refused(frames: Path, tmp_path: Path, **fields: str) -> str:
    with pytest.raises(CollabpipeError) as caught:
        fetch(recipe(**fields), tmp_path / "raw", frames)
    assert not (tmp_path / "raw" / "fetched.json").exists()
    return str(caught.value)


@pytest.mark.parametrize("fields", [{"group_pattern": VIDEO}, {"group_file": "groups.csv"}], ids=["pattern", "file"])
def test_a_group_in_two_splits_is_named(fields: dict[str, str], frames: Path, tmp_path: Path) -> None:
    save(frames / "test" / "fake" / "004" / "9.png", np.zeros((8, 8, 3), np.uint8))
    write_groups(frames)

    group = "video 004" if "group_file" in fields else "004"
    assert refused(frames, tmp_path, **fields) == (
        f"group '{group}' is in test and train: test/fake/004/9.png, train/fake/004/0.png. Move all its images into "
        f"one split, or, if these are different groups, give them different names ({next(iter(fields))})."
    )


def test_an_image_in_which_the_pattern_finds_nothing_is_named(frames: Path, tmp_path: Path) -> None:
    save(frames / "train" / "fake" / "lost.png", np.zeros((8, 8, 3), np.uint8))

    told = refused(frames, tmp_path, group_pattern=VIDEO)

    assert told.startswith(f"train/fake/lost.png: group_pattern {VIDEO!r} finds nothing in 'fake/lost.png'. Change")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            ["test/fake/012/1.png,video 012"],
            "gives no group to test/fake/012/0.png. Add a line: test/fake/012/0.png,GROUP",
        ),
        (["train/fake/000/0.png,"], "groups.csv:2: lacks a file or a group. Fill it in or remove the line."),
        (
            ["test/fake/012/0.png,a", "test/fake/012/0.png,b"],
            "groups.csv:3: names test/fake/012/0.png again. Remove one",
        ),
    ],
    ids=["an image without a line", "a line without a group", "an image twice"],
)
def test_a_mistake_in_the_file_is_told_with_its_line(
    lines: list[str], words: str, frames: Path, tmp_path: Path
) -> None:
    write_groups(frames, lines)

    assert words in refused(frames, tmp_path, group_file="groups.csv")


def test_a_file_that_is_missing_or_no_such_file_is_told(frames: Path, tmp_path: Path) -> None:
    path = frames / "groups.csv"
    assert refused(frames, tmp_path, group_file="groups.csv") == (
        f"{path}: is missing. Put it there: group_file names a CSV file in data_dir."
    )
    path.write_text("name,video\n")
    told = refused(frames, tmp_path, group_file="groups.csv")
    assert told == f"{path}:1: has no column file and group. Begin it with: file,group"
    path.write_bytes(b"file,group\n\xff,1\n")
    assert f"{path}: cannot be read as a CSV file in UTF-8: " in refused(frames, tmp_path, group_file="groups.csv")


def test_a_change_of_the_file_is_noticed(frames: Path, tmp_path: Path) -> None:
    asked, path = recipe(group_file="groups.csv"), write_groups(frames)
    fetch(asked, tmp_path / "raw", frames)
    assert "groups.csv" in own_files(asked, frames)

    path.write_text(path.read_text().replace("video 001", "video 003"))

    with pytest.raises(CollabpipeError, match="its images were changed since they were fetched"):
        prepare(asked, tmp_path / "raw", tmp_path / "out")
    assert unchanged(asked, frames, {"md5": {}, "images": "of before"}, {}) is None


def test_groups_that_leave_nothing_for_validation_are_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("fake", "real"):
            for number in range(2):
                save(tmp_path / "frames" / split / name / f"{split}_{name}_{number}.png", np.zeros((8, 8, 3), np.uint8))
    asked = recipe(group_pattern="[a-z]+_[a-z]+")  # a group per class
    folder = prepared(tmp_path / "frames", tmp_path, group_pattern=asked.group_pattern)

    with pytest.raises(CollabpipeError, match="its 2 groups leave no image for validation: groups are not cut"):
        make_labels(labels_recipe(asked, 2), open_images(asked, folder, "train"), read_annotations(asked, folder))
