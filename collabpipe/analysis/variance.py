"""Where the variance of accuracies comes from, in a study that crosses the seeds of noise and of initialisation.

Two-way random effects with one run for each pair of seeds: the accuracy is a mean, plus an effect of the noise seed,
plus an effect of the initialisation seed, plus what is left: their interaction and every other source of randomness.
The components are estimated from the mean squares (Searle, Casella and McCulloch, 1992); one below 0 counts 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.common.files import write_text
from collabpipe.plan.paths import VARIANCE_CSV, VARIANCE_MD

PARTS = ("noise", "initialisation", "residual")
CELL = ("dataset", "noise", "network", "method")
COLUMNS = (*CELL, "noise_seeds", "initialisation_seeds", "accuracy_mean")
NOTE = (
    "Test accuracy at the last epoch in percent. Standard deviations are in points and shares in percent of the sum of "
    "the variances: over seeds of the label noise, over seeds of the initialisation, and the residual, which holds "
    "their interaction and all randomness that follows the run's own seed. With few seeds they are rough."
)
NONE = (
    "No method of this study has one finished run for each pair of a noise seed and an initialisation seed, so the "
    "variance cannot be divided. The key `replicates` crosses them (config/README.md)."
)


def components(accuracies: NDArray[np.float64]) -> tuple[float, float, float]:
    """The variances of rows, columns and residual of a complete table (a, b) of single observations, a and b from 2."""
    a, b = accuracies.shape
    rows, columns, mean = accuracies.mean(1), accuracies.mean(0), accuracies.mean()
    residual = ((accuracies - rows[:, None] - columns + mean) ** 2).sum() / ((a - 1) * (b - 1))
    of_rows, of_columns = max(0.0, rows.var(ddof=1) - residual / b), max(0.0, columns.var(ddof=1) - residual / a)
    return float(of_rows), float(of_columns), float(residual)


def variance_table(runs: Sequence[EvaluatedRun]) -> pd.DataFrame:
    """One row per (data set, noise, network, method) whose finished runs cross the two seeds; of others none."""
    cells: dict[tuple[str, ...], list[EvaluatedRun]] = {}
    for run in runs:
        cells.setdefault(tuple(getattr(run.name, part) for part in CELL), []).append(run)
    rows = []
    for cell, found in cells.items():
        table = _crossed(found)
        if table is None:
            continue
        variances = components(table)
        total = sum(variances)
        row = dict(zip(COLUMNS, (*cell, *table.shape, table.mean()), strict=True))
        row |= {f"{part}_std": variance**0.5 for part, variance in zip(PARTS, variances, strict=True)}
        shares = (100.0 * variance / total if total else float("nan") for variance in variances)
        rows.append(row | {f"{part}_share": share for part, share in zip(PARTS, shares, strict=True)})
    columns = [*COLUMNS, *(f"{part}_{what}" for what in ("std", "share") for part in PARTS)]
    return pd.DataFrame(rows, columns=columns)


def _crossed(runs: Sequence[EvaluatedRun]) -> NDArray[np.float64] | None:
    """Accuracies in percent by noise seed and initialisation seed; None unless there is one run for each pair."""
    pairs = {
        (run.recipe.labels.seeds.noise, run.recipe.seeds.initialisation): 100.0 * run.last["accuracy"]
        for run in runs
        if run.finished
    }
    noise, initialisation = (tuple(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    if (
        len(pairs) != len(runs)
        or len(pairs) != len(noise) * len(initialisation)
        or min(len(noise), len(initialisation)) < 2
    ):
        return None
    return np.array([[pairs[first, second] for second in initialisation] for first in noise])


def write_variance(runs: Sequence[EvaluatedRun], folder: Path) -> None:
    """Write variance.csv and variance.md."""
    table = variance_table(runs)
    write_text(folder / VARIANCE_CSV, table.to_csv(index=False, float_format="%.4f"))
    shown = table.to_markdown(index=False, floatfmt=".2f")
    write_text(folder / VARIANCE_MD, f"{shown}\n\n{NOTE}\n" if len(table) else f"{NONE}\n")
