"""What is made for runs: data sets, labels, trainings, choices and evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from collabpipe.common.files import json_digest
from collabpipe.data.own import Sums, known_sums, unchanged
from collabpipe.plan.paths import (
    CHECKPOINT_FILES,
    DATA_FILES,
    EVALUATION_FILES,
    FETCHED,
    LABEL_INPUTS,
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
from collabpipe.plan.record_types import ChoiceRecord, DataRecord, LabelsRecord, MetricsRecord, TrainingRecord
from collabpipe.results.artefact import Artefact, Inputs, Known
from collabpipe.results.records import evaluated_files, evaluation_key
from collabpipe.settings.study import CANDIDATE

AnyEvaluated = TypeVar("AnyEvaluated", bound=TrainRecipe | FurtherRecipe)


class PreparedData(Artefact[DataRecipe, DataRecord]):
    """A data set in its prepared form."""

    def __init__(self, plan: Plan, recipe: DataRecipe):
        name = recipe.dataset
        self.raw, self.data_dir = plan.paths.raw(name), plan.data_dir(name)
        self.disagrees = f"was prepared from other files than those that lie in data_dir {self.data_dir} now"
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
        choices = choices_of(plan, recipe.undecided, run.dataset, run.network)
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
    disagrees = "does not name one of the candidates"

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


def choices_of(plan: Plan, undecided: Undecided | None, dataset: str, network: str) -> Inputs:
    """The choices that a training waits for, as inputs."""
    choices = undecided.choices.items() if undecided else ()
    return [(f"choice of {method}", plan.paths.choice(dataset, of.noise, network, method)) for method, of in choices]


def _block(plan: Plan, recipe: TrainRecipe) -> str:
    return f"{recipe.run.cell}/block{plan.settings.execution.block(recipe.run.seed)}"
