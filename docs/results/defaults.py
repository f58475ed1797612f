"""The defaults of the methods, as `config/evidence.yaml` chose them: `python docs/results/defaults.py`.

It reads `evidence/choices.csv` alone, so accuracies on noisy validation labels and no test image. A method has one
default, but the study has two regimes, whose choices differ. So one rule chooses for both: of the candidates of a
search, the one whose validation accuracy, as a share of the best one in its regime, is highest in the mean over the two
regimes. A candidate that diverged is never chosen. Of equal ones, the smaller weight is chosen.

- `SEARCHES` names the search that sets the keys of a kind. Its candidates, variants among them, ran with equal passes.
- `WEIGHTS` names the search that sets the weight of a variant: the one that ran it with the passes that the kind has
  by default, else the only one that has it.

What the study did not search keeps its default: heads, splits, temperatures, and the kinds that it lacks. A learning
rate and a weight decay belong to the study's `training`, so the search of the baseline sets no default. A matched
control takes its rates from its method, so the searches of the controls set none either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

CHOICES = Path(__file__).parent / "evidence" / "choices.csv"
REGIMES = {"none": "few labels", "symmetric_inclusive-0.5": "half wrong"}
SEARCHES = {
    # Without smoothing, the choice of one_pass is one of dropout too.
    "dropout": "one_pass",
    "one_pass": "one_pass",
    "output": "output",
    "intermediate": "intermediate",
    "representation": "representation",
    "kernel": "kernel",
    "combined": "combined",
    "multi_head": "multi_head",
    "temporal": "temporal",
    "gjs": "gjs",
    # The matched control of gjs.
    "js": "gjs",
    "elr": "elr",
}
WEIGHTS = {
    ("output", "symmetric_kl"): "output_late",
    ("intermediate", "virtual"): "intermediate",
    ("intermediate", "partition"): "partition",
    ("intermediate", "to_output"): "to_output_alone",
    ("representation", "spatial"): "spatial_alone",
    ("kernel", "rows"): "kernel_alone",
    ("kernel", "self_convolution"): "kernel_alone",
}


def read() -> pd.DataFrame:
    """A row per search and candidate: its values as they are in a configuration, its accuracy in each regime."""
    rows = pd.read_csv(CHOICES, keep_default_na=False, na_values=[""])
    scores = rows.pivot(index=["method", "candidate", "values"], columns="noise", values="mean").reset_index()
    values = [dict(pair.split("=") for pair in one.split()) for one in scores["values"]]
    return scores.assign(values=[{key: yaml.safe_load(value) for key, value in one.items()} for one in values])


def candidates(scores: pd.DataFrame, search: str, variant: str | None = None) -> pd.DataFrame:
    """Those of a search; of one variant, where the search has several and one is given."""
    found = scores[scores.method == search]
    return found if variant is None else found[[one.get("variant", variant) == variant for one in found["values"]]]


def best(scores: pd.DataFrame, search: str, variant: str | None = None) -> dict[str, Any]:
    """The candidate that the rule chooses."""
    found = candidates(scores, search, variant)
    regimes = found[list(REGIMES)]
    found = found.assign(
        relative=(regimes / regimes.max()).mean(axis=1, skipna=False),
        weight=[one.get("weight", 0.0) for one in found["values"]],
    )
    chosen = found.dropna(subset=["relative"]).sort_values(["relative", "weight"], ascending=[False, True])
    return {str(key): value for key, value in chosen.iloc[0].items()}


def defaults() -> dict[str, dict[str, Any]]:
    """By kind, what the study's choices set; the weight is that of the variant chosen."""
    scores = read()
    found = {kind: best(scores, search)["values"] for kind, search in SEARCHES.items()}
    for (kind, variant), search in WEIGHTS.items():
        if found[kind].get("variant", variant) == variant:
            found[kind] = found[kind] | {"weight": best(scores, search, variant)["values"]["weight"]}
    return found


def weights() -> dict[tuple[str, str], float]:
    """By kind and variant, the weight that the study's choices set."""
    scores = read()
    return {key: best(scores, search, key[1])["values"]["weight"] for key, search in WEIGHTS.items()}


def table() -> str:
    """As Markdown: each default, the search it comes from, and its scores beside the best that it is compared with."""
    scores = read()
    lines = [f"| kind | default | search | {' | '.join(REGIMES.values())} | mean share |", "|---|---|---|---|---|---|"]
    rows = [(kind, search, None) for kind, search in SEARCHES.items()]
    rows += [(f"{kind}, the weight of {variant}", search, variant) for (kind, variant), search in WEIGHTS.items()]
    for name, search, variant in rows:
        chosen = best(scores, search, variant)
        # The weight of a kind whose variants have weights is in a row of its own.
        own = {"weight"} if any(kind == name for kind, _ in WEIGHTS) else {"variant"}
        values = ", ".join(f"`{key}` {value}" for key, value in chosen["values"].items() if key not in own)
        most = candidates(scores, search, variant)[list(REGIMES)].max()
        cells = [f"{100 * chosen[regime]:.2f} of {100 * most[regime]:.2f}" for regime in REGIMES]
        lines.append(f"| {name} | {values} | `{search}` | {' | '.join(cells)} | {chosen['relative']:.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
