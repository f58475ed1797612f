"""Restores shared studies through DVC, so that nothing is trained a second time."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from collabpipe.audit.dvc import (
    LOCK,
    SITE_CACHE,
    locked_stages,
    object_path,
    outputs_of,
    remote_options,
    run_dvc,
    stage_names,
    where_dvc_works,
)
from collabpipe.audit.verify import Verifier
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import file_digest, read_json
from collabpipe.host.results_lock import only_process
from collabpipe.plan.paths import STAGES
from collabpipe.plan.plan import Plan
from collabpipe.results.timestamps import settle

HALF_CHECKED_OUT = re.compile(r"\.[0-9A-Za-z_-]{22}\.tmp")
"""What a killed checkout leaves in the results; DVC refuses to continue while it is there."""


@dataclass
class Restored:
    """What a restore found, by kind of artefact in the order of the work."""

    proven: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    stale: list[str] = field(default_factory=list)
    """Of other recipes or inputs: they stay until Snakemake makes them again."""
    removed: list[str] = field(default_factory=list)
    """What is wrong with the others that do not fit; their files are removed, so that they are made again."""


def restore(plans: Sequence[Plan], remote: str | None, stages: Sequence[str], pull: bool, force: bool) -> Restored:
    """Pull what dvc.lock names, prove it by content, remove what does not fit, and set things right for Snakemake.

    Args:
        plans: the studies, all of one results folder.
        remote: the name of the remote; None: DVC's default one.
        stages: what is pulled of each study (STAGES); none: everything.
        pull: whether anything is pulled.
        force: whether results that were never shared are overwritten.

    Raises:
        CollabpipeError: a run is going, DVC cannot bring what dvc.lock names, or what it brought is write-protected.
    """
    results = where_dvc_works(plans)
    found = Restored()
    with only_process(results, "restoring"):
        if pull:
            _pull(results, remote, stage_names(plans, stages or STAGES), force)
        for plan in plans:
            _prove(plan, found)
            settle(plan)
    return found


def _prove(plan: Plan, found: Restored) -> None:
    for check in Verifier(plan, "sums").checks():
        outcome, wrong = check.outcome()
        if outcome == "proven":
            found.proven[check.kind] += 1
        elif outcome == "missing":
            found.missing[check.kind] += 1
        elif outcome == "out of date":
            found.stale += wrong
        else:
            found.removed += wrong
            for file in check.files:
                file.unlink(missing_ok=True)


def _pull(results: Path, remote: str | None, stages: Sequence[str], force: bool) -> None:
    options = [*remote_options(remote), *["--force"] * force, *stages]
    if not LOCK.exists():
        raise CollabpipeError(
            f"{LOCK}: is missing, so it is not known what to restore. It comes with the checkout of a study that "
            "was shared: collabpipe share writes it, and git keeps it."
        )
    locked_stages()
    for file in results.rglob(".*.tmp"):
        if HALF_CHECKED_OUT.fullmatch(file.name):
            file.unlink()
    if run_dvc("pull", *options) != 0:
        shutil.rmtree(SITE_CACHE, ignore_errors=True)
        if run_dvc("pull", *options) != 0:
            raise CollabpipeError(_why(_lacking(remote, stages), stages))
    if damaged := list(_damaged_lists(stages)):  # to DVC a list that can be read is a good one
        raise CollabpipeError(_why(damaged, stages))


def _why(lacking: Iterable[tuple[str, str]], stages: Sequence[str]) -> str:
    """What a failed pull means and what fixes it, by the files (and MD5 sums) that it did not bring."""
    found, outputs = list(lacking), list(outputs_of(stages))
    if not found:
        return (
            "dvc pull failed, as DVC says above. To overwrite results that were never shared: "
            "collabpipe restore --force"
        )
    if {name for name, _ in found} >= {path for path, _, _ in outputs}:
        return (
            "dvc pull failed and brought nothing, as DVC says above. Is the remote the right one, and can it be "
            "reached? See: dvc remote list"
        )
    # What did not come is damaged, missing, or was cut off: nothing here tells which, so removing comes last.
    named = "".join(f"\n  {name} ({object_path(md5)})" for name, md5 in found[:10])
    more = f"\n  and {len(found) - 10} more" if len(found) > 10 else ""
    folders = [(path, md5) for path, md5, _ in outputs if md5.endswith(".dir")]
    lists = sorted({object_path(md5) for path, md5 in folders if any(name.startswith(path) for name, _ in found)})
    return (
        f"dvc pull failed. Not brought, because the remote has it damaged or not at all, or because the connection or "
        f"the disk gave out:{named}{more}\n"
        "Restore again first. If the same files stay out: DVC pushes nothing that it believes to be there, so keep a "
        f"copy of the remote, remove these from it with the lists that name them ({', '.join(lists)}), and push from a "
        "checkout that has them: collabpipe share. Or restore the other stages: collabpipe restore --only STAGE. Until "
        "then nothing is set right for Snakemake."
    )


def _damaged_lists(stages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The lists that are not what dvc.lock names: DVC keeps none that it found damaged, and goes by it all the same."""
    for path, md5, file in outputs_of(stages):
        if md5.endswith(".dir") and not (file.exists() and file_digest(file, "md5") == md5.removesuffix(".dir")):
            file.unlink(missing_ok=True)
            yield path, md5


def _lacking(remote: str | None, stages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The files that a pull did not bring into the cache: DVC throws away what is damaged."""
    for path, md5, file in outputs_of(stages):
        entries = None
        if md5.endswith(".dir"):
            entries = read_json(file) if file.exists() else _list_in_remote(remote, md5)
        elif file.exists():
            continue
        lost = [e for e in entries or () if not (file.parent.parent / e["md5"][:2] / e["md5"][2:]).exists()]
        if entries is None or (lost and len(lost) == len(entries) and not file.exists()):
            yield path, md5
        for entry in lost:
            yield f"{path}/{entry['relpath']}", entry["md5"]


def _list_in_remote(remote: str | None, md5: str) -> list[dict[str, str]] | None:
    """A folder's list as the remote has it: DVC brings none whose files it could not bring."""
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            odb = repo.cloud.get_remote_odb(remote)
            text = odb.fs.cat_file(odb.oid_to_path(md5))
        found: list[dict[str, str]] = json.loads(text)
    except Exception:  # the remote's library may raise anything; in any case there is no list
        return None
    return found
