"""Shares a finished study through DVC and restores it elsewhere, so that nothing is trained a second time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from collabpipe.errors import CollabpipeError
from collabpipe.files import file_digest, read_json
from collabpipe.occupancy import alone
from collabpipe.paths import STAGES
from collabpipe.plan import Plan
from collabpipe.reconcile import look
from collabpipe.settle import settle
from collabpipe.verify import Verifier

DVC = (sys.executable, "-m", "dvc")
LOCK = Path("dvc.lock")
SITE_CACHE = Path(".dvc/tmp/site")
"""Where DVC keeps its index: a killed pull can leave one here that the next stumbles over."""
HALF_CHECKED_OUT = re.compile(r"\.[0-9A-Za-z_-]{22}\.tmp")
"""What a killed checkout leaves in the results; DVC refuses to go on beside it."""


@dataclass
class Restored:
    """What a restore found, by kind of artefact in the order of the work."""

    proven: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    removed: list[str] = field(default_factory=list)
    """What is wrong with each artefact that does not fit; its files are removed, so that it is made again."""


def restore(plan: Plan, remote: str | None, stages: Sequence[str], pull: bool, force: bool) -> Restored:
    """Pull what dvc.lock names, prove it by content, remove what does not fit, and set things right for Snakemake.

    Raises:
        CollabpipeError: a run is going, DVC cannot bring what dvc.lock names, or what it brought is write-protected.
    """
    with alone(plan.paths.root, "restoring"):
        if pull:
            _pull(plan.paths.root, [*_from(remote), *["--force"] * force, *stages])
        found = _proven(plan)
        settle(plan)
    return found


def _proven(plan: Plan) -> Restored:
    found = Restored()
    for check in Verifier(plan, "sums").checks():
        counts = found.proven
        if not check.is_there:
            counts = found.missing
        elif wrong := check.broken():
            found.removed.append(wrong)
            for file in check.files:
                file.unlink(missing_ok=True)
            continue
        counts[check.kind] += 1
    return found


def _pull(results: Path, options: Sequence[str]) -> None:
    if not LOCK.exists():
        raise CollabpipeError(
            f"{LOCK}: is missing, so nothing says what there is to restore. It comes with the checkout of a study that "
            "was shared: collabpipe share writes it, and git keeps it."
        )
    for file in results.rglob(".*.tmp"):
        if HALF_CHECKED_OUT.fullmatch(file.name):
            file.unlink()
    if _dvc("pull", *options) != 0:
        shutil.rmtree(SITE_CACHE, ignore_errors=True)
        if _dvc("pull", *options) != 0:
            raise _not_pulled(list(_lacking()))
    if damaged := list(_damaged_lists()):  # to DVC a list that can be read is a good one
        raise _not_pulled(damaged)


def _not_pulled(lacking: Sequence[str]) -> CollabpipeError:
    named = "".join(f"\n  {name}" for name in lacking[:10])
    more = f"\n  and {len(lacking) - 10} more" if len(lacking) > 10 else ""
    return CollabpipeError(
        "dvc pull failed."
        + (f" Missing or damaged in the remote:{named}{more}" if lacking else " DVC says above why.")
        + "\nPush it again from a checkout that has it (collabpipe share), or restore the other stages: "
        "collabpipe restore --only STAGE. Until then nothing is set right for Snakemake."
    )


def _outputs() -> Iterator[tuple[str, str, Path]]:
    """What dvc.lock names: path, MD5 sum, and the file in DVC's cache, which may be missing."""
    shown = subprocess.run([*DVC, "cache", "dir"], capture_output=True, text=True, check=False)  # noqa: S603
    cache = Path(shown.stdout.strip()) / "files" / "md5"
    for stage in yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"].values():
        for out in stage.get("outs", ()):
            yield out["path"], out["md5"], cache / out["md5"][:2] / out["md5"][2:]


def _damaged_lists() -> Iterator[str]:
    for path, md5, file in _outputs():
        if md5.endswith(".dir") and file.exists() and file_digest(file, "md5") != md5.removesuffix(".dir"):
            file.unlink()
            yield f"{path}: its list of files ({md5})"


def _lacking() -> Iterator[str]:
    """The files that a pull did not bring into the cache: DVC throws away what is damaged."""
    for path, md5, file in _outputs():
        if not file.exists():
            yield f"{path} ({md5})"
        elif md5.endswith(".dir"):
            for entry in read_json(file):
                if not (file.parent.parent / entry["md5"][:2] / entry["md5"][2:]).exists():
                    yield f"{path}/{entry['relpath']} ({entry['md5']})"


def _dvc(*arguments: str) -> int:
    """Run DVC; what it prints is shown."""
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(SITE_CACHE.resolve())}
    return subprocess.run([*DVC, *arguments], env=environment, check=False).returncode  # noqa: S603


def _from(remote: str | None) -> list[str]:
    return ["--remote", remote] if remote else []


def share(plan: Plan, remote: str | None, push: bool) -> None:
    """Write the finished study into dvc.lock as it is, whoever made it, and push it.

    Raises:
        CollabpipeError: something is left to be done or is not what it claims to be, or DVC fails.
    """
    with alone(plan.paths.root, "sharing"):
        settle(plan)
        if not look(plan).complete(plan):
            raise CollabpipeError(
                f"{plan.paths.root}: study {plan.settings.study} is not finished, and dvc.lock would say that it is. "
                "See what is left with: snakemake -n. Finish it, or check out the configuration that it belongs to."
            )
        for check in Verifier(plan, "sums").checks():
            if wrong := check.broken():
                raise CollabpipeError(f"{wrong}. Nothing was shared. Remove it and run Snakemake.")
        if _dvc("commit", "--force", *STAGES) != 0:
            raise CollabpipeError("dvc commit failed, as DVC says above. dvc.lock may say what it said before.")
        if push and _dvc("push", *_from(remote), *STAGES) != 0:
            raise CollabpipeError(
                f"dvc push failed, as DVC says above. {LOCK} is written: push again with collabpipe share or dvc push."
            )
