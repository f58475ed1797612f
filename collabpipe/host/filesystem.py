"""The file system that a file or folder is on."""

from __future__ import annotations

import re
from pathlib import Path

NETWORK = {"afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"}
"""File systems that are shared between hosts, as /proc/self/mountinfo calls them."""
MOUNTS = Path("/proc/self/mountinfo")


def file_system(path: Path) -> str:
    """The kind of file system that `path` is on; empty if the kernel does not tell."""
    kinds: dict[Path, str] = {}
    if MOUNTS.exists():
        for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            mount, _, source = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount.split()[4])
            kinds[Path(point)] = source.split()[0]
    resolved = path.resolve()
    return next((kinds[folder] for folder in (resolved, *resolved.parents) if folder in kinds), "")
