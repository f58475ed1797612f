"""A path is on the file system that is mounted nearest above it."""

from __future__ import annotations

from pathlib import Path

import pytest

from collabpipe.host import filesystem
from collabpipe.host.filesystem import file_system


def test_the_nearest_and_last_mount_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    assert file_system(tmp_path) == "", "no kernel that tells"

    space = tmp_path / "my disk"
    points = (("/", "ext4"), (space, "xfs"), (space, "nfs4"), (tmp_path, "overlay"))
    lines = [f"1 0 8:1 / {point} rw shared:1 - {kind} /dev/x rw\n" for point, kind in points]
    mounts.write_text("".join(lines).replace(str(space), str(space).replace(" ", r"\040")))
    assert file_system(space / "results") == "nfs4"
    assert file_system(tmp_path / "my") == "overlay"
    assert file_system(Path("/")) == "ext4"
    (tmp_path / "link").symlink_to(space)
    assert file_system(tmp_path / "link") == "nfs4"


def test_the_kernel_tells_of_its_own() -> None:
    assert file_system(Path("/proc/self")) == "proc"
