"""Finds and removes what no configuration needs in the results folder."""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import record_of
from collabpipe.plan.paths import METRICS, OVERHEAD_RECORD, RECORD, Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import training_digest
from collabpipe.results.store import ASKED_FILE, RESULT_FILE
from collabpipe.results.studies import known_studies

Unasked = dict[str, list[Path]]
"""Files and folders that no configuration needs, by kind."""


@dataclass
class _Asked:
    """What some configurations need."""

    recipes: set[str] = field(default_factory=set)
    plugins: set[str] = field(default_factory=set)
    datasets: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    results: set[str] = field(default_factory=set)
    """Digests of trainings, as they are known before their inputs exist (TrainRecipe.asked_digest)."""
    undecided: set[str] = field(default_factory=set)
    """Runs whose choice is not made yet. All that was computed for them is kept, because it may be chosen again."""

    @classmethod
    def by(cls, plans: Iterable[Plan]) -> _Asked:
        asked = cls()
        for plan in plans:
            asked._add(plan)
        return asked

    def needs(self, run: str, record: dict[str, Any]) -> bool:
        """Whether a run with that record is needed; one without a record is about to be made."""
        return record.get("recipe") in self.recipes if record else run in self.runs

    def _add(self, plan: Plan) -> None:
        for recipes in (plan.data, plan.labels, plan.selections, plan.trainings):
            self.recipes |= {recipe.digest for recipe in recipes.values()}
            self.plugins |= {digest for recipe in recipes.values() for digest in recipe.plugins}
        self.recipes |= {plan.overhead.digest, plan.study.digest}
        self.plugins |= set(plan.overhead.plugins)
        self.datasets |= set(plan.data)
        self.runs |= set(plan.trainings)
        for name, recipe in plan.trainings.items():
            if recipe.undecided is None:
                self.results.add(recipe.asked_digest)
            else:
                self.undecided.add(name)


def unasked(plans: Sequence[Plan], paths: Paths) -> Unasked:
    """Everything that none of `plans` needs.

    Artefacts are matched by their recipes, stored results by the recipes that they were made for.
    """
    asked = _Asked.by(plans)
    listed: list[tuple[str, Path]] = []
    records: list[Path] = []
    for study in paths.of_studies():
        listed += _of_study(_Asked.by(plan for plan in plans if plan.paths.study == study.study), study)
        records += study.folder.glob(f"runs/*/*/*/*/*/{RECORD}")
    found: Unasked = {}
    for kind, path in (*listed, *_shared(asked, paths)):
        found.setdefault(kind, []).append(path)
    going = {path for of_kind in found.values() for path in of_kind}
    kept = (record for record in records if record.parent not in going)
    stored = _stored(asked, map(record_of, kept), paths)
    return found | ({"stored results": stored} if stored else {})


def _of_study(asked: _Asked, paths: Paths) -> Iterator[tuple[str, Path]]:
    for kind, name in (("runs", RECORD), ("evaluations", METRICS)):
        for folder in sorted(paths.folder.glob(f"{kind}/*/*/*/*/*")):
            if not asked.needs(str(folder.relative_to(paths.folder / kind)), record_of(folder / name)):
                yield from ((kind, path) for path in (folder, paths.provenance(folder)) if path.exists())
    for about in sorted(paths.folder.glob("labels/*/*/*.json")):
        if record_of(about).get("recipe") not in asked.recipes:
            labels = about.with_suffix(".parquet")
            yield from (("labels", path) for path in (about, labels, paths.provenance(labels)) if path.exists())
    for choice in sorted(paths.selection.glob("*/*/*/*.json")):
        if record_of(choice).get("recipe") not in asked.recipes:
            yield "choices", choice


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


def _stored(asked: _Asked, kept: Iterable[dict[str, Any]], paths: Paths) -> list[Path]:
    """The store's folders that belong neither to one of the `kept` records nor to a plan."""
    going, others = [], []
    keys, trainings = set(), set()
    for record in kept:
        keys.add(record.get("key"))
        trainings.add(record.get("digest"))
    for folder in sorted(paths.store.glob("*/*")):
        by, result = record_of(folder / ASKED_FILE), record_of(folder / RESULT_FILE)
        if not by and folder.name in keys:
            trainings.add(training_digest(result) if result else None)
        elif not by and "weights" in result:
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
    folder = plan.paths.folder / "runs"
    names = {str(run.relative_to(folder)) for run in folder.glob("*/*/*/*/*")} - plan.trainings.keys()
    if names:
        try:
            plans = [study.plan for study in known_studies(plan.paths) if study.name == plan.settings.study]
        except CollabpipeError:
            return ""  # another study's broken file must not stop this one; `collabpipe prune` says what is wrong
        asked = _Asked.by(plans)  # also what the files ask for, if `--config` gave this study other values
        names = {name for name in names if not asked.needs(name, record_of(folder / name / RECORD))}
    if not names:
        return ""
    runs = "1 run lies" if len(names) == 1 else f"{len(names):,} runs lie"
    return f"{runs} in {plan.paths.folder} that the study does not ask for any more. See: {prune_command(plan.paths)}"


def prune_command(paths: Paths, *arguments: str | Path) -> str:
    """The command that prunes these results."""
    where = [] if paths.root == Paths.root else ["--results", str(paths.root)]
    return shlex.join(["collabpipe", "prune", *where, *map(str, arguments)])


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
    """Remove what was found, and the folders that are empty then."""
    for path in (path for of_kind in found.values() for path in of_kind):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        for folder in path.parents:
            if folder.parent == paths.root or any(folder.iterdir()):
                break
            folder.rmdir()
