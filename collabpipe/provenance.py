"""Where something was made: versions, commit, host, time. Kept beside artefacts, never in them (Paths.provenance)."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from collabpipe.files import write_json
from collabpipe.paths import Paths

PACKAGES = ("collabpipe", "numpy", "pyarrow", "torch")


def whereabouts(device: str) -> dict[str, Any]:
    """Host, device, versions, commit and time, for a record."""
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "device": device,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    """The installed version; None for a package that runs from a checkout without being installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def note(paths: Paths, artefact: Path, about: dict[str, Any]) -> None:
    """Write what is known `about` the making of the data set, label file, run, evaluation or tables at `artefact`."""
    write_json(paths.provenance(artefact), about)


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
