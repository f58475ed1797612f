"""Finished runs by their folders, with all that their weights are used with: recipe, record, data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_record, record_of
from collabpipe.data.prepared import data_record
from collabpipe.plan.paths import RECORD, TRAIN, Paths
from collabpipe.plan.recipes import TrainRecipe, read_recipe
from collabpipe.plan.record_types import DataRecord, Epoch, MetricsRecord, TrainingRecord

WHERE = "The column checkpoint of runs.parquet, among the tables, names the folder of each run."


@dataclass(frozen=True)
class FinishedRun:
    """A run that has weights.

    folder: of the run; paths: of its study; record: of its training; data: of its data set.
    """

    folder: Path
    paths: Paths
    recipe: TrainRecipe
    record: TrainingRecord
    data: DataRecord

    @classmethod
    def of(cls, folder: Path) -> FinishedRun:
        """The run in `folder`.

        Raises:
            CollabpipeError: there is none, it has diverged, or its recipe or data set is missing or another one.
        """
        if not (folder / RECORD).is_file():
            raise CollabpipeError(f"{folder}: is not the folder of a trained run: it has no {RECORD}. {WHERE}")
        record: TrainingRecord = read_record(folder / RECORD)
        name = f"{record.get('recipe')}.json"
        place = folder.resolve()
        places = (Paths(parent, place.relative_to(parent).parts[0]) for parent in place.parents)
        paths = next((paths for paths in places if (paths.recipes / name).is_file()), None)
        if paths is None:
            raise CollabpipeError(
                f"{folder}: its recipe, {name}, is in no folder of recipes above it. Name a run within its results "
                "folder. If the recipe was removed, write it again: collabpipe plan --write CONFIG."
            )
        recipe = read_recipe(paths.recipes / name, TrainRecipe)
        if record["status"] == "diverged":
            raise CollabpipeError(f"{folder}: this run has diverged and has no weights. Name another seed's run.")
        data = data_record(recipe.labels.data, paths.dataset(recipe.run.dataset))
        if data["files"][TRAIN]["sha256"] != record["inputs"][TRAIN]:
            raise CollabpipeError(
                f"{paths.dataset(recipe.run.dataset)}: these are not the images that {folder} was trained on. "
                "Train the run again: collabpipe train RECIPE."
            )
        return cls(folder, paths, recipe, record, data)

    @property
    def metrics(self) -> MetricsRecord | None:
        """The metrics of its evaluation; None if these weights have not been evaluated."""
        found: MetricsRecord = record_of(self.paths.metrics(self.recipe.run))
        return found if found.get("inputs", {}).get("training") == self.record["digest"] else None

    def which(self, best: bool) -> Epoch:
        """The name of its weights: "last", or "best" if they are asked for.

        Raises:
            CollabpipeError: no epoch was chosen.
        """
        if best and self.recipe.refit:
            raise CollabpipeError(
                f"{self.folder}: was trained with refit, so no epoch was chosen as the best. Leave --best out."
            )
        return "best" if best else "last"


def runs_in(cell: Path) -> list[Path]:
    """The folders of the trained runs in the folder of a cell, by seed."""
    found = [record.parent for record in cell.glob(f"seed*/{RECORD}")]
    return sorted(found, key=lambda folder: (len(folder.name), folder.name))
