"""What a study costs: the hours and gigabytes of all its runs, beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from collabpipe.catalogue.sources import SOURCES
from collabpipe.common.errors import CollabpipeError
from collabpipe.data.prepared import data_record
from collabpipe.methods.composition import Composition, cost_key
from collabpipe.plan.paths import TEST, TRAIN
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.plan.record_types import Keep
from collabpipe.results.studies import Study
from collabpipe.settings.study import CANDIDATE
from collabpipe.settings.training import NetworkSettings, TrainingSettings
from collabpipe.training.batches import Cut
from collabpipe.training.device import be_deterministic, choose_device
from collabpipe.training.step_clock import StepClock
from collabpipe.training.step_cost import (
    Entry,
    Shape,
    Subject,
    step_flops_and_parameters,
)

BYTES_KEPT: dict[Keep, int] = {"all": 8, "half": 2, "none": 0}
"""Bytes a parameter that a finished run keeps: last and best epoch in float32, the last in half precision, nothing."""
RECORD_BYTES = 40_000
"""History, records and recipes of a run, about."""
FORWARD_SHARE = 1 / 3
"""Of a step's operations, those of an image's way forward; backward takes twice as many."""


@dataclass(frozen=True)
class DatasetSize:
    """Images of a data set as the study uses it."""

    shape: Shape
    classes: int
    train: int
    validation: int
    test: int


def dataset_size(plan: Plan, name: str) -> DatasetSize:
    """The size of a data set: from its record if it is prepared, else from the table of sources.

    Raises:
        CollabpipeError: an image folder that is not prepared.
    """
    settings, source = plan.settings.datasets[name], SOURCES[plan.settings.datasets[name].source]
    try:
        record = data_record(plan.data[name], plan.paths.dataset(name))
    except CollabpipeError:
        if source.images is None or source.pixels is None:
            command = Study.of_files(plan).command("datasets")
            raise CollabpipeError(
                f"{name}: its size is known only once it is prepared. Prepare it: {command}"
            ) from None
        size = settings.image_size or source.pixels
        shape, classes, images, test = (source.channels, size, size), len(source.classes), source.images, source.test
        own = 0
    else:
        channels, height, width = record["shape"]
        shape, classes = (channels, height, width), len(record["classes"])
        images, test = (record["files"][name]["images"] for name in (TRAIN, TEST))
        own = record["files"][TRAIN].get("validation", 0)
    validation = settings.validation_size or own
    train = settings.train_size or images - (own or validation)
    return DatasetSize(shape, classes, train, validation, test)


class Rates:
    """Operations a second of plain cross-entropy's step, measured once for each network and image shape."""

    def __init__(self, given: float | None):
        self.given = given
        self.device = choose_device()
        self.measured: dict[tuple[str, Shape, str], float] = {}

    def __call__(self, network: NetworkSettings, size: DatasetSize, training: TrainingSettings) -> float:
        """The rate in operations a second."""
        if self.given is not None:
            return self.given
        # A large batch on a CPU takes minutes and the rate is the same.
        batch = training.batch_size if self.device.type == "cuda" else min(training.batch_size, 32)
        changed = TrainingSettings(epochs=1, batch_size=batch, precision=training.precision, threads=training.threads)
        key = (network.model_dump_json(), size.shape, changed.model_dump_json())
        if key not in self.measured:
            be_deterministic(training.threads)
            entry = Entry("", network, "", Composition())
            subject = Subject(entry, size.shape, size.classes, changed, self.device)
            subject.step()
            clock = StepClock(self.device, capture=True)
            clock.warm_up("", subject.step, subject.generators.dropout)
            seconds = min(clock.seconds("", subject.step) for _ in range(3))
            self.measured[key] = subject.flops_and_saved_bytes()[0] / seconds
        return self.measured[key]


@dataclass(frozen=True)
class Estimate:
    """What some runs will take."""

    runs: int
    steps: int
    seconds: float
    disk: float


class Estimator:
    """Estimates runs of a plan; operations are counted once for each kind of step."""

    def __init__(self, plan: Plan, rate: float | None):
        self.plan = plan
        self.rates = Rates(rate)
        self.counted: dict[tuple[object, ...], tuple[int, int]] = {}

    @cached_property
    def sizes(self) -> dict[str, DatasetSize]:
        """The size of each data set."""
        return {name: dataset_size(self.plan, name) for name in self.plan.settings.datasets}

    def of_run(self, recipe: TrainRecipe) -> Estimate:
        """What one run will take."""
        size, training = self.sizes[recipe.run.dataset], recipe.training
        flops, parameters = self._step(recipe, size)
        images = size.train + (size.validation if recipe.refit else 0)
        steps = training.epochs * Cut(images, training.batch_size).steps
        measured = -(-training.epochs // training.measure_every) * (size.train + size.validation)
        candidate = CANDIDATE.search(recipe.run.method) is not None
        seen = measured + (0 if candidate else 2 * size.test)
        plain, _ = self._step(recipe.model_copy(update={"composition": Composition()}), size)
        # An epoch's images, however they are cut into batches.
        operations = (training.epochs * images * flops + seen * plain * FORWARD_SHARE) / training.batch_size
        seconds = operations / self.rates(recipe.network, size, training)
        keep = self.plan.settings.execution.keep_weights
        kept = BYTES_KEPT["none" if candidate and keep != "all" else keep]
        predictions = 0 if candidate else size.test * (4 * size.classes + 24)
        return Estimate(1, steps, seconds, kept * parameters + predictions + RECORD_BYTES)

    def _step(self, recipe: TrainRecipe, size: DatasetSize) -> tuple[int, int]:
        """Operations of a step and parameters that inference keeps."""
        batch = recipe.training.batch_size
        kind = cost_key(recipe.composition)
        key = (recipe.network.model_dump_json(), size.shape, size.classes, batch, kind)
        if key not in self.counted:
            entry = Entry("", recipe.network, "", recipe.composition)
            flops, _, parameters = step_flops_and_parameters(entry, size.shape, size.classes, batch)
            self.counted[key] = flops, parameters
        return self.counted[key]

    def by_dataset(self) -> Iterator[tuple[str, str, Estimate]]:
        """The sums for each data set, of the searches' candidates and of the study's runs."""
        for dataset in self.plan.settings.datasets:
            for what, recipes in (("candidates", self.plan.candidates), ("runs", self.plan.runs)):
                found = [self.of_run(recipe) for recipe in recipes.values() if recipe.run.dataset == dataset]
                if found:
                    parts = ([getattr(e, name) for e in found] for name in ("runs", "steps", "seconds", "disk"))
                    yield dataset, what, Estimate(*(sum(part) for part in parts))
