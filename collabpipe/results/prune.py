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
    datasets: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    results: set[str] = field(default_factory=set)
    """Digests of trainings, as they are known before their inputs exist (TrainRecipe.asked_digest)."""
    undecided: set[str] = field(default_factory=set)
    """Runs whose choice is not made yet. All that was computed for them is kept, because it may be chosen again."""

    def add(self, plan: Plan) -> None:
        for recipes in (plan.data, plan.labels, plan.selections, plan.trainings):
            self.recipes |= {recipe.digest for recipe in recipes.values()}
        self.recipes |= {plan.overhead.digest, plan.study.digest}
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
    asked = _Asked()
    for plan in plans:
        asked.add(plan)
    found: Unasked = {}
    for kind, path in _artefacts(asked, paths):
        found.setdefault(kind, []).append(path)
    going = {path for of_kind in found.values() for path in of_kind}
    records = (record for record in paths.root.glob(f"runs/*/*/*/*/*/{RECORD}") if record.parent not in going)
    stored = _stored(asked, [record_of(record) for record in records], paths)
    return found | ({"stored results": stored} if stored else {})


def _artefacts(asked: _Asked, paths: Paths) -> Iterator[tuple[str, Path]]:
    root = paths.root
    for kind, name in (("runs", RECORD), ("evaluations", METRICS)):
        for folder in sorted(root.glob(f"{kind}/*/*/*/*/*")):
            record = record_of(folder / name)
            run = str(folder.relative_to(root / kind))
            # A run without a record is one that is about to be made.
            if record.get("recipe") not in asked.recipes if record else run not in asked.runs:
                yield from ((kind, path) for path in (folder, paths.provenance(folder)) if path.exists())
    for about in sorted(root.glob("labels/*/*/*.json")):
        if record_of(about).get("recipe") not in asked.recipes:
            labels = about.with_suffix(".parquet")
            yield from (("labels", path) for path in (about, labels, paths.provenance(labels)) if path.exists())
    for kind in ("datasets", "raw"):
        for folder in sorted(root.glob(f"{kind}/*")):
            if folder.name not in asked.datasets:
                yield from ((kind, path) for path in (folder, paths.provenance(folder)) if path.exists())
    for choice in sorted(root.glob("selection/*/*/*/*.json")):
        if record_of(choice).get("recipe") not in asked.recipes:
            yield "choices", choice
    for recipe in sorted(paths.recipes.glob("*.json")):
        if recipe.stem not in asked.recipes:
            yield "recipes", recipe


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
    """One line about the runs in the results that neither `plan` nor another known study needs; empty without any."""
    folder = plan.paths.root / "runs"
    names = {str(run.relative_to(folder)) for run in folder.glob("*/*/*/*/*")} - plan.trainings.keys()
    if names:
        try:
            known = [study.plan.trainings for study in known_studies(plan.paths)]
        except CollabpipeError:
            return ""  # another study's broken file must not stop this one; `collabpipe prune` says what is wrong
        recipes = {name: record_of(folder / name / RECORD).get("recipe") for name in names}
        # Another study may have a run of the same name that is trained otherwise.
        names = {
            name
            for name, recipe in recipes.items()
            if not any(name in asked and recipe in (None, asked[name].digest) for asked in known)
        }
    if not names:
        return ""
    runs = "1 run lies" if len(names) == 1 else f"{len(names):,} runs lie"
    return f"{runs} here that no study asks for any more. See: {prune_command(plan.paths)}"


def prune_command(paths: Paths, *arguments: str | Path) -> str:
    """The command that prunes these results."""
    where = [] if paths == Paths() else ["--results", str(paths.root)]
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
