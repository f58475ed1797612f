"""The tables command: a study's evaluated runs with one row per method, and with one row per run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from collabpipe.analysis.formats import number, with_interval, with_spread
from collabpipe.analysis.intervals import paired_difference
from collabpipe.analysis.rivals import RivalChoice, by_place, shown_rival
from collabpipe.analysis.robustness import write_robustness
from collabpipe.analysis.runs import EvaluatedRun, further_runs, read_runs
from collabpipe.analysis.variance import write_variance
from collabpipe.analysis.verdicts import write_claims
from collabpipe.common.files import atomic_path, file_digest, read_record, seal_of, sealed, write_json, write_text
from collabpipe.common.whereabouts import whereabouts
from collabpipe.plan.paths import (
    MAIN_CSV,
    MAIN_MD,
    MAIN_TEX,
    NOISE_CSV,
    OVERHEAD_CSV,
    OVERHEAD_RECORD,
    RECORD,
    RUNS_TABLE,
    SUMMARY_JSON,
    TABLE_FILES,
    WEIGHTS,
    Paths,
    files_in,
)
from collabpipe.plan.record_types import LabelsRecord, OverheadRecord, ShownRecord, TablesProvenance
from collabpipe.plan.study_recipes import StudyRecipe
from collabpipe.results.provenance import note

NOTE = (
    "Accuracies are percentages of the test set, means over n replicates at the last epoch (accuracy) and at the epoch "
    "that was best on noisy validation labels (best; empty where these were trained on too). A diverged run counts as "
    "the claims' file declares: as chance, unless it says otherwise. Differences are percentage points, paired over "
    "replicates, with 95% t intervals (equal differences have none): to the baseline; to the matched control, which "
    "has the same passes, dropout and loss scale without the agreement; and to the rival, of the methods of one pass "
    "that {named_by} names the one that is best on noisy validation labels. With 3 replicates they are a "
    "demonstration, with 5 descriptive. The losses are this project's operationalisation of the paper's words "
    "(docs/methods.md)."
)


SUMMARY = {
    "accuracy": "accuracy_mean",
    "best": "best_mean",
    "to_baseline": "diff_baseline",
    "to_control": "diff_control",
    "to_rival": "diff_rival",
}
"""Keys of summary.json and the columns of the main table that they show."""


FURTHER = {"auc": ("AUC", 1, 4), "group_accuracy": ("accuracy of groups", 100, 2), "group_auc": ("AUC of groups", 1, 4)}
"""Metrics that only some data sets have: their title, what the table counts them in, and the digits to read."""


def main_table(study: StudyRecipe, runs: list[EvaluatedRun], paths: Paths) -> pd.DataFrame:
    """One row per (data set, noise, network, method), in the order of the configuration.

    Where claims name rivals, their validation accuracies are read from the runs in `paths`.
    """
    cells: dict[tuple[str, str, str, str], list[EvaluatedRun]] = {}
    for run in runs:
        cell = (run.name.dataset, run.name.noise, run.name.network, run.name.method)
        cells.setdefault(cell, []).append(run)
    at = {epoch: {cell: _accuracies(found, epoch) for cell, found in cells.items()} for epoch in ("last", "best")}
    last = at["last"]
    rivals = RivalChoice(by_place(runs), paths)
    rows = []
    for cell, found in cells.items():
        *place, method = cell
        accuracy = pd.Series(last[cell], dtype=float)
        control = study.controls.get(f"{place[2]}/{method}")
        where = "/".join(place)
        rival = rivals.of(method, where, "last", study.rivals_at(where))
        row: dict[str, Any] = dict(zip(("dataset", "noise", "network", "method"), cell, strict=True))
        row |= {
            "control": control or "",
            "rival": shown_rival(rival) if rival else "",
            "n": len(accuracy),
            "accuracy_mean": accuracy.mean(),
            "accuracy_std": accuracy.std(),
            "best_mean": pd.Series(at["best"][cell], dtype=float).mean(skipna=False),
        }
        last_metrics = [run.last for run in found if run.finished]
        for metric, (_, unit, _) in FURTHER.items():
            values = pd.Series([unit * known[metric] for known in last_metrics if metric in known], dtype=float)
            if len(values):
                row |= {f"{metric}_mean": values.mean(), f"{metric}_std": values.std()}
        compared = {"diff_baseline": (study.baseline, "last"), "diff_control": (control, "last"), "diff_rival": rival}
        for column, other in compared.items():
            name, epoch = other or (None, "last")
            known = at[epoch].get((*place, name)) if name and name != method else None  # type: ignore[arg-type]
            difference = paired_difference(last[cell], known or {})
            row |= {column: difference.mean, f"{column}_low": difference.low, f"{column}_high": difference.high}
        row["collapsed"] = sum(bool(run.metrics["collapsed"]) for run in found)
        row["diverged"] = sum(not run.finished for run in found)
        rows.append(row)
    return pd.DataFrame(rows)


def _accuracies(runs: list[EvaluatedRun], which: str) -> dict[int, float]:
    """Test accuracy in percent by seed."""
    return {run.name.seed: run.accuracy(which) for run in runs}


def runs_table(runs: list[EvaluatedRun], paths: Paths) -> pd.DataFrame:
    """One row per run: its names, every hyper-parameter, its metrics, and the paths of its recipe and artefacts."""
    rows = []
    for run in runs:
        asked = run.recipe.model_dump(mode="json", exclude={"run", "undecided"})
        measured = {k: run.metrics[k] for k in ("last", "best", "collapsed", "status")}
        folder = paths.run(run.name)
        shown = paths.shown(folder)
        rows.append(
            {
                **run.name.model_dump(),
                "recipe": paths.shown(paths.recipe(run.recipe.digest)),
                "labels": paths.shown(paths.labels(run.recipe.labels)),
                "checkpoint": f"{shown}/{WEIGHTS['last']}",
                "history": paths.shown(paths.history(run.name)),
                "provenance": paths.shown(paths.provenance(folder)),
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
    shown["accuracy"] = [with_spread(*pair) for pair in zip(table["accuracy_mean"], table["accuracy_std"], strict=True)]
    for metric, (title, _, digits) in FURTHER.items():
        if f"{metric}_mean" in table:
            shown[title] = [number(mean, f".{digits}f") for mean in table[f"{metric}_mean"]]
    shown["best"] = [number(mean) for mean in table["best_mean"]]
    for column in ("diff_baseline", "diff_control", "diff_rival"):
        if column == "diff_rival" and not table["rival"].any():
            continue
        parts = (table[column], table[f"{column}_low"], table[f"{column}_high"])
        shown[column.replace("diff_", "− ")] = [with_interval(*part) for part in zip(*parts, strict=True)]
    shown["matched control"] = table["control"]
    for column in ("rival", "collapsed", "diverged"):
        if table[column].any():
            shown[column] = table[column]
    return shown


def noise_table(runs: list[EvaluatedRun], paths: Paths) -> tuple[pd.DataFrame, list[tuple[str, LabelsRecord]]]:
    """One row per label file, with its true rate; and for the figure the first replicate of each noise, by its name."""
    rows: list[dict[str, Any]] = []
    shown: dict[str, LabelsRecord] = {}
    for recipe in {run.recipe.labels.digest: run.recipe.labels for run in runs}.values():
        path, record = paths.label_files(recipe)
        about: LabelsRecord = read_record(record, f"Make it: {paths.command('labels', recipe)}")
        names = {"dataset": recipe.data.dataset, "noise": recipe.noise_name, "seed": recipe.replicate}
        rows.append(
            {
                **names,
                "images": about["images"],
                "validation": about["validation"],
                "rate_asked": about["rate_asked"],
                "true_rate": about["true_rate"],
                "true_rate_training": about["true_rate_training"],
                "sha256": about["sha256"],
                "labels": paths.shown(path),
            }
        )
        if recipe.noise.kind != "none":
            shown.setdefault(f"{recipe.data.dataset}, {recipe.noise_name}", about)
    return pd.DataFrame(rows), list(shown.items())


def write_tables(study: StudyRecipe, paths: Paths, partial: bool = False) -> None:
    """Write the study's tables, and the record of what they show.

    With `partial` they are made from the runs that are finished, and lie in `partial` below the tables.

    Raises:
        CollabpipeError: a run does not fit its recipe; with `partial`, none does.
    """
    runs = read_runs(study, paths, partial)
    tables = paths.partial(paths.tables) if partial else paths.tables
    assemble_tables(study, runs, paths, tables)
    write_record(tables, TABLE_FILES, study, runs)
    # Measured times are no part of what is equal from run to run, and yet the tables are of these.
    where: TablesProvenance = {**whereabouts("cpu"), "overhead": seal_of(paths.overhead / OVERHEAD_RECORD)}
    note(paths, tables, where)


def write_record(
    folder: Path,
    names: Sequence[str],
    study: StudyRecipe,
    runs: list[EvaluatedRun],
    texts: dict[str, str] | None = None,
) -> None:
    """Write `record.json` in `folder`: what the other files `names` there show, and their sums.

    `texts`: of each figure, for readers of screens.
    """
    record: ShownRecord = {
        "study": study.digest,
        "name": study.study,
        "evaluations": [run.metrics["digest"] for run in (*runs, *further_runs(runs))],
        "files": {file.name: file_digest(file) for file in files_in(folder, names) if file.name != RECORD},
    }
    if texts is not None:
        record["alternatives"] = texts
    write_json(folder / RECORD, sealed(record))


def assemble_tables(study: StudyRecipe, runs: list[EvaluatedRun], paths: Paths, folder: Path) -> None:
    """Write all tables of the study's evaluated `runs` into `folder`: the same bytes from the same runs."""
    table = main_table(study, runs, paths)
    shown = _for_reading(table)
    missing = len(study.runs) - len(runs)
    note = ""
    if missing:
        note = (
            f"Unfinished: {len(runs)} of the study's {len(study.runs)} runs are evaluated; n says how many of each.\n\n"
        )
        planned = Counter((run.dataset, run.noise, run.network, run.method) for run, _ in study.runs)
        cells = zip(*(table[c] for c in ("dataset", "noise", "network", "method")), strict=True)
        shown["n"] = [f"{n} of {planned[cell]}" for n, cell in zip(table["n"], cells, strict=True)]
    write_text(folder / MAIN_CSV, table.to_csv(index=False, float_format="%.4f"))
    markdown = shown.to_markdown(index=False, disable_numparse=True)
    about = NOTE.format(named_by="the study" if study.rival else "the claims' file")
    write_text(folder / MAIN_MD, f"{note}{markdown}\n\n{about}\n")
    write_text(folder / MAIN_TEX, _latex(shown))
    with atomic_path(folder / RUNS_TABLE) as temporary:
        runs_table(runs, paths).to_parquet(temporary, index=False)
    write_text(folder / NOISE_CSV, noise_table(runs, paths)[0].to_csv(index=False))
    write_robustness(study, runs, folder)
    write_variance(runs, folder)
    write_json(folder / SUMMARY_JSON, summary(table))
    write_claims(study.claims, study, runs, read_costs(study, paths), paths, folder)


def summary(table: pd.DataFrame) -> dict[str, Any]:
    """The main table's accuracies and differences as nested keys, which two revisions are compared by."""
    nested: dict[str, Any] = {}
    for row in table.to_dict("records"):
        place = nested
        for name in ("dataset", "noise", "network"):
            place = place.setdefault(str(row[name]), {})
        place[str(row["method"])] = {
            name: round(float(row[column]), 4) for name, column in SUMMARY.items() if row[column] == row[column]
        }
    return nested


def read_costs(study: StudyRecipe, paths: Paths) -> pd.DataFrame | None:
    """The study's overhead table with its data set and the seconds of each round; None before it is measured."""
    path = paths.overhead / OVERHEAD_RECORD
    if not path.exists():
        return None
    record: OverheadRecord = read_record(path)
    about = record.get("about")
    if not about or about.get("recipe") != study.overhead:
        return None
    costs = pd.read_csv(paths.overhead / OVERHEAD_CSV)
    names = [f"{n}/{m}" for n, m in zip(costs["network"], costs["method"], strict=True)]
    rounds: list[Any] = [record["rounds"][name] for name in names]
    return costs.assign(dataset=about["data"], rounds=rounds)


def _latex(shown: pd.DataFrame) -> str:
    plain = shown.rename(columns=lambda name: name.replace("− ", "minus "))
    latex: str = plain.to_latex(index=False, escape=True, column_format="llllr" + "l" * (len(plain.columns) - 5))
    return latex.replace("±", r"$\pm$")
