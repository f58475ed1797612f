"""What the records say that jobs write beside their results: one type per kind of record.

mypy checks whoever writes or reads a record against its type. At run time a record is a plain dictionary: it is written
as JSON, most with a `seal` (`sealed` in common/files.py), and its digests tell whether it was edited since.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

from collabpipe.common.whereabouts import Where

Json: TypeAlias = Any
"""JSON of a shape that is defined elsewhere, such as a part of a recipe."""
Keep = Literal["all", "half", "none"]
"""What is kept of a run's weights."""
Status = Literal["finished", "diverged"]
Epoch = Literal["last", "best"]
"""Which weights of a run."""
Scores = dict[str, float]
"""Metrics by name: which there are depends on the data set (training/scores.py)."""


class Origin(TypedDict):
    """The source's files that a data set was made from."""

    md5: dict[str, str] | None
    images: str | None
    """The digest of the list of images, of a source of the user's own."""


class Verified(TypedDict):
    """The files of a source, as they were verified."""

    md5: dict[str, str]
    images: str | None
    """As in `Origin`."""


class FetchedRecord(Verified):
    """fetched.json: where the verified files of a data set lie."""

    recipe: str
    source: str
    folder: str | None
    """The user's own folder; None: they were downloaded."""
    accepted: dict[str, str]
    """The sums of files whose sum is not one of the source's, and which the configuration accepts."""


class DataFile(TypedDict):
    """A file of a prepared data set."""

    sha256: str
    bytes: int
    images: NotRequired[int]
    validation: NotRequired[int]
    """How many of the images are the data set's own validation set."""
    columns: NotRequired[list[str]]


class Pixels(TypedDict):
    """How to read the images of a prepared data set."""

    classes: list[str]
    shape: list[int]
    mean: list[float]
    std: list[float]


class DataRecord(Pixels):
    """record.json of a prepared data set."""

    recipe: str
    dataset: str
    coarse_classes: NotRequired[list[str]]
    files: dict[str, DataFile]
    made_from: Origin


class Transitions(TypedDict):
    """How many images of each class carry each label."""

    transition_counts: list[list[int]] | dict[str, dict[str, int]]
    """(K, K); of many classes without the zeros, by the numbers of the class and of the label."""
    transition_matrix: NotRequired[list[list[float]]]
    """The shares of each class; left out of many classes."""


class LabelsRecord(Transitions):
    """The record of a label file."""

    recipe: str
    inputs: dict[str, str]
    sha256: str
    noise: Json
    noise_name: str
    replicate: int
    images: int
    validation: int
    rate_asked: float | None
    """The rate in the noise's name; None where that has none."""
    true_rate: float
    """The share of wrong labels."""
    true_rate_training: float
    classes: list[str]
    not_validated: list[str]
    """The classes that label training images and no validation image."""


class Stored(TypedDict):
    """result.json: a finished result in the store."""

    key: str
    files: dict[str, str]
    """The sum of each file."""
    exchange: NotRequired[Exchange]
    unfinished: NotRequired[bool]
    """Whether a process died while it replaced files; never written."""


class Exchange(TypedDict):
    """The files that are about to replace those of the same names in the store."""

    files: dict[str, str]
    about: dict[str, Any]


class Asked(TypedDict):
    """asked.json: what a training in the store was first made for."""

    asked: str
    run: str


class _Outcome(TypedDict):
    """What came out of a training."""

    status: Status
    divergence: Json
    best_epoch: int | None
    weights: dict[str, str]
    """The digests of the values of the last and the best weights."""
    kept: NotRequired[Keep]


class Cost(TypedDict):
    """What a training took."""

    seconds: float
    epoch_seconds: list[float]
    steps: int
    peak_device_bytes: int | None
    peak_process_bytes: int
    parameters_training: int
    parameters_inference: int


class TrainingProvenance(Where):
    """Where a run was trained (a file below `provenance`), the digest of its training, and what it took."""

    training: str
    cost: Cost | None


class EvaluationProvenance(Where):
    """Where a run was evaluated, and the digest of its evaluation."""

    evaluation: str


class TablesProvenance(Where):
    """Where tables were made, and the seal of the overhead table that they show."""

    overhead: str | None


class TrainingResult(_Outcome):
    """What a training hands to the store."""

    cost: Cost | None
    where: Where


class StoredTraining(Stored, TrainingResult):
    """A training in the store."""


class TrainingRecord(Stored, _Outcome):
    """record.json of a run's training."""

    recipe: str
    run: Json
    inputs: dict[str, str]
    choices: NotRequired[dict[str, str]]
    composition: NotRequired[Json]
    training: NotRequired[Json]
    digest: str


class Metrics(TypedDict):
    """What came out of an evaluation."""

    status: Status
    last: Scores | None
    best: Scores | None
    collapsed: bool | None
    """Of a run on corruptions None."""
    corruptions: NotRequired[dict[str, dict[str, float]]]
    """Of a run on corruptions: the last weights' accuracy by corruption and severity."""


class EvaluationResult(Metrics):
    """What an evaluation hands to the store."""

    inputs: dict[str, str]
    where: Where


class StoredEvaluation(Stored, EvaluationResult):
    """An evaluation in the store."""


class MetricsRecord(Stored, Metrics):
    """metrics.json of a run's evaluation."""

    inputs: dict[str, str]
    digest: str
    recipe: str
    run: Json
    test_set: NotRequired[str]
    """The further test set that it is of."""


class CandidateScores(TypedDict):
    """How a candidate of a search did."""

    values: Json
    seeds: list[int]
    accuracy: list[float | None]
    mean: float | None


class ChoiceRecord(TypedDict):
    """The record of a choice."""

    recipe: str
    method: str
    on: str
    chosen: int
    values: Json
    definition: Json
    digest: str
    candidates: list[CandidateScores]
    trainings: list[str]


class MeasuredFor(TypedDict):
    """What an overhead table was measured for."""

    recipe: str
    data: str
    choices: list[dict[str, str]]


class OverheadRecord(TypedDict):
    """overhead.json of a study."""

    rounds: dict[str, list[float]]
    conditions: Json
    about: MeasuredFor
    files: dict[str, str]
    where: Where
    not_captured: NotRequired[list[str]]
    """Methods whose steps were timed on a GPU as they are written, not as CUDA graphs."""


class ShownRecord(TypedDict):
    """record.json of a study's tables or figures."""

    study: str
    name: str
    evaluations: list[str]
    files: dict[str, str]
    alternatives: NotRequired[dict[str, str]]
    """Of figures: their texts for readers of screens."""


class ReportRecord(TypedDict):
    """report.json of a study's page."""

    study: str
    name: str
    numerics: int
    shows: dict[str, str | None]
    """The digests of tables, figures and overhead."""
    files: dict[str, str]


class PlannedStudy(TypedDict):
    """The record of a study that was planned here."""

    study: str
    files: dict[str, str]
    config: Json
