"""Collects the small files of a finished study for a page: `python docs/results/collect.py results/STUDY FOLDER`.

Copies tables and figures of the pipeline, and writes beside them what a reader of the page wants to recompute: every
run's accuracies, every candidate's score, mean histories, what was spent; and one figure. If a name that ends in .csv
stands in place of FOLDER, every run's accuracies go there and nothing else is written; of a study that is not finished,
those in its partial tables (`collabpipe tables --partial`). It trains nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

from collabpipe.analysis.intervals import t_interval

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COPIED = [f"tables/{name}" for name in ("main.csv", "claims.csv", "claims.md", "noise.csv")]
COPIED += ["overhead/overhead.csv", *(f"figures/{name}.png" for name in ("differences", "curves", "transitions"))]
SHOWN = ["baseline", "baseline_tuned", "one_pass", "combined_control", "combined_control_tuned"]
SHOWN += ["output", "intermediate", "representation", "kernel", "combined", "multi_head", "gjs", "elr"]
PLACE = ["noise", "method", "seed"]


def by_run(results: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracies in percent of every run, with the share of flipped labels that it fitted; mean histories by method."""
    whole, partial = (results / place / "runs.parquet" for place in ("tables", "tables/partial"))
    runs = pd.read_parquet(whole if whole.exists() else partial)
    histories = []
    for run in runs.to_dict("records"):
        folder = (
            results / "runs" / run["dataset"] / run["noise"] / run["network"] / run["method"] / f"seed{run['seed']}"
        )
        history = pd.read_parquet(folder / "history.parquet")[["epoch", "validation_accuracy", "memorised"]]
        histories.append(history.dropna(subset=["validation_accuracy"]).assign(**{key: run[key] for key in PLACE}))
    history = pd.concat(histories)
    accuracies = runs[PLACE].assign(
        last=100 * runs["last.accuracy"], best=100 * runs["best.accuracy"], best_epoch=runs["best.epoch"].astype(int)
    )
    at_the_end = history[history.epoch == history.epoch.max()][[*PLACE, "memorised"]]
    means = history.groupby(["noise", "method", "epoch"], as_index=False)[["validation_accuracy", "memorised"]].mean()
    return accuracies.merge(at_the_end, on=PLACE).round(4), means.round(4)


def candidates(results: Path) -> Iterator[dict[str, Any]]:
    """A row per searched method and candidate: its values, its accuracy on noisy validation labels, whether chosen."""
    for path in sorted((results / "selection").glob("*/*/*/*.json")):
        choice = json.loads(path.read_text())
        for number, one in enumerate(choice["candidates"]):
            values = " ".join(f"{key}={value}" for key, value in one["values"].items())
            row = {"noise": path.parent.parent.name, "method": path.stem, "candidate": number, "values": values}
            # A candidate of which a seed diverged has no mean and is never chosen.
            scores = {f"seed{seed}": score for seed, score in zip(one["seeds"], one["accuracy"], strict=True)}
            yield row | {"mean": one["mean"]} | scores | {"chosen": number == choice["chosen"]}


def spent(results: Path) -> dict[str, Any]:
    """What the trainings cost and where they ran, from their provenance; a training that several runs share once."""
    files = sorted((results / "provenance" / "runs").rglob("*.json"))
    known = {one["training"]: one for one in (json.loads(path.read_text()) for path in files)}
    records = list(known.values())
    return {
        "runs_and_candidates": len(files),
        "distinct_trainings": len(records),
        "training_hours": round(sum(one["cost"]["seconds"] for one in records) / 3600, 2),
        "steps": sum(one["cost"]["steps"] for one in records),
        "first_finished": min(one["finished"] for one in records),
        "last_finished": max(one["finished"] for one in records),
        **{key: sorted({one[key] for one in records}) for key in ("commit", "device", "python")},
        "packages": sorted({f"{name} {at}" for one in records for name, at in one["packages"].items() if at}),
    }


def draw(accuracies: pd.DataFrame, main: pd.DataFrame, out: Path) -> None:
    """Paired differences to the rival with 95% intervals: last epoch filled, best-on-validation epoch hollow."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True)
    regimes = {"none": "few labels, all right", "symmetric_inclusive-0.5": "half of the labels wrong"}
    for axis, (noise, title) in zip(axes, regimes.items(), strict=True):
        here = accuracies[accuracies.noise == noise].set_index(["method", "seed"])
        rival = main[(main.noise == noise) & (main.method == "combined")].rival.item().split()[0]
        for epoch, shift, face in (("last", -0.15, "tab:blue"), ("best", 0.15, "white")):
            gains = [t_interval((here.loc[name][epoch] - here.loc[rival].best).to_numpy()) for name in SHOWN]
            means = [gain.mean for gain in gains]
            halves = [(gain.high - gain.low) / 2 if gain.high > gain.low else 0.0 for gain in gains]
            rows = [row + shift for row in range(len(SHOWN))]
            axis.errorbar(means, rows, xerr=halves, fmt="o", ms=4, color="tab:blue", mfc=face, label=f"{epoch} epoch")
        axis.axvline(0, color="grey", lw=0.8)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"points of test accuracy above {rival}, best epoch", fontsize=9)
    axes[0].set_yticks(range(len(SHOWN)), SHOWN, fontsize=9)
    axes[0].invert_yaxis()
    axes[0].locator_params(axis="x", nbins=6)
    axes[1].legend(fontsize=8, loc="lower left")
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def collect(results: Path, out: Path) -> None:
    """Writes all of it into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(results / name, out / Path(name).name)
    accuracies, means = by_run(results)
    accuracies.to_csv(out / "accuracies.csv", index=False)
    means.to_csv(out / "histories.csv", index=False)
    pd.DataFrame(candidates(results)).round(5).to_csv(out / "choices.csv", index=False)
    (out / "spent.json").write_text(json.dumps(spent(results), indent=2) + "\n")
    draw(accuracies, pd.read_csv(out / "main.csv", keep_default_na=False), out / "summary.png")


if __name__ == "__main__":
    study, target = Path(sys.argv[1]), Path(sys.argv[2])
    if target.suffix == ".csv":
        by_run(study)[0].to_csv(target, index=False)
    else:
        collect(study, target)
