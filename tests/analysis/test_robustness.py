"""The table of further test sets and its figure: the means by hand, and what readers see without any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest

from collabpipe.analysis.figures.robustness import draw_robustness
from collabpipe.analysis.figures.style import Methods
from collabpipe.analysis.robustness import NONE, robustness_table, severity_table, write_robustness
from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.plan.recipes import RunName, TrainRecipe
from collabpipe.plan.study_recipes import StudyRecipe
from tests.analysis.figures.studies import drawn, panels


def run(method: str, seed: int, clean: float, corrupted: dict[str, dict[str, float]] | None) -> EvaluatedRun:
    """A run with its accuracy and that of each corruption and severity, in shares; None: diverged on corruptions."""
    name = RunName(dataset="digits", noise="none", network="resnet8", method=method, seed=seed)
    recipe = TrainRecipe.model_construct(run=name)  # type: ignore[call-arg]
    own = EvaluatedRun(
        recipe, cast(Any, {}), cast(Any, {"status": "finished", "last": {"accuracy": clean}}), float("nan")
    )
    metrics: dict[str, Any] = {"status": "diverged", "last": None}
    if corrupted:
        shares = [share for of in corrupted.values() for share in of.values()]
        metrics = {"status": "finished", "last": {"accuracy": sum(shares) / len(shares)}, "corruptions": corrupted}
    further = replace(own, metrics=cast(Any, metrics), if_diverged=10.0, test_set="corruptions")
    return replace(own, further={"corruptions": further})


RUNS = [
    run("baseline", 0, 0.9, {"fog": {"1": 0.8, "5": 0.4}, "contrast": {"1": 0.6, "5": 0.2}}),
    run("baseline", 1, 0.8, {"fog": {"1": 0.6, "5": 0.2}, "contrast": {"1": 0.4, "5": 0.0}}),
    run("output", 0, 0.9, {"fog": {"1": 0.9, "5": 0.5}, "contrast": {"1": 0.7, "5": 0.3}}),
    run("output", 1, 0.9, None),
]
STUDY = StudyRecipe(study="made up", runs=(), baseline="baseline", controls={})


def test_means_over_corruptions_severities_and_replicates() -> None:
    table = robustness_table(STUDY, RUNS).set_index("method")
    baseline, output = table.loc["baseline"], table.loc["output"]
    assert baseline["clean_mean"] == pytest.approx(85.0)
    assert baseline["accuracy_mean"] == pytest.approx((50.0 + 30.0) / 2)
    assert baseline["accuracy_std"] == pytest.approx(20.0 / 2**0.5)
    assert (baseline["severity_1"], baseline["severity_5"]) == pytest.approx((60.0, 20.0))
    assert (baseline["fog"], baseline["contrast"]) == pytest.approx((50.0, 30.0))
    assert output["n"] == 2
    assert output["accuracy_mean"] == pytest.approx((60.0 + 10.0) / 2), "a diverged run counts as chance"
    assert output["diff_baseline"] == pytest.approx(((60 - 50) + (10 - 30)) / 2)
    assert output["fog"] == pytest.approx(70.0), "of the run that has corruptions"


def test_tables_are_written_and_say_so_where_there_is_nothing(tmp_path: Path) -> None:
    write_robustness(STUDY, RUNS, tmp_path)
    assert len(pd.read_csv(tmp_path / "robustness.csv")) == 2
    text = (tmp_path / "robustness.md").read_text(encoding="utf-8")
    assert "| 85.00   | 40.00 ± 14.14 |" in text
    assert "without its division by AlexNet's errors" in text

    write_robustness(STUDY, [replace(one, further={}) for one in RUNS], tmp_path)
    assert (tmp_path / "robustness.md").read_text(encoding="utf-8") == NONE
    assert pd.read_csv(tmp_path / "robustness.csv").empty


def test_the_figure_shows_accuracy_by_severity() -> None:
    methods = Methods(["baseline", "output"], "baseline")
    figure = drawn(draw_robustness, severity_table(RUNS), methods)
    (axes,) = panels(figure)
    marks = {round(float(y), 6) for line in axes.lines for y in line.get_ydata()}
    assert {85.0, 60.0, 20.0, 90.0, 80.0, 40.0} <= marks
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "5"]

    empty = drawn_message()
    assert "No data set of this study is tested on corruptions" in empty


def drawn_message() -> str:
    figure = draw_robustness(severity_table([]), Methods(["baseline"], "baseline"))
    return " ".join(text.get_text() for text in figure.texts)
