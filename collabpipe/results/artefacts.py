"""The artefacts of a study: their files, inputs and records, whether a record fits the plan, and what it proves.

Code that looks at all results loops over `artefacts`: to find those that are up to date (results/state.py), to set
their times for Snakemake (results/timestamps.py) and to prove their contents (audit/verify.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from collabpipe.common.files import json_digest, record_of
from collabpipe.data.own import Sums, known_sums, unchanged
from collabpipe.plan.paths import (
    CHECKPOINT_FILES,
    DATA_FILES,
    EVALUATION_FILES,
    FETCHED,
    FIGURE_FILES,
    LABEL_INPUTS,
    OVERHEAD_FILES,
    REPORT_FILES,
    TABLE_FILES,
    TEST,
    TRAIN,
    files_in,
)
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import (
    DataRecipe,
    FurtherRecipe,
    LabelsRecipe,
    SelectionRecipe,
    TrainRecipe,
    Undecided,
)
from collabpipe.plan.record_types import (
    ChoiceRecord,
    DataRecord,
    LabelsRecord,
    MetricsRecord,
    OverheadRecord,
    ReportRecord,
    ShownRecord,
    TrainingRecord,
)
from collabpipe.plan.study_recipes import REPORT_NUMERICS, OverheadRecipe, StudyRecipe
from collabpipe.results.artefact import AnyArtefact, Artefact, Inputs, Known
from collabpipe.results.records import evaluated_files, evaluation_key
from collabpipe.settings.study import CANDIDATE

AnyEvaluated = TypeVar("AnyEvaluated", bound=TrainRecipe | FurtherRecipe)


class PreparedData(Artefact[DataRecipe, DataRecord]):
    """A data set in its prepared form."""

    def __init__(self, plan: Plan, recipe: DataRecipe):
        name = recipe.dataset
        self.raw, self.data_dir = plan.paths.raw(name), plan.data_dir(name)
        folder = plan.paths.dataset(name)
        super().__init__(recipe, name, "data set", f"prepare_dataset/{name}", folder, DATA_FILES)
        self.fetched = self.raw / FETCHED
        self.about = [self.fetched]
        self.train, self.test = files_in(folder, (TRAIN, TEST))

    def is_whole(self) -> bool:
        """Its record is enough: a restore may leave out the images."""
        return True

    @cached_property
    def own(self) -> Sums | None:
        """The sums of the user's own files; None if they have changed since the data set was made."""
        record = self.found()
        origin: Mapping[str, object] = record["made_from"] if record else {}
        return unchanged(self.recipe, self.data_dir, origin, known_sums(self.raw))

    def agrees(self, record: DataRecord) -> bool:
        """Whether the user's own files are those that it was made from."""
        return self.own is not None

    def vouches(self, record: DataRecord) -> Known:
        """The digests of its files."""
        sums = {self.folder / name: about.get("sha256") for name, about in record.get("files", {}).items()}
        return super().vouches(record) | sums


class Labels(Artefact[LabelsRecipe, LabelsRecord]):
    """The noisy labels of a seed, and which images are for validation."""

    def __init__(self, plan: Plan, recipe: LabelsRecipe, data: PreparedData):
        key = (data.key, recipe.noise_name, recipe.replicate)
        job = f"noisy_labels/{data.key}/{recipe.noise_name}/seed{recipe.replicate}"
        self.labels = plan.paths.labels(recipe)
        self.own_file = plan.noise_files.path(recipe.noise_name, recipe.replicate)
        names = (self.labels.name, f"{self.labels.stem}.json")
        inputs = [(name, data.folder / name) for name in LABEL_INPUTS]
        super().__init__(recipe, key, "label file", job, self.labels.parent, names, inputs)
        self.about = [data.record]

    def is_whole(self) -> bool:
        """Its record is enough, as a data set's."""
        return True

    def says(self, record: LabelsRecord) -> list[str | None]:
        """The digests of the images and of the annotators' labels."""
        return [record["inputs"][name] for name in LABEL_INPUTS]

    def vouches(self, record: LabelsRecord) -> Known:
        """The digest of the labels."""
        return super().vouches(record) | {self.labels: record.get("sha256")}


class Checkpoint(Artefact[TrainRecipe, TrainingRecord]):
    """What a training leaves: weights, history and a record."""

    def __init__(self, plan: Plan, recipe: TrainRecipe, data: PreparedData, labels: Labels):
        run = recipe.run
        kind = "candidate" if CANDIDATE.search(run.method) else "checkpoint"
        choices = _choices(plan, recipe.undecided, run.dataset, run.network)
        inputs = [("data set", data.train), ("label file", labels.labels), *choices]
        job = f"train/{_block(plan, recipe)}"
        super().__init__(recipe, str(run), kind, job, plan.paths.run(run), CHECKPOINT_FILES, inputs)
        self.data, self.choices = data, [file for _, file in choices]
        self.about = [data.record, labels.record]

    def says(self, record: TrainingRecord) -> list[str | None]:
        """The digests of images, labels and choices."""
        chosen = self.recipe.undecided.choices if self.recipe.undecided else ()
        made_from = record["inputs"]
        return [made_from[TRAIN], made_from["labels"], *(record["choices"][method] for method in chosen)]

    def store_key(self, record: TrainingRecord) -> str:
        """The key of the training, with what was chosen for it."""
        return self.recipe.decided(record).key(record["inputs"])


class Choice(Artefact[SelectionRecipe, ChoiceRecord]):
    """The chosen hyper-parameters of a searched method, for a data set, noise and network."""

    asked_by = "selection"

    def __init__(self, plan: Plan, recipe: SelectionRecipe, candidates: Iterable[Checkpoint]):
        key = (recipe.dataset, recipe.noise, recipe.network, recipe.method)
        file = plan.paths.choice(*key)
        inputs = [(f"training of {training.key}", training.record) for training in candidates]
        super().__init__(recipe, key, "choice", f"choose/{'/'.join(key)}", file.parent, [file.name], inputs)

    def says(self, record: ChoiceRecord) -> list[str | None]:
        """The digests of the candidates' trainings."""
        return list(record["trainings"])

    def agrees(self, record: ChoiceRecord) -> bool:
        """Whether what was chosen is a candidate."""
        chosen = json_digest(record["definition"])
        return chosen == record["digest"] and chosen in [json_digest(one.definition) for one in self.recipe.candidates]


class Predictions(Artefact[AnyEvaluated, MetricsRecord]):
    """The predictions and metrics of a run on test images."""

    def __init__(
        self,
        recipe: AnyEvaluated,
        key: str,
        kind: str,
        job: str,
        folder: Path,
        training: Checkpoint,
        data: PreparedData,
        stands_for_recipe: Path | None = None,
    ):
        self.of_data: tuple[str, ...] = evaluated_files(data.recipe)
        of_data = zip(("test set", "names of images"), files_in(data.folder, self.of_data), strict=False)
        inputs = [("training", training.record), *of_data]
        super().__init__(recipe, key, kind, job, folder, EVALUATION_FILES, inputs, stands_for_recipe=stands_for_recipe)
        self.about = list({data.record: None, training.data.record: None})

    def says(self, record: MetricsRecord) -> list[str | None]:
        """The digests of the training, of the test images and of their names."""
        return [record["inputs"][name] for name in ("training", *self.of_data)]

    def store_key(self, record: MetricsRecord) -> str:
        """The key of the evaluation, by the present numerics."""
        return evaluation_key(record["inputs"], getattr(self.recipe, "corruptions", None))

    def agrees(self, record: MetricsRecord) -> bool:
        """Whether its digest is that of its inputs, and of the present numerics."""
        return bool(record["digest"] == self.store_key(record))


class Evaluation(Predictions[TrainRecipe]):
    """The evaluation of a run on the test images of its data set."""

    def __init__(self, plan: Plan, training: Checkpoint):
        recipe, data = training.recipe, training.data
        job, folder = f"evaluate/{_block(plan, recipe)}", plan.paths.evaluation(recipe.run)
        super().__init__(recipe, training.key, "evaluation", job, folder, training, data, training.record)


class FurtherEvaluation(Predictions[FurtherRecipe]):
    """The evaluation of a run on a further test set."""

    def __init__(self, plan: Plan, recipe: FurtherRecipe, training: Checkpoint, data: PreparedData):
        job = f"test/{recipe.name}/{_block(plan, recipe.trained)}"
        folder = plan.paths.test(recipe.run, recipe.name)
        super().__init__(recipe, str(recipe), "further evaluation", job, folder, training, data)


class Overhead(Artefact[OverheadRecipe, OverheadRecord]):
    """What each method costs."""

    def __init__(self, plan: Plan, data: PreparedData, evaluations: Iterable[Evaluation]):
        recipe = plan.overhead
        inputs = [one for m in recipe.methods for one in _choices(plan, m.undecided, data.key, m.network_name)]
        folder = plan.paths.overhead
        super().__init__(recipe, None, "overhead", "measure_overhead", folder, OVERHEAD_FILES, inputs)
        # Beside trainings the times would say nothing: its job waits for all of them, whatever they are.
        self.about = [data.record, *(one.record for one in evaluations)]

    def recipe_of(self, record: OverheadRecord) -> Any:
        """The digest of the recipe that a record names."""
        return record["about"]["recipe"]

    def says(self, record: OverheadRecord) -> list[str | None]:
        """The digests of the choices of each method."""
        by_method = zip(self.recipe.methods, record["about"]["choices"], strict=True)
        return [choices[name] for m, choices in by_method if m.undecided for name in m.undecided.choices]


class _Shown(Artefact[StudyRecipe, ShownRecord]):
    """What shows the evaluated runs of the whole study."""

    asked_by = "study"

    def recipe_of(self, record: ShownRecord) -> Any:
        """The digest of the recipe that a record names."""
        return record["study"]

    def says(self, record: ShownRecord) -> list[str | None]:
        """The digests of the evaluations."""
        return list(record["evaluations"])


class Tables(_Shown):
    """The tables of the study."""

    def __init__(
        self, plan: Plan, evaluations: Iterable[Predictions[Any]], choices: Iterable[Choice], overhead: Overhead
    ):
        folder = plan.paths.tables
        inputs = [(f"evaluation of {one.key}", one.record) for one in evaluations]
        waits_for = [*(one.record for one in choices), overhead.record]
        super().__init__(plan.study, None, "tables", "assemble_tables", folder, TABLE_FILES, inputs, waits_for)
        self.overhead, self.provenance = overhead.record, plan.paths.provenance(folder)

    def agrees(self, record: ShownRecord) -> bool:
        """Whether they were made with the overhead table that is here, as far as their provenance tells."""
        seal = record_of(self.overhead).get("seal")
        return bool(record_of(self.provenance).get("overhead", seal) == seal)


class Figures(_Shown):
    """The figures of the study."""

    def __init__(self, plan: Plan, tables: Tables):
        folder, job = plan.paths.figures, "draw_figures"
        super().__init__(
            plan.study, None, "figures", job, folder, FIGURE_FILES, tables.inputs, tables.waits_for, tables.record
        )
        self.tables = tables.record

    @property
    def reads(self) -> list[Path]:
        """The tables' record, which stands for all that they were made from."""
        return [self.tables]


class Report(Artefact[StudyRecipe, ReportRecord]):
    """The study's page."""

    asked_by = "study"

    def __init__(self, plan: Plan, tables: Tables, figures: Figures):
        shown = [tables, figures]
        inputs = [(one.kind, one.record) for one in shown] + [("overhead", tables.overhead)]
        # Verdicts, tables and figures come before the page, and each of these has its own job.
        super().__init__(
            plan.study, None, "report", "write_report", plan.paths.folder, REPORT_FILES, inputs, (), figures.record
        )

    def recipe_of(self, record: ReportRecord) -> Any:
        """The digest of the recipe that a record names."""
        return record["study"]

    def says(self, record: ReportRecord) -> list[str | None]:
        """The seals of what it shows."""
        return [record["shows"][what] for what, _ in self.inputs]

    def agrees(self, record: ReportRecord) -> bool:
        """Whether the page would look the same today."""
        return bool(record["numerics"] == REPORT_NUMERICS)


def _choices(plan: Plan, undecided: Undecided | None, dataset: str, network: str) -> Inputs:
    choices = undecided.choices.items() if undecided else ()
    return [(f"choice of {method}", plan.paths.choice(dataset, of.noise, network, method)) for method, of in choices]


def _block(plan: Plan, recipe: TrainRecipe) -> str:
    return f"{recipe.run.cell}/block{plan.settings.execution.block(recipe.run.seed)}"


def artefacts(plan: Plan) -> list[AnyArtefact]:
    """All artefacts of the study in the order of the work: each comes after its inputs."""
    data = {name: PreparedData(plan, recipe) for name, recipe in plan.data.items()}
    labels = {key: Labels(plan, recipe, data[key[0]]) for key, recipe in plan.labels.items()}

    def training(recipe: TrainRecipe) -> Checkpoint:
        run = recipe.run
        return Checkpoint(plan, recipe, data[run.dataset], labels[run.dataset, run.noise, run.seed])

    searched: list[AnyArtefact] = []
    for selection in plan.selections.values():
        runs = (run for candidate in selection.candidates for run, _ in candidate.runs)
        candidates = [training(plan.candidates[str(run)]) for run in runs]
        searched += [*candidates, Choice(plan, selection, candidates)]
    trainings = [training(recipe) for recipe in plan.runs.values()]
    evaluations = [Evaluation(plan, one) for one in trainings]
    of_run = {one.key: one for one in trainings}
    tests = [FurtherEvaluation(plan, one, of_run[str(one.run)], data[one.data.dataset]) for one in plan.tests.values()]
    overhead = Overhead(plan, data[plan.overhead.data.dataset], evaluations)
    choices = [one for one in searched if isinstance(one, Choice)]
    tables = Tables(plan, [*evaluations, *tests], choices, overhead)
    tables.about = [
        *overhead.files,
        *(file for one in labels.values() for file in one.files),
        *(one.record for one in trainings),
    ]
    figures = Figures(plan, tables)
    return [
        *data.values(),
        *labels.values(),
        *searched,
        *trainings,
        *evaluations,
        *tests,
        overhead,
        tables,
        figures,
        Report(plan, tables, figures),
    ]
