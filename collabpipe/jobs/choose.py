"""The choice of hyper-parameters on validation images: made once for a data set, noise and network, and then kept to.

Nothing here reads a test image: the scores are those that the candidates' trainings recorded.
"""

from __future__ import annotations

from typing import Any, TypeVar

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import json_digest, read_columns, read_record, sealed, write_json
from collabpipe.common.validation import Wrong
from collabpipe.methods.composition import problem
from collabpipe.methods.resolve import compose, own_training, read_methods
from collabpipe.plan.paths import Paths
from collabpipe.plan.recipes import RunName, SelectionRecipe, TrainRecipe, read_recipe
from collabpipe.plan.record_types import ChoiceRecord, Keep, TrainingRecord
from collabpipe.plan.study_recipes import MeasuredMethod
from collabpipe.results.records import training_record
from collabpipe.results.retention import thin

REMEDY = "Choose again: collabpipe choose RECIPE."
TOGETHER = "Leave out the values, of its members too, that do not fit each other."
Asked = TypeVar("Asked", TrainRecipe, MeasuredMethod)


def decide(asked: Asked, dataset: str, network: str, paths: Paths) -> tuple[Asked, dict[str, str]]:
    """What was asked with the chosen hyper-parameters in it, and the digest of each choice by method.

    Raises:
        CollabpipeError: a choice is missing, edited or of another selection.
    """
    if asked.undecided is None:
        return asked, {}
    definitions, digests = dict(asked.undecided.definitions), {}
    for method, of in asked.undecided.choices.items():
        path = paths.choice(dataset, of.noise, network, method)
        choice: ChoiceRecord = read_record(path, REMEDY)
        if choice.get("recipe") != of.selection:
            found = str(choice.get("recipe"))[:12]
            raise CollabpipeError(f"{path}: is of selection {found}, not {of.selection[:12]}. {REMEDY}")
        if json_digest(choice.get("definition")) != choice.get("digest"):
            raise CollabpipeError(f"{path}: was edited: this is not what was chosen. {REMEDY}")
        definitions[method], digests[method] = choice["definition"], choice["digest"]
    method = asked.undecided.method
    try:
        methods = read_methods(definitions)
        composition = compose(methods, method, asked.undecided.stages)
        if unfit := problem(composition, asked.network.stages):
            raise unfit.wrong(asked.network.kind)
    except Wrong as wrong:
        raise CollabpipeError(f"{method}: what was chosen does not go together. {TOGETHER} Here: {wrong}") from wrong
    update: dict[str, Any] = {"composition": composition, "undecided": None}
    if isinstance(asked, TrainRecipe):
        update["training"] = asked.training.model_copy(update=own_training(methods, method))
    return asked.model_copy(update=update), digests


def choose(recipe: SelectionRecipe, paths: Paths, keep: Keep = "all") -> None:
    """Write the choice. Unless all weights are kept those of the candidates go: only their records speak.

    Raises:
        CollabpipeError: a training is missing or of another recipe, or every candidate diverged.
    """
    path = paths.choice(recipe.dataset, recipe.noise, recipe.network, recipe.method)
    write_json(path, sealed(choice_of(recipe, paths)))
    if keep != "all":
        for run in (run for candidate in recipe.candidates for run, _ in candidate.runs):
            thin(run, paths, "none")


def choice_of(recipe: SelectionRecipe, paths: Paths) -> ChoiceRecord:
    """The candidate with the highest validation accuracy at the last epoch, a mean over seeds, and all that lost.

    Of equal candidates the first is taken; a candidate with a diverged training cannot win.

    Raises:
        CollabpipeError: a training is missing or of another recipe, or every candidate diverged.
    """
    scores, trainings = [], []
    for candidate in recipe.candidates:
        records = [_record(run, digest, paths) for run, digest in candidate.runs]
        scores.append([_validation_accuracy(record, paths) for record in records])
        trainings += [record["digest"] for record in records]
    means = [_mean(of_one) for of_one in scores]
    best = max((mean for mean in means if mean is not None), default=None)
    if best is None:
        raise CollabpipeError(f"{recipe.method} on {recipe.dataset}: every candidate diverged. Give other values.")
    chosen = recipe.candidates[means.index(best)]
    return {
        "recipe": recipe.digest,
        "method": recipe.method,
        "on": f"{recipe.on}: accuracy on noisy labels, last epoch",
        "chosen": means.index(best),
        "values": chosen.values,
        "definition": chosen.definition,
        # Of the outcome alone: the same choice from more candidates is the same input.
        "digest": json_digest(chosen.definition),
        "candidates": [
            {"values": c.values, "seeds": [run.seed for run, _ in c.runs], "accuracy": s, "mean": m}
            for c, s, m in zip(recipe.candidates, scores, means, strict=True)
        ],
        "trainings": trainings,
    }


def _mean(scores: list[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if len(known) == len(scores) else None


def _record(run: RunName, digest: str, paths: Paths) -> TrainingRecord:
    return training_record(read_recipe(paths.recipe(digest), TrainRecipe), paths.run(run))


def _validation_accuracy(record: TrainingRecord, paths: Paths) -> float | None:
    if record["status"] == "diverged":
        return None
    run = RunName.model_validate(record["run"])
    history = read_columns(paths.history(run), ["validation_accuracy"])
    return float(history.column(0)[-1].as_py())
