"""Where something was made: versions, commit, host, time. Kept beside results, never part of their digests."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("collabpipe", "numpy", "pyarrow", "torch")


def whereabouts(device: str) -> dict[str, object]:
    """Host, device, versions, commit and time, for a record."""
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "device": device,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    """The package's commit, with `+` where tracked files were changed; None outside a git checkout."""
    folder = Path(__file__).resolve().parent
    try:
        described = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=40", "--match="],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
