"""Proves by content that every artefact of a study belongs to its recipe, from the data sets up to each table's cell.

A record says what an artefact was made from and the sums of its files, and is sealed by a digest of its own. Whoever
changes a file and every digest above it is found by computing again, or by the sums in dvc.lock, which git keeps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from collabpipe.audit.compare import alike
from collabpipe.audit.proofs import Broken, Check, Stale, check_same, check_sums, sealed_record
from collabpipe.common.files import json_text, sealed
from collabpipe.data.labels import label_record, read_labels
from collabpipe.data.own import unchanged
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import FurtherRecipe, TrainRecipe, training_digest
from collabpipe.plan.record_types import (
    ChoiceRecord,
    DataRecord,
    LabelsRecord,
    MetricsRecord,
    TrainingRecord,
)
from collabpipe.results.artefact import AnyArtefact, Known
from collabpipe.results.artefacts import artefacts
from collabpipe.results.run_artefacts import Checkpoint, Choice, Labels, Predictions, PreparedData
from collabpipe.results.study_artefacts import Figures, Report, Tables

Depth = Literal["sums", "follows", "recomputed"]
"""How much is proven.

"sums": only the sums of files. "follows": metrics, choices and tables are also computed again from their inputs.
"recomputed": labels and predictions are also made again.
"""


class Verifier:
    """The checks of a study, in the order of the work.

    If an artefact fails, those made from it are not compared with it: only the first failure of a chain is reported.
    """

    def __init__(self, plan: Plan, depth: Depth = "follows"):
        self.plan, self.paths = plan, plan.paths
        self.follows, self.recomputed = depth != "sums", depth == "recomputed"
        self.artefacts = artefacts(plan)
        self.proven: Known = {}
        self.statuses: dict[str, str] = {}

    def checks(self) -> Iterator[Check]:
        """The caller must run each check before it asks for the next one."""
        if self.follows and self.paths.root.exists():
            for recipe in self.plan.trainings.values():  # DVC keeps no recipes: the plan has them
                recipe.write(self.paths.recipes)
        for artefact in self.artefacts:
            yield Check(artefact.kind, artefact.files, artefact.record, partial(self._prove, artefact))

    def _prove(self, artefact: AnyArtefact) -> None:
        path, record = artefact.record, sealed_record(artefact.record)
        check_same(path, artefact.asked_by, artefact.recipe_of(record), artefact.recipe.digest, Stale)
        for (what, file), said in zip(artefact.inputs, artefact.says(record), strict=True):
            if (known := self.proven.get(file)) is not None:
                check_same(path, what, said, known, Stale)
        if all(file in self.proven for file in artefact.waits_for) and not artefact.agrees(record):
            raise Stale(f"{path}: {artefact.disagrees}")
        if not isinstance(artefact, Labels | Choice):
            check_sums(record["files"], artefact.folder, path, artefact.names)
        match artefact:
            case PreparedData():
                self._data(artefact, record)
            case Labels():
                self._labels(artefact, record)
            case Checkpoint():
                self._training(artefact, record)
            case Choice():
                self._choice(artefact, record)
            case Predictions():
                self._predictions(artefact, record)
            case Tables():
                self._tables(artefact)
        self.proven |= artefact.vouches(record)

    def _made_of_proven(self, artefact: AnyArtefact) -> bool:
        return all(file in self.proven for _, file in artefact.inputs)

    def _data(self, data: PreparedData, record: DataRecord) -> None:
        if self.follows and unchanged(data.recipe, data.data_dir, record["made_from"], {}) is None:
            raise Stale(f"{data.record}: {data.disagrees}")

    def _labels(self, artefact: Labels, record: LabelsRecord) -> None:
        path, recipe = artefact.labels, artefact.recipe
        labels = read_labels(path, recipe)
        about = label_record(recipe, labels, record["classes"], record["inputs"])
        if not alike(json_text(sealed(record)), json_text(sealed(about))):
            for name in ("recipe", "sha256"):
                check_same(artefact.record, name, record[name], about[name])
            raise Broken(f"{artefact.record}: does not describe {path.name}")
        if self.recomputed and self._made_of_proven(artefact):
            from collabpipe.data.labels import make_labels
            from collabpipe.data.noise_files import label_file
            from collabpipe.data.prepared import open_images, read_annotations

            folder = self.paths.dataset(recipe.data.dataset)
            images = open_images(recipe.data, folder, "train")
            own = label_file(recipe, artefact.own_file, images, folder)
            drawn = make_labels(recipe, images, read_annotations(recipe.data, folder) | own)
            if drawn.sha256 != labels.sha256:
                raise Broken(f"{path}: its recipe draws other labels")

    def _training(self, training: Checkpoint, record: TrainingRecord) -> None:
        path, recipe = training.record, training.recipe
        if recipe.undecided and all(file in self.proven for file in training.choices):
            from collabpipe.jobs.choose import decide

            decided = decide(recipe, recipe.run.dataset, recipe.run.network, self.paths)[0].model_dump(mode="json")
            for name in ("composition", "training"):
                check_same(path, "choice", record[name], decided[name])
        check_same(path, "key", record["key"], training.store_key(record))
        check_same(path, "training", record["digest"], training_digest(record))
        self.statuses[training.key] = record["status"]

    def _choice(self, choice: Choice, record: ChoiceRecord) -> None:
        if self.follows and self._made_of_proven(choice):
            from collabpipe.jobs.choose import choice_of

            again = choice_of(choice.recipe, self.paths)
            if again != {name: value for name, value in record.items() if name != "seal"}:
                raise Broken(f"{choice.record}: is not the choice that its candidates' validation accuracies make")

    def _predictions(self, evaluation: Predictions[Any], metrics: MetricsRecord) -> None:
        from collabpipe.jobs.evaluate import metrics_of, outcome

        path, recipe = evaluation.record, evaluation.recipe
        trained = recipe.trained if isinstance(recipe, FurtherRecipe) else recipe
        check_same(path, "key", metrics["key"], metrics["digest"])
        check_same(path, "outcome", metrics["status"], outcome(trained, metrics))
        if self.statuses.get(str(trained.run)) == "diverged":
            check_same(path, "outcome", metrics["status"], "diverged")
        if self.follows and not _same(metrics_of(path.parent), metrics):
            raise Broken(f"{path}: its metrics are not those of its predictions")
        if self.recomputed and self._made_of_proven(evaluation):
            self._predict_again(recipe, trained, evaluation.folder, metrics)

    def _predict_again(
        self, recipe: TrainRecipe | FurtherRecipe, trained: TrainRecipe, evaluation: Path, metrics: MetricsRecord
    ) -> None:
        from collabpipe.data.prepared import group_names, open_images
        from collabpipe.jobs.evaluate import evaluated
        from collabpipe.jobs.further import tested
        from collabpipe.results.records import training_record

        folder = self.paths.run(trained.run)
        record = training_record(trained, folder)
        if record.get("kept", "all") != "all":
            return
        if isinstance(recipe, FurtherRecipe):
            _, again, _ = tested(recipe, record, self.paths)
        else:
            data = trained.labels.data, self.paths.dataset(trained.run.dataset), "test"
            images, groups = open_images(*data), group_names(*data)
            _, again, _ = evaluated(trained.decided(record), record, folder, images, groups)
        if not _same(again, metrics):
            raise Broken(f"{evaluation}: its checkpoint has other metrics on the test set")

    def _tables(self, tables: Tables) -> None:
        path = tables.record
        below = [one for one in self.artefacts if not isinstance(one, Tables | Figures | Report)]
        if self.follows and all(one.record in self.proven for one in below):
            from collabpipe.analysis.runs import read_runs
            from collabpipe.analysis.tables import assemble_tables

            with tempfile.TemporaryDirectory() as folder:
                assemble_tables(self.plan.study, read_runs(self.plan.study, self.paths), self.paths, Path(folder))
                for file in sorted(Path(folder).iterdir()):
                    try:
                        same = alike(_text(file), _text(path.parent / file.name))
                    except ValueError as error:
                        raise Broken(f"{path.parent / file.name}: cannot be read: {error}") from error
                    if not same:
                        raise Broken(f"{path.parent / file.name}: is not the table that the evaluated runs make")


def _same(again: Mapping[str, Any], metrics: Mapping[str, Any]) -> bool:
    """Whether a record says what was computed again."""
    return alike(json_text(again), json_text({name: metrics.get(name) for name in again}))


def _text(table: Path) -> str:
    import pandas as pd

    return str(pd.read_parquet(table).to_csv()) if table.suffix == ".parquet" else table.read_text(encoding="utf-8")
