"""The tables command: a study's evaluated runs as one row a method, and one row a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from collabpipe.errors import CollabpipeError
from collabpipe.evaluation import training_record
from collabpipe.figures import draw_curves, draw_differences
from collabpipe.files import atomic_path, read_record, write_json, write_text
from collabpipe.paths import Paths
from collabpipe.plan import StudyRecipe
from collabpipe.recipe import RunName, TrainRecipe, read_recipe
from collabpipe.statistics import paired_difference

NOTE = (
    "Accuracies are percentages of the test set, means over n replicates at the last epoch (accuracy) and at the "
    "epoch that was best on noisy validation labels (best). Differences are percentage points, paired over "
    "replicates, with 95% t intervals: to the baseline and to the matched control, which has the same passes, "
    "dropout and loss scale without the agreement. With 3 replicates they are a demonstration, with 5 descriptive. "
    "The losses are this project's operationalisation of the paper's words (docs/methods.md)."
)


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with what its folder records."""

    recipe: TrainRecipe
    record: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def name(self) -> RunName:
        """The run's entities."""
        return self.recipe.run

    @property
    def finished(self) -> bool:
        """False for a diverged run, which has no accuracy."""
        return bool(self.metrics["status"] == "finished")


def read_runs(study: StudyRecipe, paths: Paths) -> list[EvaluatedRun]:
    """The study's runs with their records.

    Raises:
        CollabpipeError: a run is missing, of another recipe, or its metrics are of another training.
    """
    runs = []
    for name, digest in study.runs:
        folder = paths.run(name)
        recipe = read_recipe(paths.recipes / f"{digest}.json", TrainRecipe)
        record = training_record(recipe, folder)
        metrics = read_record(folder / "metrics.json", "Evaluate the run: collabpipe evaluate RECIPE.")
        if metrics.get("training") != record["digest"]:
            raise CollabpipeError(
                f"{folder / 'metrics.json'}: belongs to another training than {folder / 'record.json'}. "
                "Evaluate the run again: collabpipe evaluate RECIPE."
            )
        runs.append(EvaluatedRun(recipe, record, metrics))
    return runs


def main_table(study: StudyRecipe, runs: list[EvaluatedRun]) -> pd.DataFrame:
    """One row per (data set, noise, network, method), in the order of the configuration."""
    cells: dict[tuple[str, str, str, str], list[EvaluatedRun]] = {}
    for run in runs:
        cell = (run.name.dataset, run.name.noise, run.name.network, run.name.method)
        cells.setdefault(cell, []).append(run)
    last = {cell: _accuracies(found, "last") for cell, found in cells.items()}
    rows = []
    for cell, found in cells.items():
        *place, method = cell
        accuracy = pd.Series(last[cell], dtype=float)
        control = study.controls.get(f"{place[2]}/{method}")
        row: dict[str, Any] = dict(zip(("dataset", "noise", "network", "method"), cell, strict=True))
        row |= {
            "control": control or "",
            "n": len(accuracy),
            "accuracy_mean": accuracy.mean(),
            "accuracy_std": accuracy.std(),
            "best_mean": pd.Series(_accuracies(found, "best"), dtype=float).mean(),
        }
        for column, other in (("diff_baseline", study.baseline), ("diff_control", control)):
            known = last.get((*place, other)) if other and other != method else None  # type: ignore[arg-type]
            difference = paired_difference(last[cell], known or {})
            row |= {column: difference.mean, f"{column}_low": difference.low, f"{column}_high": difference.high}
        row["collapsed"] = sum(bool(run.metrics["collapsed"]) for run in found)
        row["diverged"] = sum(not run.finished for run in found)
        rows.append(row)
    return pd.DataFrame(rows)


def _accuracies(runs: list[EvaluatedRun], which: str) -> dict[int, float]:
    """Test accuracy in percent by seed, of the runs that finished."""
    return {run.name.seed: 100.0 * run.metrics[which]["accuracy"] for run in runs if run.finished}


def runs_table(runs: list[EvaluatedRun], paths: Paths) -> pd.DataFrame:
    """One row a run: its names, every hyper-parameter, its metrics, and where its recipe and artefacts lie."""
    rows = []
    for run in runs:
        asked = run.recipe.model_dump(mode="json", exclude={"run"})
        measured = {k: run.metrics[k] for k in ("last", "best", "collapsed", "status")}
        folder = paths.run(run.name)
        rows.append(
            {
                **run.name.model_dump(),
                "recipe": str(paths.recipes / f"{run.recipe.digest}.json"),
                "labels": str(paths.labels(run.recipe.labels)),
                "checkpoint": str(folder / "last.safetensors"),
                "history": str(folder / "history.parquet"),
                "commit": run.record["where"]["commit"],
                **_flat(asked),
                **_flat(measured),
            }
        )
    return pd.DataFrame(rows)


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots; lists as JSON."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(inner) if isinstance(inner, list) else inner
    return flat


def _for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """The main table with each difference and its interval in one cell."""
    shown = table[["dataset", "noise", "network", "method", "n"]].copy()
    shown["accuracy"] = [
        "" if m != m else f"{m:.2f}" if s != s else f"{m:.2f} ± {s:.2f}"
        for m, s in zip(table["accuracy_mean"], table["accuracy_std"], strict=True)
    ]
    shown["best"] = ["" if m != m else f"{m:.2f}" for m in table["best_mean"]]
    for column in ("diff_baseline", "diff_control"):
        parts = (table[column], table[f"{column}_low"], table[f"{column}_high"])
        shown[column.replace("diff_", "− ")] = [
            "" if m != m else f"{m:+.2f}" if low != low else f"{m:+.2f} [{low:+.2f}, {high:+.2f}]"
            for m, low, high in zip(*parts, strict=True)
        ]
    shown["matched control"] = table["control"]
    for column in ("collapsed", "diverged"):
        if table[column].any():
            shown[column] = table[column]
    return shown


def write_tables(study: StudyRecipe, paths: Paths) -> None:
    """Write the study's tables and figures, and the record of what they show.

    Raises:
        CollabpipeError: a run does not fit its recipe.
    """
    runs = read_runs(study, paths)
    table = main_table(study, runs)
    shown = _for_reading(table)
    write_text(paths.tables / "main.csv", table.to_csv(index=False, float_format="%.4f"))
    write_text(paths.tables / "main.md", f"{shown.to_markdown(index=False, disable_numparse=True)}\n\n{NOTE}\n")
    write_text(paths.tables / "main.tex", _latex(shown))
    with atomic_path(paths.tables / "runs.parquet") as temporary:
        runs_table(runs, paths).to_parquet(temporary, index=False)
    draw_differences(table, paths.figures / "differences.png")
    draw_curves([(run.name, paths.run(run.name) / "history.parquet") for run in runs], paths.figures / "curves.png")
    write_json(
        paths.tables / "record.json",
        {"study": study.digest, "name": study.study, "evaluations": [run.metrics["digest"] for run in runs]},
    )


def _latex(shown: pd.DataFrame) -> str:
    plain = shown.rename(columns=lambda name: name.replace("− ", "minus "))
    latex: str = plain.to_latex(index=False, escape=True, column_format="llllr" + "l" * (len(plain.columns) - 5))
    return latex.replace("±", r"$\pm$")
