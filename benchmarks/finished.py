"""A finished study of any size in seconds: one run is trained, and each of the plan's runs is recorded as such a run.

The records are sealed and fit their recipes and one another, so that reconciliation takes them for current. Weights,
history and predictions are links to those of the one run; accuracies are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from collabpipe.cli import main
from collabpipe.common.files import read_json, sealed, write_json
from collabpipe.plan.paths import METRICS, PREDICTIONS, RECORD, TRAIN, TRAINING_FILES, Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe, training_digest
from collabpipe.results.records import evaluation_key


def run_command(name: str, recipe: Path, *options: str) -> None:
    """Run a command of the package in this process.

    Raises:
        RuntimeError: it failed.
    """
    if main([name, str(recipe), *options]) != 0:
        raise RuntimeError(f"collabpipe {name} {recipe} failed")


def finish(plan: Plan) -> None:
    """Put all artefacts of the plan into its results folder, up to the overhead table; the tables are left to make."""
    paths, shared = plan.paths, Paths(plan.results).options
    for data in plan.data.values():
        run_command("fetch", data.write(paths.recipes), *shared)
        run_command("prepare", data.write(paths.recipes), *shared)
    first = next(iter(plan.runs.values()))
    sums = _draw_labels(plan)
    run_command("train", first.write(paths.recipes), *paths.options)
    run_command("evaluate", first.write(paths.recipes), *paths.options)
    run_command("overhead", plan.overhead.write(paths.recipes), *paths.options, "--seconds", "0.1")
    record = read_json(paths.run(first.run) / RECORD)
    metrics = read_json(paths.evaluation(first.run) / METRICS)
    generator = np.random.default_rng(0)
    for recipe in plan.runs.values():
        recipe.write(paths.recipes)
        labels = sums[recipe.run.noise, recipe.run.seed]
        _record_run(plan, first, recipe, record, labels)
        _record_evaluation(plan, first, recipe, metrics, float(generator.normal(0.9, 0.02)))
    plan.study.write(paths.recipes)


def _draw_labels(plan: Plan) -> dict[tuple[str, int], str]:
    """Draw every label file; returns sums by noise and seed."""
    sums = {}
    for recipe in plan.labels.values():
        run_command("labels", recipe.write(plan.paths.recipes), *plan.paths.options)
        sums[recipe.noise_name, recipe.replicate] = read_json(plan.paths.label_files(recipe)[1])["sha256"]
    return sums


def _record_run(plan: Plan, first: TrainRecipe, recipe: TrainRecipe, like: dict[str, Any], labels: str) -> None:
    source, folder = plan.paths.run(first.run), plan.paths.run(recipe.run)
    inputs = {TRAIN: like["inputs"][TRAIN], "labels": labels}
    record = like | {"recipe": recipe.digest, "run": recipe.run.model_dump(), "inputs": inputs}
    record["key"] = recipe.key(inputs)
    record["digest"] = training_digest(record)
    _link(TRAINING_FILES, source, folder)
    write_json(folder / RECORD, sealed(record), durable=False)


def _record_evaluation(
    plan: Plan, first: TrainRecipe, recipe: TrainRecipe, like: dict[str, Any], accuracy: float
) -> None:
    source, folder = plan.paths.evaluation(first.run), plan.paths.evaluation(recipe.run)
    inputs = like["inputs"] | {"training": read_json(plan.paths.run(recipe.run) / RECORD)["digest"]}
    key = evaluation_key(inputs)
    scores = {which: like[which] | {"accuracy": accuracy} for which in ("last", "best")}
    _link([PREDICTIONS], source, folder)
    about = {"recipe": recipe.digest, "run": recipe.run.model_dump(), "inputs": inputs, "key": key, "digest": key}
    write_json(folder / METRICS, sealed(like | scores | about), durable=False)


def _link(names: Iterable[str], source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (folder / name).exists():
            (folder / name).hardlink_to(source / name)
