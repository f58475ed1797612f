"""Shares finished studies through DVC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collabpipe.audit.dvc import LOCK, is_cut_off, locked_stages, remote_options, run_dvc, stage_names, where_dvc_works
from collabpipe.audit.verify import Verifier
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path
from collabpipe.host.results_lock import only_process
from collabpipe.plan.paths import STAGES
from collabpipe.plan.plan import Plan
from collabpipe.results.adoption import link_again
from collabpipe.results.studies import Study
from collabpipe.results.timestamps import settle

LOCK_BEFORE = Path(".dvc/tmp/dvc.lock.before")
"""What dvc.lock said before it is shared again, empty if there was none: DVC rewrites dvc.lock in place, and if it is
killed meanwhile, part of it is left."""


def share(plans: Sequence[Plan], remote: str | None, push: bool) -> None:
    """Record finished studies in dvc.lock as they are, whoever made them, and push them.

    Raises:
        CollabpipeError: something is left to be done or is not what it claims to be, or DVC fails.
    """
    results, stages = where_dvc_works(plans), stage_names(plans, STAGES)
    with only_process(results, "sharing"):
        for plan in plans:
            _check_finished(plan)
        _keep_lock()
        # Relinking would replace each result by a copy from the cache: a killed share would leave some of them out.
        if run_dvc("commit", "--force", "--no-relink", *stages) != 0:
            raise CollabpipeError(
                "dvc commit failed, as DVC says above. dvc.lock may be unchanged. "
                "Remove the cause that DVC names, and share again: collabpipe share."
            )
        LOCK_BEFORE.unlink(missing_ok=True)
        for plan in plans:
            link_again(plan)
        if push and run_dvc("push", *remote_options(remote), *stages) != 0:
            raise CollabpipeError(
                f"dvc push failed, as DVC says above. {LOCK} is written: push again with collabpipe share or dvc push."
            )


def _keep_lock() -> None:
    """Keep what dvc.lock says until DVC has written it again. If a killed share left part of it, take what was kept."""
    if LOCK.exists() and LOCK_BEFORE.exists() and is_cut_off():
        LOCK_BEFORE.replace(LOCK)
        if not LOCK.stat().st_size:
            LOCK.unlink()
    if LOCK.exists():
        locked_stages()
    with atomic_path(LOCK_BEFORE) as temporary:
        temporary.write_bytes(LOCK.read_bytes() if LOCK.exists() else b"")


def _check_finished(plan: Plan) -> None:
    command = Study.of_files(plan).command()
    if not settle(plan).complete(plan):
        raise CollabpipeError(
            f"{plan.paths.folder}: study {plan.settings.study} is not finished, and dvc.lock would say that it is. "
            f"Finish it: {command}. Or check out the configuration that it belongs to, or name the studies that are "
            "finished: collabpipe share STUDY"
        )
    for check in Verifier(plan, "sums").checks():
        if wrong := check.broken():
            raise CollabpipeError(f"{wrong}. Nothing was shared. Remove it and make it again: {command}")
