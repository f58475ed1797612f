"""Compares artefacts with their recipes and sets modification times, so that Snakemake sees which are up to date.

Snakemake compares times, and times say nothing after a clone, a restore or a reverted edit. Every artefact records
the digests of its recipe and of its inputs. If both fit, the recipe file gets an old time, the artefact becomes at
least as new as its inputs, and Snakemake does nothing. Otherwise the recipe file becomes newer than the artefact, and
Snakemake makes the artefact again.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterable
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import set_time
from collabpipe.data.own import is_fetched, note_unchanged
from collabpipe.plan.plan import Plan
from collabpipe.results.adoption import adopt
from collabpipe.results.artefact import AnyArtefact
from collabpipe.results.run_artefacts import PreparedData
from collabpipe.results.state import State, look
from collabpipe.results.studies import note_study

OLD = 86400  # 2 January 1970: before any artefact, also out of an archive without times
SECOND = 10**9
PROTECTED = (
    "{path}: is write-protected, so Snakemake could not make any result again. DVC does this where cache.type is "
    "hardlink or symlink. Let it copy instead: dvc config --local cache.type reflink,copy && dvc checkout --relink"
)


def _settle(file: Path, artefact: Path, current: bool) -> None:
    """Make `file` older than `artefact` if the artefact is up to date, and newer if it is outdated."""
    if current:
        if file.stat().st_mtime_ns != OLD * SECOND:
            set_time(file, OLD * SECOND)
    elif artefact.exists() and file.stat().st_mtime <= artefact.stat().st_mtime:
        set_time(file, max(time.time_ns(), artefact.stat().st_mtime_ns + SECOND // 1000))


def _put_after(files: Iterable[Path], made_from: Iterable[Path]) -> None:
    """Make up-to-date files at least as new as their inputs."""
    newest = max((OLD * SECOND, *(path.stat().st_mtime_ns for path in made_from if path.exists())))
    for path in files:
        if path.exists():
            about = path.stat()
            if not about.st_mode & stat.S_IWUSR:
                raise CollabpipeError(PROTECTED.format(path=path))
            if about.st_mtime_ns < newest:
                set_time(path, newest, or_later=True)


def _settle_data(data: PreparedData, recipe: Path, current: bool, benchmark: Path) -> None:
    """Set the times of a data set's fetched files, and note that the user's own files are unchanged."""
    if current:
        _put_after([data.fetched, benchmark], [])
        if data.data_dir is not None and data.own:
            note_unchanged(data.raw, data.data_dir, data.own)
    elif not is_fetched(data.recipe, data.data_dir, data.raw):
        # Otherwise Snakemake would repeat a failed preparation with the sums that were fetched before the user fixed
        # the files.
        _settle(recipe, data.fetched, current=False)


def settle(plan: Plan) -> State:
    """Write the plan's recipes, record its study and set the results' times. The Snakefile calls this.

    Raises:
        CollabpipeError: the results are write-protected.
    """
    paths = plan.paths
    state = look(plan)
    note_study(plan)
    paths.selection.mkdir(parents=True, exist_ok=True)  # an output for DVC, also where nothing is searched
    jobs: dict[str, list[AnyArtefact]] = {}
    for artefact in state.artefacts:
        jobs.setdefault(artefact.job, []).append(artefact)
        current, instead = state.has(artefact), artefact.stands_for_recipe
        if instead is None:
            file = artefact.recipe.write(paths.recipes)
            if isinstance(artefact, PreparedData):
                _settle_data(artefact, file, current, paths.benchmark(f"fetch_dataset/{artefact.key}"))
            _settle(file, artefact.record, current)
        elif not current and instead in state.known:
            _settle(instead, artefact.record, current=False)
    for job, made in jobs.items():
        if all(map(state.has, made)):  # Snakemake compares all files of a job
            # To Snakemake a job's benchmark is one of its outputs.
            files = [*(file for one in made for file in one.files), paths.benchmark(job)]
            _put_after(files, (file for one in made for file in one.reads))
    adopt(plan, state)
    return state
