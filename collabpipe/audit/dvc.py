"""How DVC is run, and what dvc.yaml and dvc.lock say of the studies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from collabpipe.common.errors import CollabpipeError
from collabpipe.host.results_lock import holding, refuse_link
from collabpipe.plan.paths import STAGES
from collabpipe.plan.plan import Plan
from collabpipe.results.workflow import check_folder

DVC = (sys.executable, "-m", "dvc")
LOCK = Path("dvc.lock")
SITE_CACHE = Path(".dvc/tmp/site")
"""Where DVC keeps its index: a killed pull can leave one here that the next stumbles over."""


def where_dvc_works(plans: Sequence[Plan]) -> Path:
    """The results folder of the studies.

    Raises:
        CollabpipeError: it is a link, or not the folder that dvc.yaml names.
    """
    results = plans[0].results
    refuse_link(results)
    if results.resolve() != Path("results").resolve():
        raise CollabpipeError(f"{results}: DVC keeps only the folder results of this checkout. Leave --results out.")
    return results


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


def stage_names(plans: Sequence[Plan], stages: Sequence[str]) -> list[str]:
    """The names of stages of dvc.yaml: there is one of the data sets, and one per study of each other stage."""
    of_studies = [f"{stage}@{plan.paths.study}" for plan in plans for stage in stages if stage != STAGES[0]]
    return [*(stage for stage in stages if stage == STAGES[0]), *of_studies]


def run_dvc(*arguments: str) -> int:
    """Run DVC; what it prints is shown."""
    _forget_the_dead()
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(SITE_CACHE.resolve())}
    # The hold on the results goes with it: if this process is killed, DVC may still be writing.
    held = [file.fileno() for file in holding()]
    return subprocess.run([*DVC, *arguments], env=environment, pass_fds=held, check=False).returncode  # noqa: S603


def remote_options(remote: str | None) -> list[str]:
    """The options of DVC that name a remote; none: DVC's default one."""
    return ["--remote", remote] if remote else []


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


def locked_stages() -> dict[str, Any]:
    """The stages in dvc.lock by their names.

    Raises:
        CollabpipeError: it is cut off or damaged.
    """
    try:
        if is_cut_off():
            raise ValueError("its last line has no end")
        return dict(yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"])
    except (LookupError, TypeError, ValueError, yaml.YAMLError) as error:
        raise CollabpipeError(
            f"{LOCK}: is cut off or damaged: {error}\nTake it from git again: git checkout {LOCK}. If git has none, "
            "remove it where the results are, and share again: collabpipe share"
        ) from error


def is_cut_off() -> bool:
    """Whether dvc.lock lacks its end, as a DVC that was killed while it wrote leaves it."""
    return not LOCK.read_bytes().endswith(b"\n")


def outputs_of(stages: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    """What dvc.lock names for `stages`: path, MD5 sum, and its path in DVC's cache if it is there."""
    shown = subprocess.run([*DVC, "cache", "dir"], capture_output=True, text=True, check=False)  # noqa: S603
    cache = Path(shown.stdout.strip())
    for name, stage in locked_stages().items():
        for out in stage.get("outs", ()) if name in stages else ():
            yield out["path"], out["md5"], cache / object_path(out["md5"])


def object_path(md5: str) -> str:
    """Where DVC keeps what has this sum, below its cache and its remotes."""
    return f"files/md5/{md5[:2]}/{md5[2:]}"
