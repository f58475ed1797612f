"""Shares finished studies through DVC and restores them elsewhere, so that nothing is trained a second time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from collabpipe.audit.proofs import Stale
from collabpipe.audit.verify import Verifier
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, file_digest, read_json
from collabpipe.host.results_lock import holding, only_process, refuse_link
from collabpipe.plan.paths import STAGES
from collabpipe.plan.plan import Plan
from collabpipe.results.adoption import link_again
from collabpipe.results.studies import Study
from collabpipe.results.timestamps import settle
from collabpipe.results.workflow import check_folder

DVC = (sys.executable, "-m", "dvc")
LOCK = Path("dvc.lock")
LOCK_BEFORE = Path(".dvc/tmp/dvc.lock.before")
"""What dvc.lock said before it is shared again, empty if there was none: DVC rewrites dvc.lock in place, and if it is
killed meanwhile, part of it is left."""
SITE_CACHE = Path(".dvc/tmp/site")
"""Where DVC keeps its index: a killed pull can leave one here that the next stumbles over."""
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
    results = _where_dvc_works(plans)
    found = Restored()
    with only_process(results, "restoring"):
        if pull:
            _pull(results, remote, _targets(plans, stages or STAGES), force)
        for plan in plans:
            _prove(plan, found)
            settle(plan)
    return found


def _where_dvc_works(plans: Sequence[Plan]) -> Path:
    results = plans[0].results
    refuse_link(results)
    if results.resolve() != Path("results").resolve():
        raise CollabpipeError(f"{results}: DVC keeps only the folder results of this checkout. Leave --results out.")
    return results


def _targets(plans: Sequence[Plan], stages: Sequence[str]) -> list[str]:
    """The names of stages of dvc.yaml: there is one of the data sets, and one per study of each other stage."""
    of_studies = [f"{stage}@{plan.paths.study}" for plan in plans for stage in stages if stage != STAGES[0]]
    return [*(stage for stage in stages if stage == STAGES[0]), *of_studies]


def configured_studies(results: Path, names: Sequence[str]) -> list[Plan]:
    """The studies that dvc.yaml names (vars: studies), or those of them with these names or folders.

    Raises:
        CollabpipeError: there is no dvc.yaml here, it names no such study, or it gives a study another one's folder.
    """
    try:
        variables = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["vars"]
        files = {folder: str(file) for entry in variables for folder, file in entry.get("studies", {}).items()}
    except (AttributeError, OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise CollabpipeError(
            f"dvc.yaml: cannot be read, or names no studies in vars: {error}. Correct it, or take it from git again: "
            "git checkout dvc.yaml"
        ) from error
    plans = [Plan.from_files([Path(file)], results) for file in files.values()]
    for folder, plan in zip(files, plans, strict=True):
        check_folder(plan, folder)
    unknown = set(names).difference(*((plan.settings.study, plan.paths.study) for plan in plans))
    if unknown or not plans:
        named = ", ".join(sorted(unknown)) or "any"
        raise CollabpipeError(f"dvc.yaml: vars: studies: has no study {named}. Known: {', '.join(files) or 'none'}.")
    return [plan for plan in plans if not names or {plan.settings.study, plan.paths.study} & set(names)]


def _prove(plan: Plan, found: Restored) -> None:
    for check in Verifier(plan, "sums").checks():
        wrong = check.broken() if check.is_there else None
        if isinstance(wrong, Stale):
            found.stale.append(str(wrong))
        elif wrong:
            found.removed.append(str(wrong))
            for file in check.files:
                file.unlink(missing_ok=True)
        else:
            (found.proven if check.is_there else found.missing)[check.kind] += 1


def _pull(results: Path, remote: str | None, stages: Sequence[str], force: bool) -> None:
    options = [*_from(remote), *["--force"] * force, *stages]
    if not LOCK.exists():
        raise CollabpipeError(
            f"{LOCK}: is missing, so it is not known what to restore. It comes with the checkout of a study that "
            "was shared: collabpipe share writes it, and git keeps it."
        )
    _locked_stages()
    for file in results.rglob(".*.tmp"):
        if HALF_CHECKED_OUT.fullmatch(file.name):
            file.unlink()
    if _dvc("pull", *options) != 0:
        shutil.rmtree(SITE_CACHE, ignore_errors=True)
        if _dvc("pull", *options) != 0:
            raise CollabpipeError(_why(_lacking(remote, stages), stages))
    if damaged := list(_damaged_lists(stages)):  # to DVC a list that can be read is a good one
        raise CollabpipeError(_why(damaged, stages))


def _why(lacking: Iterable[tuple[str, str]], stages: Sequence[str]) -> str:
    """What a failed pull means and what fixes it, by the files (and MD5 sums) that it did not bring."""
    found, outputs = list(lacking), list(_outputs(stages))
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
    named = "".join(f"\n  {name} ({_object(md5)})" for name, md5 in found[:10])
    more = f"\n  and {len(found) - 10} more" if len(found) > 10 else ""
    folders = [(path, md5) for path, md5, _ in outputs if md5.endswith(".dir")]
    lists = sorted({_object(md5) for path, md5 in folders if any(name.startswith(path) for name, _ in found)})
    return (
        f"dvc pull failed. Not brought, because the remote has it damaged or not at all, or because the connection or "
        f"the disk gave out:{named}{more}\n"
        "Restore again first. If the same files stay out: DVC pushes nothing that it believes to be there, so keep a "
        f"copy of the remote, remove these from it with the lists that name them ({', '.join(lists)}), and push from a "
        "checkout that has them: collabpipe share. Or restore the other stages: collabpipe restore --only STAGE. Until "
        "then nothing is set right for Snakemake."
    )


def _object(md5: str) -> str:
    """Where DVC keeps what has this sum, below its cache and its remotes."""
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def _outputs(stages: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    """What dvc.lock names for `stages`: path, MD5 sum, and its path in DVC's cache if it is there."""
    shown = subprocess.run([*DVC, "cache", "dir"], capture_output=True, text=True, check=False)  # noqa: S603
    cache = Path(shown.stdout.strip())
    for name, stage in _locked_stages().items():
        for out in stage.get("outs", ()) if name in stages else ():
            yield out["path"], out["md5"], cache / _object(out["md5"])


def _locked_stages() -> dict[str, Any]:
    """The stages in dvc.lock by their names.

    Raises:
        CollabpipeError: it is cut off or damaged.
    """
    try:
        if _is_cut_off():
            raise ValueError("its last line has no end")
        return dict(yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"])
    except (LookupError, TypeError, ValueError, yaml.YAMLError) as error:
        raise CollabpipeError(
            f"{LOCK}: is cut off or damaged: {error}\nTake it from git again: git checkout {LOCK}. If git has none, "
            "remove it where the results are, and share again: collabpipe share"
        ) from error


def _is_cut_off() -> bool:
    return not LOCK.read_bytes().endswith(b"\n")


def _damaged_lists(stages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The lists that are not what dvc.lock names: DVC keeps none that it found damaged, and goes by it all the same."""
    for path, md5, file in _outputs(stages):
        if md5.endswith(".dir") and not (file.exists() and file_digest(file, "md5") == md5.removesuffix(".dir")):
            file.unlink(missing_ok=True)
            yield path, md5


def _lacking(remote: str | None, stages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The files that a pull did not bring into the cache: DVC throws away what is damaged."""
    for path, md5, file in _outputs(stages):
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


def _forget_the_dead() -> None:
    """Remove DVC's lock if its processes are dead: DVC treats a zombie as running and refuses to start."""
    path = Path(".dvc/tmp/rwlock")
    if path.exists():
        pids = re.findall(r'"pid": (\d+)', path.read_text(encoding="utf-8"))
        if not any(_is_alive(int(pid)) for pid in pids):
            path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _dvc(*arguments: str) -> int:
    """Run DVC; what it prints is shown."""
    _forget_the_dead()
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(SITE_CACHE.resolve())}
    # The hold on the results goes with it: if this process is killed, DVC may still be writing.
    held = [file.fileno() for file in holding()]
    return subprocess.run([*DVC, *arguments], env=environment, pass_fds=held, check=False).returncode  # noqa: S603


def _from(remote: str | None) -> list[str]:
    return ["--remote", remote] if remote else []


def share(plans: Sequence[Plan], remote: str | None, push: bool) -> None:
    """Record finished studies in dvc.lock as they are, whoever made them, and push them.

    Raises:
        CollabpipeError: something is left to be done or is not what it claims to be, or DVC fails.
    """
    results, targets = _where_dvc_works(plans), _targets(plans, STAGES)
    with only_process(results, "sharing"):
        for plan in plans:
            _check_finished(plan)
        _keep_lock()
        # Relinking would replace each result by a copy from the cache: a killed share would leave some of them out.
        if _dvc("commit", "--force", "--no-relink", *targets) != 0:
            raise CollabpipeError(
                "dvc commit failed, as DVC says above. dvc.lock may be unchanged. "
                "Remove the cause that DVC names, and share again: collabpipe share."
            )
        LOCK_BEFORE.unlink(missing_ok=True)
        for plan in plans:
            link_again(plan)
        if push and _dvc("push", *_from(remote), *targets) != 0:
            raise CollabpipeError(
                f"dvc push failed, as DVC says above. {LOCK} is written: push again with collabpipe share or dvc push."
            )


def _keep_lock() -> None:
    """Keep what dvc.lock says until DVC has written it again. If a killed share left part of it, take what was kept."""
    if LOCK.exists() and LOCK_BEFORE.exists() and _is_cut_off():
        LOCK_BEFORE.replace(LOCK)
        if not LOCK.stat().st_size:
            LOCK.unlink()
    if LOCK.exists():
        _locked_stages()
    with atomic_path(LOCK_BEFORE) as temporary:
        temporary.write_bytes(LOCK.read_bytes() if LOCK.exists() else b"")


def _check_finished(plan: Plan) -> None:
    command = Study.of_files(plan).command
    if not settle(plan).complete(plan):
        raise CollabpipeError(
            f"{plan.paths.folder}: study {plan.settings.study} is not finished, and dvc.lock would say that it is. "
            f"Finish it: {command}. Or check out the configuration that it belongs to, or name the studies that are "
            "finished: collabpipe share STUDY"
        )
    for check in Verifier(plan, "sums").checks():
        if wrong := check.broken():
            raise CollabpipeError(f"{wrong}. Nothing was shared. Remove it and make it again: {command}")
