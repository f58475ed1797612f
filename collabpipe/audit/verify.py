"""Proves by content that every artefact of a study belongs to its recipe, from the data sets up to each table's cell.

A record says what an artefact was made from and the sums of its files, and is sealed by a digest of its own. Whoever
changes a file and every digest above it is found by computing again, or by the sums in dvc.lock, which git keeps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any, Literal

from collabpipe.audit.compare import alike
from collabpipe.audit.proofs import Broken, Check, Stale, check_same, check_sums, sealed_record
from collabpipe.common.files import json_text, record_of, seal_of, sealed
from collabpipe.data.labels import label_record, read_labels
from collabpipe.data.own import known_sums, unchanged
from collabpipe.plan.paths import (
    CHECKPOINT_FILES,
    DATA_FILES,
    EVALUATION_FILES,
    FIGURE_FILES,
    LABEL_INPUTS,
    OVERHEAD_FILES,
    TABLE_FILES,
    files_in,
)
from collabpipe.plan.plan import ChoiceKey, Plan
from collabpipe.plan.recipes import DataRecipe, LabelsRecipe, TrainRecipe, evaluation_key, training_digest
from collabpipe.results.adoption import key_of

Depth = Literal["sums", "follows", "recomputed"]
"""Sums alone; that metrics, choices and tables follow from what is below them too; labels and predictions anew too."""


class Verifier:
    """The checks of a study, in the order of the work.

    What was not proven is not held against what was made from it: only the first break of a chain is told.
    """

    def __init__(self, plan: Plan, depth: Depth = "follows"):
        self.plan, self.paths = plan, plan.paths
        self.follows, self.recomputed = depth != "sums", depth == "recomputed"
        self.data: dict[str, dict[str, str]] = {}
        self.labels: dict[Path, str] = {}
        self.trainings: dict[str, str] = {}
        self.statuses: dict[str, str] = {}
        self.choices: dict[ChoiceKey, str] = {}
        self.evaluations: dict[str, str] = {}
        self.overhead = False

    def checks(self) -> Iterator[Check]:
        """Each is to be made before the next is asked for."""
        plan, paths = self.plan, self.paths
        if self.follows and paths.root.exists():
            for recipe in plan.trainings.values():  # DVC keeps no recipes: the plan has them
                recipe.write(paths.recipes)
        for name, data in plan.data.items():
            files = files_in(paths.dataset(name), DATA_FILES)
            yield Check("data set", files, paths.data_record(data), partial(self._data, data))
        for labels in plan.labels.values():
            file = paths.labels(labels)
            record = file.with_suffix(".json")
            yield Check("label file", [file, record], record, partial(self._labels, labels))
        for key, selection in plan.selections.items():
            for run in (run for one in selection.candidates for run, _ in one.runs):
                yield self._checkpoint("candidate", plan.candidates[str(run)])
            yield Check("choice", [paths.choice(*key)], paths.choice(*key), partial(self._choice, key))
        for recipe in plan.runs.values():
            yield self._checkpoint("checkpoint", recipe)
        for recipe in plan.runs.values():
            folder = paths.evaluation(recipe.run)
            files = files_in(folder, EVALUATION_FILES)
            yield Check("evaluation", files, folder / "metrics.json", partial(self._evaluation, recipe))
        overhead = files_in(paths.overhead, OVERHEAD_FILES)
        yield Check("overhead", overhead, paths.overhead / "overhead.json", self._overhead)
        yield Check("tables", files_in(paths.tables, TABLE_FILES), paths.tables / "record.json", self._tables)
        yield Check("figures", files_in(paths.figures, FIGURE_FILES), paths.figures / "record.json", self._figures)

    def _checkpoint(self, kind: str, recipe: TrainRecipe) -> Check:
        folder = self.paths.run(recipe.run)
        files = files_in(folder, CHECKPOINT_FILES)
        return Check(kind, files, folder / "record.json", partial(self._training, recipe))

    def _input(self, path: Path, what: str, found: str, known: str | None) -> None:
        if known is not None:
            check_same(path, what, found, known, Stale)

    def _data(self, recipe: DataRecipe) -> None:
        path = self.paths.data_record(recipe)
        record = sealed_record(path)
        check_same(path, "recipe", record["recipe"], recipe.digest, Stale)
        check_sums(record["files"], path.parent, path, DATA_FILES)
        folder = self.plan.data_dir(recipe.dataset)
        known = {} if self.follows else known_sums(self.paths.raw(recipe.dataset))
        if unchanged(recipe, folder, record["made_from"], known) is None:
            raise Stale(f"{path}: was prepared from other files than those that lie in data_dir {folder} now")
        self.data[recipe.dataset] = {name: about["sha256"] for name, about in record["files"].items()}

    def _labels(self, recipe: LabelsRecipe) -> None:
        path = self.paths.labels(recipe)
        record = sealed_record(path.with_suffix(".json"))
        check_same(path.with_suffix(".json"), "recipe", record["recipe"], recipe.digest, Stale)
        labels = read_labels(path, recipe)
        about = label_record(recipe, labels, record["classes"], record["inputs"])
        if not alike(json_text(sealed(record)), json_text(sealed(about))):
            for name in ("recipe", "sha256"):
                check_same(path.with_suffix(".json"), name, record[name], about[name])
            raise Broken(f"{path.with_suffix('.json')}: does not describe {path.name}")
        for name in LABEL_INPUTS:
            self._input(path, name, record["inputs"][name], self.data.get(recipe.data.dataset, {}).get(name))
        if self.recomputed and recipe.data.dataset in self.data:
            from collabpipe.data.labels import make_labels
            from collabpipe.data.prepared import open_images, read_annotations

            folder = self.paths.dataset(recipe.data.dataset)
            images = open_images(recipe.data, folder, "train")
            drawn = make_labels(recipe, images, read_annotations(recipe.data, folder))
            if drawn.sha256 != labels.sha256:
                raise Broken(f"{path}: its recipe draws other labels")
        self.labels[path] = labels.sha256

    def _training(self, recipe: TrainRecipe) -> None:
        path = self.paths.run(recipe.run) / "record.json"
        record, run = sealed_record(path), recipe.run
        check_same(path, "recipe", record["recipe"], recipe.digest, Stale)
        train = self.data.get(run.dataset, {}).get("train.arrow")
        self._input(path, "data set", record["inputs"]["train.arrow"], train)
        self._input(path, "label file", record["inputs"]["labels"], self.labels.get(self.paths.labels(recipe.labels)))
        chosen = recipe.undecided.choices.items() if recipe.undecided else ()
        for method, of in chosen:
            known = self.choices.get((run.dataset, of.noise, run.network, method))
            self._input(path, f"choice of {method}", record["choices"][method], known)
        if recipe.undecided and all((run.dataset, of.noise, run.network, m) in self.choices for m, of in chosen):
            from collabpipe.jobs.choose import decide

            decided = decide(recipe, run.dataset, run.network, self.paths)[0].model_dump(mode="json")
            for name in ("composition", "training"):
                check_same(path, "choice", record[name], decided[name])
        check_same(path, "key", record["key"], key_of(recipe, record))
        check_same(path, "training", record["digest"], training_digest(record))
        check_sums(record["files"], path.parent, path, CHECKPOINT_FILES)
        self.trainings[str(run)], self.statuses[str(run)] = record["digest"], record["status"]

    def _choice(self, key: ChoiceKey) -> None:
        path, selection = self.paths.choice(*key), self.plan.selections[key]
        record = sealed_record(path)
        check_same(path, "selection", record["recipe"], selection.digest, Stale)
        runs = [str(run) for one in selection.candidates for run, _ in one.runs]
        for run, training in zip(runs, record["trainings"], strict=True):
            self._input(path, f"training of {run}", training, self.trainings.get(run))
        if self.follows and all(run in self.trainings for run in runs):
            from collabpipe.jobs.choose import choice_of

            if choice_of(selection, self.paths) != {name: value for name, value in record.items() if name != "seal"}:
                raise Broken(f"{path}: is not the choice that its candidates' validation accuracies make")
        self.choices[key] = record["digest"]

    def _evaluation(self, recipe: TrainRecipe) -> None:
        from collabpipe.jobs.evaluate import metrics_of, outcome

        path = self.paths.evaluation(recipe.run) / "metrics.json"
        metrics, name = sealed_record(path), str(recipe.run)
        check_same(path, "recipe", metrics["recipe"], recipe.digest, Stale)
        made_from = metrics["inputs"]
        self._input(path, "training", made_from["training"], self.trainings.get(name))
        test = self.data.get(recipe.run.dataset, {}).get("test.arrow")
        self._input(path, "test set", made_from["test.arrow"], test)
        check_same(path, "key", metrics["key"], metrics["digest"])
        check_same(path, "key", metrics["digest"], evaluation_key(made_from["training"], made_from["test.arrow"]))
        check_sums(metrics["files"], path.parent, path, EVALUATION_FILES)
        check_same(path, "outcome", metrics["status"], outcome(recipe, metrics))
        if self.statuses.get(name) == "diverged":
            check_same(path, "outcome", metrics["status"], "diverged")
        if self.follows and not alike(json_text(metrics_of(path.parent)), json_text(metrics["last"])):
            raise Broken(f"{path}: its metrics are not those of its predictions")
        if self.recomputed and test and name in self.trainings:
            self._predict_again(recipe, metrics)
        self.evaluations[name] = metrics["digest"]

    def _predict_again(self, recipe: TrainRecipe, metrics: dict[str, Any]) -> None:
        from collabpipe.data.prepared import open_images
        from collabpipe.jobs.evaluate import evaluated
        from collabpipe.results.records import training_record

        folder = self.paths.run(recipe.run)
        record = training_record(recipe, folder)
        if record.get("kept", "all") == "all":
            images = open_images(recipe.labels.data, self.paths.dataset(recipe.run.dataset), "test")
            _, again, _ = evaluated(recipe.decided(record), record, folder, images)
            if not alike(json_text(again), json_text({name: metrics[name] for name in again})):
                raise Broken(f"{self.paths.evaluation(recipe.run)}: its checkpoint has other metrics on the test set")

    def _overhead(self) -> None:
        path = self.paths.overhead / "overhead.json"
        record = sealed_record(path)
        check_same(path, "recipe", record["about"]["recipe"], self.plan.overhead.digest, Stale)
        for method, choices in zip(self.plan.overhead.methods, record["about"]["choices"], strict=True):
            for name, of in (method.undecided.choices if method.undecided else {}).items():
                known = self.choices.get((self.plan.overhead.data.dataset, of.noise, method.network_name, name))
                self._input(path, f"choice of {name}", choices[name], known)
        check_sums(record["files"], path.parent, path, OVERHEAD_FILES)
        self.overhead = True

    def _whole(self) -> bool:
        """Whether all that tables are made from is proven."""
        plan = self.plan
        pairs: list[tuple[Sized, Sized]] = [
            (self.data, plan.data),
            (self.labels, plan.labels),
            (self.trainings, plan.trainings),
            (self.choices, plan.selections),
            (self.evaluations, plan.runs),
        ]
        return self.overhead and all(len(proven) == len(asked) for proven, asked in pairs)

    def _shown(self, path: Path, names: Sequence[str]) -> None:
        """Hold the record at `path` and the files `names` beside it against the study's evaluations."""
        record = sealed_record(path)
        check_same(path, "study", record["study"], self.plan.study.digest, Stale)
        for name, evaluation in zip(self.plan.runs, record["evaluations"], strict=True):
            self._input(path, f"evaluation of {name}", evaluation, self.evaluations.get(name))
        check_sums(record["files"], path.parent, path, names)

    def _figures(self) -> None:
        self._shown(self.paths.figures / "record.json", FIGURE_FILES)

    def _tables(self) -> None:
        path = self.paths.tables / "record.json"
        self._shown(path, TABLE_FILES)
        made_with = record_of(self.paths.provenance(self.paths.tables)).get("overhead")
        if self.overhead and made_with is not None:
            check_same(path, "overhead", made_with, seal_of(self.paths.overhead / "overhead.json"), Stale)
        if self.follows and self._whole():
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


def _text(table: Path) -> str:
    import pandas as pd

    return str(pd.read_parquet(table).to_csv()) if table.suffix == ".parquet" else table.read_text(encoding="utf-8")
