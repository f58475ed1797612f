"""The choice of a rival, where runs keep validation images and where they train on them too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collabpipe.analysis.rivals import RivalChoice, by_place, shown_rival
from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.common.files import sealed, write_json
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.record_types import MetricsRecord, TrainingRecord
from collabpipe.settings.claims import Rival
from collabpipe.settings.study import check_settings
from tests.workspaces import altered

SELECT = {"seeds": [100], "carry": {"pair-0.4": "symmetric-0.5"}}
CONFIG = altered(
    {
        "noise": ["symmetric-0.5", "pair-0.4"],
        "methods": {
            "dropout": {"drop": [0.2, 0.5], "select": SELECT},
            "label_smoothing": {"smoothing": [0.1, 0.3], "select": SELECT},
        },
    }
)
NAMED = tuple(Rival(method=name) for name in ("baseline", "dropout", "label_smoothing"))


def runs_of(paths: Paths, histories: dict[str, list[float]], best: bool = True) -> list[EvaluatedRun]:
    """Evaluated runs of the plan with these validation accuracies by method, with a best epoch or without one."""
    runs = []
    for recipe in Plan(check_settings(CONFIG, {}), paths.root).runs.values():
        if recipe.run.method not in histories:
            continue
        recipe.write(paths.recipes)
        path = paths.run(recipe.run) / "history.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"validation_accuracy": histories[recipe.run.method]}), path)
        metrics: dict[str, Any] = {"status": "finished", "last": {"accuracy": 0.5}}
        metrics["best"] = {"accuracy": 0.6} if best else None
        runs.append(
            EvaluatedRun(recipe, cast(TrainingRecord, {"recipe": recipe.digest}), cast(MetricsRecord, metrics), 10.0)
        )
    return runs


@pytest.mark.parametrize(("epoch", "chosen"), [("last", "dropout"), ("best", "label_smoothing")])
def test_the_best_on_validation_images_at_the_readings_epoch(tmp_path: Path, epoch: str, chosen: str) -> None:
    paths = Paths(tmp_path, "rivals")
    histories = {"baseline": [0.3, 0.2], "dropout": [0.35, 0.4], "label_smoothing": [0.5, 0.1]}
    choice = RivalChoice(by_place(runs_of(paths, histories)), paths)

    assert choice.of("output", "digits/pair-0.4/resnet8", epoch, NAMED) == (chosen, epoch)
    assert choice.of(chosen, "digits/pair-0.4/resnet8", epoch, NAMED) != (chosen, epoch), "no method is its own rival"
    assert choice.of("output", "elsewhere/none/resnet8", epoch, NAMED) is None


def test_where_all_images_are_trained_on_the_choice_of_hyper_parameters_speaks(tmp_path: Path) -> None:
    paths = Paths(tmp_path, "rivals")
    nothing = {one.method: [math.nan] for one in NAMED}
    runs = runs_of(paths, nothing, best=False)
    for method, mean in (("dropout", 0.4), ("label_smoothing", 0.45)):
        path = paths.choice("digits", "symmetric-0.5", "resnet8", method)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, sealed({"chosen": 1, "candidates": [{"mean": 0.9}, {"mean": mean}]}))
    choice = RivalChoice(by_place(runs), paths)

    named = (Rival(method="baseline", epoch="best"), *NAMED)
    for place in ("digits/symmetric-0.5/resnet8", "digits/pair-0.4/resnet8"):  # whose choice is carried over
        assert choice.of("output", place, "last", named) == ("label_smoothing", "last")
    assert choice.of("output", "digits/pair-0.4/resnet8", "last", named[:2]) == ("baseline", "last")


def test_an_epoch_is_shown_where_it_is_not_the_readings() -> None:
    assert shown_rival(("baseline", "best")) == "baseline (best epoch)"
    assert shown_rival(("baseline", "best"), "best") == shown_rival(("baseline", "last")) == "baseline"
