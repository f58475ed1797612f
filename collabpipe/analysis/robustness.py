"""How methods do on further test sets: corrupted images, and images from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from collabpipe.analysis.formats import number, with_interval, with_spread
from collabpipe.analysis.intervals import paired_difference
from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.common.files import write_text
from collabpipe.plan.paths import ROBUSTNESS_CSV, ROBUSTNESS_MD
from collabpipe.plan.study_recipes import StudyRecipe

NAMES = ("dataset", "noise", "network", "method", "test_set")
NONE = "The data sets of this study name no further test sets (test_on).\n"
NOTE = """\
Accuracies are percentages at the last epoch, means over n replicates: of the data set's own test images (clean) and of
the further test set (accuracy). The difference to the baseline is paired over replicates, with a 95% t interval. Of
`corruptions`, the accuracy is the mean over corruptions of the mean over severities, also shown for each corruption.
100 - accuracy is the mean corruption error of Hendrycks and Dietterich (2019) without its division by AlexNet's errors.
A diverged run counts as in the main table (docs/robustness.md).
"""


@dataclass(frozen=True)
class Tested:
    """A method's runs on a further test set, by seed: on their own test images, and on the further ones."""

    place: tuple[str, str, str]
    method: str
    test_set: str
    clean: dict[int, EvaluatedRun]
    runs: dict[int, EvaluatedRun]

    @property
    def corruptions(self) -> pd.DataFrame:
        """Accuracy (%) by corruption, severity and seed of the runs that did not diverge; none of other test sets."""
        rows = [
            (kind, int(severity), seed, 100.0 * share)
            for seed, run in self.runs.items()
            if run.finished
            for kind, of_kind in run.metrics.get("corruptions", {}).items()
            for severity, share in of_kind.items()
        ]
        return pd.DataFrame(rows, columns=["corruption", "severity", "seed", "accuracy"])


def tested_methods(runs: Sequence[EvaluatedRun]) -> list[Tested]:
    """Each method on each further test set, in the order of the configuration."""
    found: dict[tuple[str, ...], Tested] = {}
    for run in runs:
        name = run.name
        for test_set in run.further:
            place = (name.dataset, name.noise, name.network)
            one = found.setdefault((*place, name.method, test_set), Tested(place, name.method, test_set, {}, {}))
            one.clean[name.seed], one.runs[name.seed] = run, run.further[test_set]
    return list(found.values())


def robustness_table(study: StudyRecipe, runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """A row per method and further test set."""
    methods = tested_methods(runs)
    accuracies = {(*one.place, one.test_set, one.method): _accuracies(one.runs) for one in methods}
    rows = []
    for one in methods:
        own = accuracies[*one.place, one.test_set, one.method]
        baseline = accuracies.get((*one.place, one.test_set, study.baseline or ""), {})
        to_baseline = paired_difference(own, baseline if one.method != study.baseline else {})
        values = pd.Series(own, dtype=float)
        rows.append(
            dict(zip(NAMES, (*one.place, one.method, one.test_set), strict=True))
            | {
                "n": len(own),
                "clean_mean": np.mean(list(_accuracies(one.clean).values())),
                "accuracy_mean": values.mean(),
                "accuracy_std": values.std(),
                "diff_baseline": to_baseline.mean,
                "diff_baseline_low": to_baseline.low,
                "diff_baseline_high": to_baseline.high,
            }
            | dict(_parts(one.corruptions))
        )
    return pd.DataFrame(rows)


def _accuracies(runs: dict[int, EvaluatedRun]) -> dict[int, float]:
    return {seed: run.accuracy("last") for seed, run in runs.items()}


def _parts(corruptions: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Mean accuracies by severity, then by corruption, over the runs that did not diverge."""
    for column in ("severity", "corruption"):
        for value, mean in corruptions.groupby(column, sort=False)["accuracy"].mean().items():
            yield (f"severity_{value}" if column == "severity" else str(value)), float(mean)


def write_robustness(study: StudyRecipe, runs: Sequence[EvaluatedRun], folder: Path) -> None:
    """Write robustness.csv and robustness.md into `folder`; without further test sets they say so."""
    table = robustness_table(study, runs)
    columns = table if len(table) else pd.DataFrame(columns=list(NAMES))
    write_text(folder / ROBUSTNESS_CSV, columns.to_csv(index=False, float_format="%.4f"))
    write_text(folder / ROBUSTNESS_MD, f"{_for_reading(table)}\n\n{NOTE}" if len(table) else NONE)


def _for_reading(table: pd.DataFrame) -> str:
    shown = table[[*NAMES, "n"]].rename(columns={"test_set": "test set"})
    shown["clean"] = [f"{mean:.2f}" for mean in table["clean_mean"]]
    pairs = zip(table["accuracy_mean"], table["accuracy_std"], strict=True)
    shown["accuracy"] = [with_spread(*pair) for pair in pairs]
    parts = (table["diff_baseline"], table["diff_baseline_low"], table["diff_baseline_high"])
    shown["− baseline"] = [with_interval(*part) for part in zip(*parts, strict=True)]
    for column in table.columns[table.columns.get_loc("diff_baseline_high") + 1 :]:  # type: ignore[operator]
        if not column.startswith("severity_"):
            shown[column.replace("_", " ")] = [number(mean, ".1f") for mean in table[column]]
    return str(shown.to_markdown(index=False, disable_numparse=True))


def severity_table(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """A row per cell, method, severity and seed of runs on corruptions that did not diverge: accuracy in percent.

    It is the mean over corruptions; severity 0 are the data set's own test images.
    """
    rows = []
    for one in tested_methods(runs):
        found = one.corruptions
        clean = [(0, seed, one.clean[seed].accuracy("last")) for seed in found["seed"].unique()]
        means = found.groupby(["severity", "seed"])["accuracy"].mean().reset_index()
        rows += [(*one.place, one.method, *row) for row in (*clean, *means.itertuples(index=False, name=None))]
    return pd.DataFrame(rows, columns=[*NAMES[:4], "severity", "seed", "accuracy"])
