"""Takes over results of the earlier layout, in which all studies of a results folder shared one set of folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from collabpipe.common.files import record_of
from collabpipe.host.results_lock import only_process
from collabpipe.plan.paths import BENCHMARKS, LOGS, PROVENANCE, RECORD, STUDY_FOLDERS, STUDY_JOBS, Paths, study_folder
from collabpipe.plan.plan import Plan


def earlier_results(root: Path) -> Iterator[Path]:
    """What lies in `root` and belongs into the folder of a study."""
    yield from (folder for name in STUDY_FOLDERS if (folder := root / name).is_dir())
    provenance, logs, benchmarks = (root / name for name in (PROVENANCE, LOGS, BENCHMARKS))
    for name in STUDY_FOLDERS:
        yield from provenance.glob(f"{name}*")
    for job in STUDY_JOBS:
        yield from (*logs.glob(f"{job}*"), *benchmarks.glob(f"{job}*"))


def take_over(plan: Plan) -> str:
    """Move results of the earlier layout into the folder of the study whose tables they end in, or else of `plan`.

    Nothing is trained again: trainings of other studies among them are in the store. The tables name paths, so without
    their record they are made again.

    Returns:
        One line about it; empty if there was nothing to move.

    Raises:
        CollabpipeError: another process is at work in the results folder.
    """
    root = plan.results
    if not any((root / name).is_dir() for name in STUDY_FOLDERS):
        return ""
    with only_process(root, "moving results of the earlier layout"):
        name = str(record_of(root / "tables" / RECORD).get("name", plan.settings.study))
        paths = Paths(root, study_folder(name))
        if paths.folder.exists():
            return ""
        for path in list(earlier_results(root)):
            target = paths.folder / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        (paths.tables / RECORD).unlink(missing_ok=True)
    return f"Results of the earlier layout were moved to {paths.folder}, the folder of study {name}."
