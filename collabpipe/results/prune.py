"""Finds and removes what no configuration needs in the results folder."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from collabpipe.common.counts import counted
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import record_of
from collabpipe.host.writer import at_work, is_unwritten
from collabpipe.plan.paths import ASKED_FILE, OVERHEAD_RECORD, RECORDS, RESULT_FILE, STATE_FILE, Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import training_digest
from collabpipe.plan.record_types import TrainingRecord
from collabpipe.results.artefact import AnyArtefact
from collabpipe.results.artefacts import artefacts
from collabpipe.results.run_artefacts import Checkpoint, PreparedData
from collabpipe.results.studies import command_for, known_studies

Unasked = dict[str, list[Path]]
"""Files and folders that no configuration needs, by kind."""


KINDS = {"selection": "choices"}
"""What a person calls what lies in a folder, where its name does not say it."""


@dataclass
class _Asked:
    """What some configurations need."""

    recipes: set[str] = field(default_factory=set)
    plugins: set[str] = field(default_factory=set)
    datasets: set[str] = field(default_factory=set)
    records: dict[Path, set[str]] = field(default_factory=dict)
    """The digests of the recipes that the artefact with a record may have."""
    results: set[str] = field(default_factory=set)
    """Digests of trainings, as they are known before their inputs exist (TrainRecipe.asked_digest)."""
    undecided: set[str] = field(default_factory=set)
    """Runs whose choice is not made yet. All that was computed for them is kept, because it may be chosen again."""

    @classmethod
    def by(cls, plans: Iterable[Plan]) -> _Asked:
        asked = cls()
        for artefact in (artefact for plan in plans for artefact in artefacts(plan)):
            asked._add(artefact)
        return asked

    def needs(self, record: Path) -> bool:
        """Whether the artefact with that record is needed; one that lacks its record is about to be made."""
        digests = self.records.get(record, set())
        found = record_of(record)
        return found.get("recipe") in digests if found else bool(digests)

    def _add(self, artefact: AnyArtefact) -> None:
        recipe = artefact.recipe
        self.recipes.add(recipe.digest)
        self.plugins |= set(recipe.plugins)
        self.records.setdefault(artefact.record, set()).add(recipe.digest)
        if isinstance(artefact, PreparedData):
            self.datasets.add(artefact.key)
        elif isinstance(artefact, Checkpoint) and recipe.undecided is None:
            self.results.add(recipe.asked_digest)
        elif isinstance(artefact, Checkpoint):
            self.undecided.add(artefact.key)


def unasked(plans: Sequence[Plan], paths: Paths) -> Unasked:
    """Everything that none of `plans` needs.

    Artefacts are matched by their recipes, stored results by the recipes that they were made for.
    """
    asked = _Asked.by(plans)
    listed: list[tuple[str, Path]] = []
    runs: list[Path] = []
    for study in paths.of_studies():
        listed += _of_study(asked, study)
        runs += study.records("runs")
    found: Unasked = {}
    for kind, path in (*listed, *_shared(asked, paths)):
        found.setdefault(kind, []).append(path)
    going = {path for of_kind in found.values() for path in of_kind}
    kept = (record for record in runs if record.parent not in going)
    stored = _stored(asked, map(record_of, kept), paths)
    return found | ({"stored results": stored} if stored else {})


def _of_study(asked: _Asked, paths: Paths) -> Iterator[tuple[str, Path]]:
    gone: set[Path] = set()
    for kind in RECORDS:
        for record in (record for record in paths.records(kind) if not asked.needs(record)):
            for path in paths.around(kind, record):
                if path.exists() and gone.isdisjoint(path.parents):  # one folder may lie in another
                    gone.add(path)
                    yield KINDS.get(kind, kind), path


def _shared(asked: _Asked, paths: Paths) -> Iterator[tuple[str, Path]]:
    for kind in ("datasets", "raw"):
        for folder in sorted(paths.root.glob(f"{kind}/*")):
            if folder.name not in asked.datasets:
                about = [paths.provenance(folder)] if kind == "datasets" else []
                yield from ((kind, path) for path in (folder, *about) if path.exists())
    for recipe in sorted(paths.recipes.glob("*.json")):
        if recipe.stem not in asked.recipes:
            yield "recipes", recipe
    for plugin in sorted(paths.recipes.glob("*.py")):
        if plugin.stem.rpartition("-")[2] not in asked.plugins:
            yield "plugins", plugin


def _stored(asked: _Asked, kept: Iterable[TrainingRecord], paths: Paths) -> list[Path]:
    """The store's folders that belong neither to one of the `kept` records nor to a plan."""
    going, others = [], []
    keys, trainings = set[str | None](), set[str | None]()
    for record in kept:
        keys.add(record.get("key"))
        trainings.add(record.get("digest"))
    for folder in (folder for folder in paths.stored() if not is_unwritten(folder)):
        by, result = record_of(folder / ASKED_FILE), record_of(folder / RESULT_FILE)
        if not by and folder.name in keys:
            trainings.add(training_digest(result) if result else None)
        elif not by and ("weights" in result or (folder / STATE_FILE).exists()):
            continue  # unknown which study needs it
        elif not by:
            others.append((folder, result))
        elif by["asked"] in asked.results or by["run"] in asked.undecided or folder.name in keys:
            trainings.add(training_digest(result) if result else None)
        else:
            going.append(folder)
    for folder, result in others:
        overhead = record_of(folder / OVERHEAD_RECORD).get("about", {}).get("recipe")
        training = result.get("inputs", {}).get("training")
        if overhead not in asked.recipes and training not in trainings - {None}:
            going.append(folder)
    return going


def left_over(plan: Plan) -> str:
    """One line about the runs in the study's folder that the study does not ask for; empty without any."""
    of_study = {plan.paths.run_record(recipe.run) for recipe in plan.trainings.values()}
    left = [record for record in plan.paths.records("runs") if record not in of_study]
    if left:
        try:
            plans = [study.plan for study in known_studies(plan.paths) if study.name == plan.settings.study]
        except CollabpipeError:
            return ""  # another study's broken file must not stop this one; `collabpipe prune` says what is wrong
        asked = _Asked.by(plans)  # also what the files ask for, if `--config` gave this study other values
        left = [record for record in left if not asked.needs(record)]
    if not left:
        return ""
    runs = counted(len(left), "run lies", "runs lie")
    see = command_for(plan.paths, "prune")
    return f"{runs} in {plan.paths.folder} that the study does not ask for any more. See: {see}"


def freed_bytes(found: Unasked) -> int:
    """The bytes that removing `found` frees: a file with another link outside of it frees nothing."""
    links: Counter[tuple[int, int]] = Counter()
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for path in (path for of_kind in found.values() for path in of_kind):
        for file in [path] if path.is_file() else path.rglob("*"):
            about = file.lstat()
            links[about.st_dev, about.st_ino] += 1
            sizes[about.st_dev, about.st_ino] = about.st_nlink, about.st_size
    return sum(size for file, (number, size) in sizes.items() if links[file] == number)


def remove(found: Unasked, paths: Paths) -> None:
    """Remove what was found, the folders that are empty then, and those that failed jobs left empty in the store."""
    unwritten = [folder for folder in paths.stored() if is_unwritten(folder) and not at_work(folder)]
    for path in (path for paths_of in (*found.values(), unwritten) for path in paths_of):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        for folder in path.parents:
            # Large folders may be links to another disk, which stay.
            if folder.parent == paths.root or folder.is_symlink() or any(folder.iterdir()):
                break
            folder.rmdir()
