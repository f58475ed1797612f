"""Results of a study as a few small files: what a machine made that is gone afterwards, taken over elsewhere.

Weights stay behind, as `keep_weights: none` leaves them; so do images, which are prepared again from the same files.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from collabpipe.cli import main
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_json
from collabpipe.plan.paths import (
    ANNOTATIONS,
    CHECKPOINT_FILES,
    EVALUATION_FILES,
    METRICS,
    OVERHEAD_FILES,
    RECORD,
    TEST,
    TRAIN,
    Paths,
)
from collabpipe.plan.plan import Plan
from collabpipe.results.retention import thin
from collabpipe.results.state import State, look
from collabpipe.results.timestamps import settle

MOST_FILES, MOST_BYTES = 8, 15_000_000
SLACK = 1 << 17
"""What compression may still hold back, and a file's header."""
IMAGES = (TRAIN, TEST)


class _Parts:
    """A file is written after another; none grows beyond its bound."""

    def __init__(self, folder: Path, stem: str):
        self.folder, self.stem = folder, stem
        self.number = 0
        self._begin()

    def _begin(self) -> None:
        self.number += 1
        self.path = self.folder / f"{self.stem}.{self.number}.tar.gz"
        self.file = self.path.open("wb")
        self.tar = tarfile.open(fileobj=self.file, mode="w:gz")  # noqa: SIM115 (it is closed when it is full)

    def close(self) -> None:
        self.tar.close()
        self.file.close()

    def add(self, files: list[tuple[Path, str]]) -> bool:
        """Put files that belong together into one part; False where there is no room for them any more."""
        if self.file.tell() + sum(path.stat().st_size for path, _ in files) + SLACK > MOST_BYTES:
            if self.number == MOST_FILES:
                return False
            self.close()
            self._begin()
        for path, name in files:
            self.tar.add(path, name)
        return True


def pack(plan: Plan, folder: Path, stem: str) -> tuple[list[Path], int]:
    """Write what the pipeline can take over of a study; the files, and how many evaluations had no room in them.

    Records and histories come first, predictions last.
    """
    paths, state = plan.paths, look(plan)
    for name in state.trained & set(plan.candidates):
        thin(plan.candidates[name].run, paths, "none")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        parts, left = _Parts(Path(temporary), stem), 0
        for group in (*_small(plan, state), *_predictions(plan, state)):
            left += not parts.add([(path, str(path.relative_to(paths.root))) for path in group if path.exists()])
        parts.close()
        for old in folder.glob(f"{stem}.*.tar.gz"):
            old.unlink()
        for part in Path(temporary).iterdir():
            part.replace(folder / part.name)
    return sorted(folder.glob(f"{stem}.*.tar.gz")), left


def _small(plan: Plan, state: State) -> Iterator[list[Path]]:
    paths = plan.paths
    for name in state.data:
        folder = paths.dataset(name)
        yield [folder / RECORD, folder / ANNOTATIONS, paths.provenance(folder)]
    for key in state.labels:
        labels = paths.labels(plan.labels[key])
        yield [labels, labels.with_suffix(".json"), paths.provenance(labels)]
    for choice in state.chosen:
        yield [paths.choice(*choice)]
    for name, recipe in plan.trainings.items():
        folder = paths.run(recipe.run)
        if name in state.evaluated or (name in state.trained and name in plan.candidates):
            yield [*(folder / file for file in CHECKPOINT_FILES), paths.provenance(folder)]
    if state.overhead:
        yield [paths.overhead / name for name in OVERHEAD_FILES]


def _predictions(plan: Plan, state: State) -> Iterator[list[Path]]:
    for name, recipe in plan.runs.items():
        folder = plan.paths.evaluation(recipe.run)
        if name in state.evaluated:
            yield [*(folder / file for file in EVALUATION_FILES), plan.paths.provenance(folder)]


def take_over(plan: Plan, folder: Path, stem: str, folders: Mapping[str, Path]) -> State:
    """Put packed results into the plan's results folder and its store, so that nothing of them is made again.

    Runs that are here already are left as they are.

    Raises:
        CollabpipeError: nothing is packed there, or the images here are not those of the packed results.
    """
    packed = sorted(folder.glob(f"{stem}.*.tar.gz"))
    if not packed:
        raise CollabpipeError(f"{folder}: holds no {stem}.1.tar.gz. Give the folder that --out wrote.")
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for path in packed:
            with tarfile.open(path) as tar:
                tar.extractall(temporary, filter="data")
        source = Paths(Path(temporary), plan.paths.study)
        for data in plan.data.values():
            _take_data(plan, data.dataset, source, folders)
        here = look(plan)
        for name, recipe in plan.trainings.items():
            if name not in here.trained:
                _move(source.run(recipe.run), RECORD, source, plan.paths)
            if name not in here.evaluated:
                _move(source.evaluation(recipe.run), METRICS, source, plan.paths)
        for part in ("labels", "selection", "overhead"):
            for path in sorted((source.folder / part).rglob("*")):
                target = plan.paths.root / path.relative_to(source.root)
                if path.is_file() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target)
    return settle(plan)


def _take_data(plan: Plan, dataset: str, source: Paths, folders: Mapping[str, Path]) -> None:
    """Prepare the images here, and take the packed record of them if they are the same."""
    recipe, theirs = plan.data[dataset], source.dataset(dataset)
    if not (theirs / RECORD).exists():
        return
    own = folders.get(recipe.source) or plan.settings.image_sets[dataset].data_dir
    path, results = str(recipe.write(plan.paths.recipes)), Paths(plan.results).options
    if dataset not in look(plan).data:
        fetching = main(["fetch", path, *results, *(["--data-dir", str(own)] if own else [])])
        if fetching != 0 or main(["prepare", path, *results]) != 0:
            raise CollabpipeError(f"{dataset}: its images could not be prepared here; the reason is told above.")
    packed, here = (read_json(folder / RECORD) for folder in (theirs, plan.paths.dataset(dataset)))
    for name in IMAGES:
        if packed["files"][name]["sha256"] != here["files"][name]["sha256"]:
            raise CollabpipeError(
                f"{plan.paths.dataset(dataset) / name}: is not the file that the packed results were made from, so "
                "they would count as outdated. Use the same version of collabpipe and of pyarrow on both machines."
            )
    for name in (ANNOTATIONS, RECORD):
        shutil.copy(theirs / name, plan.paths.dataset(dataset) / name)


def _move(folder: Path, record: str, source: Paths, target: Paths) -> None:
    """A run's or an evaluation's folder and its provenance, if it was packed whole."""
    if not (folder / record).exists():
        return
    to = target.root / folder.relative_to(source.root)
    shutil.rmtree(to, ignore_errors=True)
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, to)
    about = source.provenance(folder)
    if about.exists():
        target.provenance(to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(about, target.provenance(to))
