"""Verdicts on claims: tables worked by hand, and what the written files say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from collabpipe.analysis import evidence
from collabpipe.analysis.intervals import p_value
from collabpipe.analysis.pairs import WORST_FIRST
from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.analysis.verdicts import COLUMNS, assess, write_claims
from collabpipe.cli.show import show_tables
from collabpipe.common.errors import CollabpipeError
from collabpipe.plan.paths import Paths
from collabpipe.plan.recipes import RunName, TrainRecipe
from collabpipe.plan.record_types import MetricsRecord, TrainingRecord
from collabpipe.plan.study_recipes import StudyRecipe
from collabpipe.settings.claims import Claims, Rival, load_claims
from tests.workspaces import REPOSITORY

NAN = math.nan
PLACE = "digits/none/resnet8"
CLAIM: dict[str, Any] = {
    "source": "abstract, sentence 9",
    "says": "It errs less.",
    "metric": "error",
    "methods": ["combined"],
    "against": ["baseline"],
    "readings": ["last points"],
    "places": [PLACE],
}
Accuracies = Mapping[str, Sequence[float | None]]


# --- tables by hand ---------------------------------------------------------------------------------------------------


def runs_of(accuracies: Accuracies, place: str = PLACE) -> list[EvaluatedRun]:
    """Runs with these accuracies by method and seed; at the best epoch half a point better; None: diverged."""
    dataset, noise, network = place.split("/")
    found = []
    for method, values in accuracies.items():
        for seed, value in enumerate(values):
            name = RunName(dataset=dataset, noise=noise, network=network, method=method, seed=seed)
            metrics: dict[str, Any] = {"status": "diverged", "last": None, "best": None}
            if value is not None:
                last, best = ({"accuracy": (value + more) / 100} for more in (0.0, 0.5))
                metrics = {"status": "finished", "last": last, "best": best}
            recipe = TrainRecipe.model_construct(run=name)  # type: ignore[call-arg]
            found.append(EvaluatedRun(recipe, cast(TrainingRecord, {}), cast(MetricsRecord, metrics), if_diverged=10.0))
    return found


def study_of(runs: Sequence[EvaluatedRun], controls: Mapping[str, str] | None = None) -> StudyRecipe:
    names = tuple((run.name, "0" * 64) for run in runs)
    return StudyRecipe(study="made up", runs=names, baseline="baseline", controls=dict(controls or {}))


def claims_of(*changes: Mapping[str, Any]) -> Claims:
    return Claims.model_validate({"claims": {f"claim{i}": {**CLAIM, **change} for i, change in enumerate(changes)}})


def framed(
    claims: Claims, study: StudyRecipe, runs: Sequence[EvaluatedRun], overhead: pd.DataFrame | None, paths: Paths
) -> pd.DataFrame:
    return pd.DataFrame(assess(claims, study, runs, overhead, paths), columns=COLUMNS)


def table(
    claims: Claims,
    accuracies: Accuracies,
    controls: Mapping[str, str] | None = None,
    overhead: pd.DataFrame | None = None,
    folder: Path = Path("nowhere"),
) -> pd.DataFrame:
    runs = runs_of(accuracies)
    return framed(claims, study_of(runs, controls), runs, overhead, Paths(folder, "gains"))


def test_the_columns_are_those_that_readers_rely_on() -> None:
    found = table(claims_of({}), {})

    assert list(found.columns) == [
        "claim", "source", "comparison", "reading", "expected", "estimate", "low", "high", "p_adjusted", "n",
        "diverged", "verdict", "reason", "verdict_baseline", "verdict_control", "control", "verdict_rival", "rival",
        "survives", "runs",
    ]  # fmt: skip
    assert list(found.columns) == COLUMNS


def test_a_single_contrast_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, half-width 2.484138, p 0.074180; alone in its family, nothing is corrected.
    row = table(claims_of({"expected": 4.0}), {"combined": [61, 72, 83], "baseline": [60, 70, 80]}).iloc[0]

    assert row["claim"] == "claim0"
    assert row["source"] == "abstract, sentence 9"
    assert row["comparison"] == f"combined - baseline, {PLACE}"
    assert row["reading"] == "points of error, last epoch"
    assert row["expected"] == "4"
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((2.0, -0.484138, 4.484138), abs=1e-5)
    assert row["p_adjusted"] == pytest.approx(0.074180, abs=1e-5)
    assert row["n"] == 3
    assert row["verdict"] == "inconclusive"
    assert row["verdict_control"] == "no control"
    assert row["runs"] == "digits/none/resnet8/{combined,baseline}/seed{0,1,2}"


def test_the_runs_of_a_row_are_found_in_the_table_of_runs() -> None:
    accuracies: Accuracies = {"combined": [61, None, 83], "baseline": [60, 70, 80, 90]}
    place, methods, seeds = table(claims_of({}), accuracies).iloc[0]["runs"].rsplit("/", 2)
    named = {
        f"{place}/{method}/seed{seed}" for method in methods.strip("{}").split(",") for seed in seeds[5:-1].split(",")
    }

    assert named == {f"{PLACE}/{method}/seed{seed}" for method in ("combined", "baseline") for seed in (0, 1, 2)}
    assert named <= {str(run.name) for run in runs_of(accuracies)}


def test_relative_readings_are_taken_replicate_by_replicate() -> None:
    accuracies = {"combined": [80, 60], "baseline": [75, 50]}
    change = {"readings": ["last points", "last relative", "best points", "best relative"]}
    error = table(claims_of(change), accuracies)
    accuracy = table(claims_of({**change, "metric": "accuracy"}), accuracies)

    # 5 of 25 and 10 of 50 errors; at the best epoch 5 of 24.5 and 10 of 49.5.
    assert list(error["estimate"]) == pytest.approx([7.5, 20.0, 7.5, (500 / 24.5 + 1000 / 49.5) / 2])
    assert accuracy["estimate"][1] == pytest.approx((500 / 75 + 1000 / 50) / 2)
    assert list(error["reading"]) == [
        "points of error, last epoch",
        "percent of the other's error, last epoch (other reading)",
        "points of error, best-on-validation epoch (other reading)",
        "percent of the other's error, best-on-validation epoch (other reading)",
    ]


def test_a_baseline_without_errors_has_no_relative_reading() -> None:
    row = table(claims_of({"readings": ["last relative"]}), {"combined": [100, 99], "baseline": [100, 98]}).iloc[0]

    assert (row["n"], row["verdict"]) == (2, "inconclusive")
    assert math.isnan(row["estimate"])
    assert math.isnan(row["low"])


def test_families_are_corrected_together_and_a_reading_takes_its_claims_place() -> None:
    accuracies = {
        "combined": [61.0, 72.0, 83.0],
        "a": [60.9, 71.7, 82.8],
        "baseline": [60.0, 70.0, 80.0],
    }
    claims = claims_of(
        {"readings": ["last points", "last relative"], "places": [PLACE]}, {"methods": ["a"]}, {"methods": ["absent"]}
    )
    found = table(claims, accuracies)
    first = p_value(np.array([1.0, 2.0, 3.0]))
    relative = p_value(np.array([100 / 40, 200 / 30, 300 / 20]))
    other = p_value(np.array([0.9, 1.7, 2.8]))

    # Three contrasts, of which one was not run: the intervals hold at 1 - 0.05/3, t(1 - 0.05/6; 2) = 7.648848.
    assert found["high"][0] - 2 == pytest.approx(7.648848 / math.sqrt(3), rel=1e-4)
    small, large = sorted((first, other))
    ranked = {small: min(1, 3 * small), large: min(1, max(3 * small, 2 * large))}
    assert found["p_adjusted"][0] == pytest.approx(ranked[first])
    assert found["p_adjusted"][2] == pytest.approx(ranked[other])
    small, large = sorted((relative, other))
    ranked = {small: min(1, 3 * small), large: min(1, max(3 * small, 2 * large))}
    assert found["p_adjusted"][1] == pytest.approx(ranked[relative])
    assert math.isnan(found["p_adjusted"][3])


def test_each_family_is_corrected_for_itself() -> None:
    analogues = {"elsewhere": {"places": [PLACE]}}
    claims = claims_of({"analogues": analogues}, {"methods": ["a"]})
    found = table(claims, {"combined": [61, 72, 83], "baseline": [60, 70, 80]})

    assert list(found["claim"]) == ["claim0", "claim1", "claim0 (analogue: elsewhere)"]
    assert found["p_adjusted"][0] == pytest.approx(2 * found["p_adjusted"][2])
    assert found["high"][0] > found["high"][2]


EACH = {"methods": ["a", "b"], "metric": "accuracy"}


def test_the_weakest_member_decides_and_members_follow_it() -> None:
    # a gains 4, 5, 6; b gains 1, 2, 3, whose interval contains zero.
    found = table(claims_of(EACH), {"a": [64, 75, 86], "b": [61, 72, 83], "baseline": [60, 70, 80]})

    assert len(found) == 3
    overall, a, b = (found.iloc[position] for position in range(3))
    assert overall["comparison"] == f"each of a, b - baseline, {PLACE}; weakest: b - baseline"
    for column in ("estimate", "low", "high", "n", "runs", "verdict"):
        assert overall[column] == b[column]
    assert overall["p_adjusted"] == pytest.approx(p_value(np.array([1.0, 2.0, 3.0])))
    assert (a["verdict"], b["verdict"], overall["verdict"]) == ("reproduced", "inconclusive", "inconclusive")
    assert math.isnan(a["p_adjusted"])
    assert [row["reading"].endswith("(descriptive)") for row in (overall, a, b)] == [False, True, True]
    assert a["comparison"] == f"a - baseline, {PLACE}"


def test_combining_must_beat_each_single_method() -> None:
    claims = claims_of({"against": ["a", "b"]})
    found = table(claims, {"combined": [64, 75, 86], "a": [60, 70, 80], "b": [70, 80, 90]})

    assert list(found["verdict"]) == ["not reproduced", "reproduced", "not reproduced"]
    assert found["comparison"][0] == f"combined - each of a, b, {PLACE}; weakest: combined - b"
    assert found["p_adjusted"][0] == 1.0


def test_a_contrast_with_a_member_missing_was_not_run() -> None:
    found = table(claims_of(EACH), {"a": [64, 75, 86], "baseline": [60, 70, 80]})

    assert list(found["verdict"]) == ["not run", "reproduced", "not run"]
    assert list(found["n"]) == [0, 3, 0]
    assert found["comparison"][0].endswith("; not run: b - baseline")
    assert found["runs"][0] == ""


def test_what_was_not_run_has_its_row() -> None:
    row = table(claims_of({"places": ["cifar10/none/resnet18"]}), {"combined": [1.0], "baseline": [1.0]}).iloc[0]

    assert (row["n"], row["verdict"], row["verdict_control"], row["runs"]) == (0, "not run", "not run", "")
    assert math.isnan(row["estimate"])


def test_one_replicate_is_inconclusive_and_only_pairs_count() -> None:
    row = table(claims_of({}), {"combined": [70, 80, 90], "baseline": [65]}).iloc[0]

    assert (row["n"], row["estimate"], row["verdict"]) == (1, pytest.approx(5.0), "inconclusive")
    assert (row["reason"], row["runs"][-8:]) == ("one replicate", "/seed{0}")


# --- what a verdict must not hang on ----------------------------------------------------------------------------------


def test_equal_differences_are_no_certainty() -> None:
    row = table(claims_of({}), {"combined": [62.1, 72.3], "baseline": [60.1, 70.3]}).iloc[0]

    assert (row["n"], row["estimate"], row["verdict"]) == (2, pytest.approx(2.0), "inconclusive")
    assert row[["low", "high", "p_adjusted"]].isna().all()
    assert "differences spread by" in row["reason"]


@given(
    seconds=st.lists(st.integers(100, 400), min_size=2, max_size=12),
    gain=st.integers(-90, 90),
    expected=st.none() | st.floats(0.1, 20),
)
def test_a_family_of_equal_differences_never_reproduces_a_claim(
    seconds: list[int], gain: int, expected: float | None
) -> None:
    accuracies: Accuracies = {"combined": [(s + gain) / 5 for s in seconds], "baseline": [s / 5 for s in seconds]}

    assert table(claims_of({"expected": expected}), accuracies)["verdict"][0] == "inconclusive"


def test_equal_relative_gains_are_no_certainty_either() -> None:
    accuracies: Accuracies = {"combined": [55, 66, 77], "baseline": [50, 60, 70]}

    row = table(claims_of({"metric": "accuracy", "readings": ["last relative"]}), accuracies).iloc[0]
    assert (row["estimate"], row["verdict"]) == (pytest.approx(10.0), "inconclusive")


def test_a_spread_below_what_the_test_set_can_show_is_no_certainty(tmp_path: Path) -> None:
    # Nine times ten of 200 images and once eleven: a spread of 0.16 points, where the grid's own is 0.20.
    accuracies: Accuracies = {"combined": [65.0] * 9 + [65.5], "baseline": [60.0] * 10}
    claims = claims_of({"readings": ["last points", "best points"]})
    unknown = table(claims, accuracies)
    predict(tmp_path, runs_of(accuracies))
    known = table(claims, accuracies, folder=tmp_path)

    assert list(unknown["verdict"]) == ["reproduced"] * 2, "without predictions nobody knows the grid"
    assert list(known["verdict"]) == ["inconclusive"] * 2
    assert set(known["reason"]) == {"differences spread by 0.16 points, the test set can show 0.2"}
    assert known[["low", "high", "p_adjusted"]].isna().all(axis=None)


EIGHT_OF_TEN: Accuracies = {
    "combined": [70.0, 70.5, *[None] * 8],
    "baseline": [60.0, 60.4, *[60.0, 60.2, 60.4, 60.6] * 2],
}


def test_diverged_runs_count_as_chance_and_are_shown() -> None:
    row = table(claims_of({}), EIGHT_OF_TEN).iloc[0]

    # +10 and +10.1, and eight times chance (10) against 60.3 on average.
    assert (row["n"], row["diverged"]) == (10, "combined 8")
    assert row["estimate"] == pytest.approx((20.1 - 8 * 50.3) / 10)
    assert row["verdict"] == "not reproduced"


def test_a_baseline_that_diverges_proves_nothing() -> None:
    combined = [70.0, 70.5, 70.2, 70.1, 70.4]
    stopped: tuple[list[float | None], ...] = ([69.9, None, None, None, None], [None] * 5)
    found = [table(claims_of({}), {"combined": combined, "baseline": values}) for values in stopped]

    assert [one["verdict"][0] for one in found] == ["inconclusive"] * 2
    assert [one["diverged"][0] for one in found] == ["baseline 4", "baseline 5"]
    assert [one["reason"][0] for one in found] == ["without the diverged runs", "no pair without a diverged run"]


def test_a_best_epoch_that_no_run_has_is_given_as_the_reason() -> None:
    runs = runs_of({"combined": [70.0, 71.5], "baseline": [60.0, 60.5]})
    for run in runs:
        run.metrics["best"] = None  # as of a refit, which trains on the validation images too
    claims = claims_of({"readings": ["best points", "last points"]})
    best, last = framed(claims, study_of(runs), runs, None, Paths(study="gains")).itertuples()

    assert (best.verdict, best.n) == ("not run", 0)
    assert best.reason == "trained on the validation images too: no best epoch"
    assert (last.n, last.reason) == (2, "")


accuracies_of_runs = st.lists(st.tuples(st.integers(100, 500), st.integers(100, 500)), min_size=1, max_size=10)


@given(
    pairs=accuracies_of_runs, broken=st.integers(1, 3), expected=st.none() | st.floats(1.1, 20), margin=st.booleans()
)
def test_a_diverged_replicate_makes_no_verdict_better(
    pairs: list[tuple[int, int]], broken: int, expected: float | None, margin: bool
) -> None:
    claims = claims_of({"expected": expected, "margin": 1.0 if margin else None})
    combined, baseline = ([value / 5 for value in values] for values in zip(*pairs, strict=True))
    without = table(claims, {"combined": combined, "baseline": baseline})["verdict"][0]
    gone, here = [None] * broken, [60.0 + n for n in range(broken)]

    for more, others in ((gone, here), (here, gone), (gone, gone)):
        found = table(claims, {"combined": [*combined, *more], "baseline": [*baseline, *others]}).iloc[0]
        assert WORST_FIRST.index(found["verdict"]) <= WORST_FIRST.index(without)
        assert found["n"] == len(pairs) + broken


def test_a_tight_interval_around_zero_refutes_a_claim_that_declares_its_margin() -> None:
    accuracies: Accuracies = {"combined": [60.05, 69.95, 80.05, 89.95], "baseline": [60, 70, 80, 90]}
    found = [table(claims_of({"margin": margin}), accuracies).iloc[0] for margin in (None, 0.5, 0.05)]

    assert [row["verdict"] for row in found] == ["inconclusive", "no effect", "inconclusive"]
    assert [row["expected"] for row in found] == ["> 0", "> 0 (margin 0.5)", "> 0 (margin 0.05)"]


def test_the_level_of_the_margins_tests_is_the_familys() -> None:
    # Mean 0, deviation 1, n = 5, margin 1.2: t = 1.2·√5 = 2.683, one-sided p = 0.0275.
    values = [-1.2649, -0.6325, 0.0, 0.6325, 1.2649]
    accuracies: Accuracies = {"combined": [60 + v for v in values], "baseline": [60.0] * 5}
    claim = {"margin": 1.2}

    assert table(claims_of(claim), accuracies)["verdict"][0] == "no effect"
    assert table(claims_of(claim, {"methods": ["absent"]}), accuracies)["verdict"][0] == "inconclusive"


# --- baseline, matched control, rival ---------------------------------------------------------------------------------


def validated(folder: Path, runs: Sequence[EvaluatedRun], accuracies: Mapping[str, Sequence[float]]) -> None:
    """Histories with these validation accuracies by method, in percent, an epoch each."""
    for run in runs:
        path = Paths(folder, "gains").run(run.name) / "history.parquet"
        path.parent.mkdir(parents=True)
        values = [value / 100 for value in accuracies[run.name.method]]
        pq.write_table(pa.table({"validation_accuracy": values}), path)


RIVALS = [{"method": "dropout"}, {"method": "baseline", "epoch": "best"}]
COMPARED: Accuracies = {
    "combined": [64, 75, 86],
    "baseline": [60, 70, 80],
    "dropout": [63.8, 74.9, 85.4],
    "its_control": [62, 72, 82],
}


@pytest.mark.parametrize(
    ("validation", "rival", "left"),
    [
        ({"baseline": [40, 60, 30], "dropout": [20, 50, 59]}, "baseline (best epoch)", "survives"),
        ({"baseline": [40, 60, 30], "dropout": [20, 50, 61]}, "dropout", "inconclusive"),
        ({"baseline": [40, 60, 30], "dropout": [20, 61, 50]}, "baseline (best epoch)", "survives"),
    ],
    ids=str,
)
def test_the_rival_is_the_one_that_is_best_on_validation_images(
    tmp_path: Path, validation: dict[str, list[float]], rival: str, left: str
) -> None:
    runs = [run for run in runs_of(COMPARED) if run.name.method in validation]
    validated(tmp_path, runs, validation)
    row = table(claims_of({"rival": RIVALS}), COMPARED, {"resnet8/combined": "its_control"}, folder=tmp_path).iloc[0]

    assert (row["rival"], row["verdict_rival"]) == (rival, left)
    assert (row["verdict_baseline"], row["verdict_control"]) == ("survives", "survives")
    assert row["survives"] == "baseline, control" + (", rival" if left == "survives" else "")


def test_a_single_rival_needs_no_validation_and_is_read_at_its_epoch() -> None:
    # At the best epoch every run here is half a point better: 4, 5, 6 become 3.5, 4.5, 5.5.
    stopped = table(claims_of({"rival": {"method": "baseline", "epoch": "best"}}), COMPARED).iloc[0]
    named = table(claims_of({"rival": "dropout", "readings": ["best points"]}), COMPARED).iloc[0]

    assert (stopped["rival"], stopped["verdict_rival"]) == ("baseline (best epoch)", "survives")
    assert (named["rival"], named["verdict_rival"]) == ("dropout", "inconclusive")


def test_a_rival_that_the_study_names_counts_beside_those_of_the_claims(tmp_path: Path) -> None:
    runs = [run for run in runs_of(COMPARED) if run.name.method != "its_control"]
    for better, named in (("dropout", "dropout"), ("baseline", "baseline (best epoch)")):
        folder = tmp_path / better
        validated(folder, runs, {"combined": [90], "baseline": [40], "dropout": [30], better: [60]})
        study = study_of(runs).model_copy(update={"rival": (Rival(method="dropout"),)})
        claims = claims_of({"rival": {"method": "baseline", "epoch": "best"}})
        row = framed(claims, study, runs, None, Paths(folder, "gains")).iloc[0]

        assert row["rival"] == named


def test_runs_that_trained_on_all_images_have_no_reading_at_the_best_epoch() -> None:
    runs = runs_of(COMPARED)
    for run in runs:
        run.metrics["best"] = None
    claims = claims_of({"readings": ["last points", "best points"], "rival": {"method": "baseline", "epoch": "best"}})
    found = framed(claims, study_of(runs), runs, None, Paths(Path("nowhere"), "gains"))

    assert list(found["verdict"]) == ["reproduced", "not run"]
    assert list(found["n"]) == [3, 0]
    assert list(found["verdict_rival"]) == ["no rival"] * 2


def test_who_has_no_comparator_has_a_word_for_it() -> None:
    row = table(claims_of({"rival": "absent"}), COMPARED).iloc[0]

    assert list(row[["verdict_baseline", "verdict_control", "verdict_rival"]]) == ["survives", "no control", "no rival"]
    assert (row["rival"], row["survives"]) == ("", "baseline")


def test_nothing_is_left_of_a_gain_that_no_comparator_leaves() -> None:
    accuracies: Accuracies = {**COMPARED, "combined": [59, 69.5, 78]}

    assert table(claims_of({"rival": "dropout"}), accuracies)["survives"][0] == "none"


@pytest.mark.parametrize(
    ("tuned", "word", "decides"),
    [
        ([66, 78, 88], "does not survive", "tuned"),
        ([50, 60, 69], "survives", "its_control"),
        (None, "survives", "its_control"),
    ],
    ids=str,
)
def test_a_control_with_rates_of_its_own_decides_where_it_is_stronger(
    tuned: list[float] | None, word: str, decides: str
) -> None:
    accuracies: Accuracies = COMPARED if tuned is None else {**COMPARED, "tuned": tuned}
    runs = runs_of(accuracies)
    study = study_of(runs, {"resnet8/combined": "its_control"})
    if tuned is not None:
        study = study.model_copy(update={"tuned_controls": {"combined": ("tuned",)}})
    row = framed(claims_of({}), study, runs, None, Paths(Path("nowhere"), "gains")).iloc[0]

    assert (row["verdict_control"], row["control"]) == (word, decides)


# --- the matched control ----------------------------------------------------------------------------------------------

GAINS: Accuracies = {"combined": [64, 75, 86], "baseline": [60, 70, 80]}


@pytest.mark.parametrize(
    ("control", "word"),
    [
        ([60, 70, 80], "survives"),
        ([70, 81, 90], "does not survive"),
        ([62, 73, 84], "inconclusive"),  # each 2 points: equal differences say nothing
        ([63, 73, 84], "survives"),
        ([60, 80, 86], "inconclusive"),
        ([60], "inconclusive"),
        ([None], "inconclusive"),
        ([], "not run"),
    ],
    ids=str,
)
def test_what_is_left_against_the_matched_control(control: list[float | None], word: str) -> None:
    accuracies: Accuracies = {**GAINS, "its_control": control}

    assert table(claims_of({}), accuracies, {"resnet8/combined": "its_control"})["verdict_control"][0] == word
    assert table(claims_of({"control": "its_control"}), accuracies)["verdict_control"][0] == word


def test_a_method_without_a_control_has_none() -> None:
    assert table(claims_of({}), GAINS, {"resnet18/combined": "its_control"})["verdict_control"][0] == "no control"


def test_each_method_stands_against_its_own_control_and_the_weakest_decides() -> None:
    accuracies = {"a": [64, 75, 86], "b": [65, 76, 87], "a_control": [60, 70, 80], "baseline": [60, 70, 80]}
    accuracies["b_control"] = [70, 80, 90]
    both = {"resnet8/a": "a_control", "resnet8/b": "b_control"}

    assert list(table(claims_of(EACH), accuracies, both)["verdict_control"]) == [
        "does not survive",
        "survives",
        "does not survive",
    ]
    one = {"resnet8/a": "a_control"}
    assert list(table(claims_of(EACH), accuracies, one)["verdict_control"]) == ["no control", "survives", "no control"]


# --- overhead ---------------------------------------------------------------------------------------------------------

COSTS = pd.DataFrame(
    {
        "dataset": ["digits"] * 3,
        "network": ["resnet8"] * 2 + ["resnet18"],
        "method": ["combined", "multi_head", "combined"],
        "saved_bytes": [60, 100, 1],
        "params_train": [100, 100, 1],
        "peak_bytes": [30.0, NAN, 1.0],
        "step_seconds": [0.9, 1.0, 1.0],
        "rounds": [[0.9], [1.0], [1.0]],
    }
)
OVERHEAD = {
    "metric": "overhead",
    "against": ["multi_head"],
    "readings": ["saved_bytes", "params_train", "peak_bytes", "step_seconds"],
}


def test_costs_are_ratios_without_chance_but_for_time() -> None:
    found = table(claims_of(OVERHEAD, {}), GAINS, overhead=COSTS).set_index("reading").iloc[:4]

    assert list(found["verdict"]) == ["reproduced", "not reproduced", "not run", "inconclusive"]
    assert list(found["n"]) == [1, 1, 0, 1]
    assert tuple(found[["estimate", "low", "high"]].iloc[0]) == pytest.approx((0.6, 0.6, 0.6))
    assert found["estimate"].iloc[3] == pytest.approx(0.9)
    assert math.isnan(found["low"].iloc[3]), "a single round says nothing"
    assert found["p_adjusted"].isna().all()
    assert set(found["expected"]) == {"< 1"}
    assert set(found["verdict_control"]) == {"no control"}
    assert found["comparison"].iloc[0] == f"combined / multi_head, {PLACE}"
    assert found["runs"].iloc[0] == "overhead/digits/resnet8/{combined,multi_head}"


def test_a_time_is_judged_by_the_rounds_that_both_methods_shared() -> None:
    # Ratios round by round: 0.8, 0.9, 0.7, whose mean is 0.8 and whose deviation is 0.1. No other claim is tested
    # beside it, so the confidence is 95%; t(0.975, 2) is 4.303.
    rounds: Any = [[0.8, 1.8, 0.7], [1.0, 2.0, 1.0], [1.0, 1.0, 1.0]]
    costs = COSTS.assign(rounds=rounds)
    row = table(claims_of({**OVERHEAD, "readings": ["step_seconds"]}), GAINS, overhead=costs).iloc[0]

    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((0.8, 0.8 - half, 0.8 + half))
    assert row["verdict"] == "inconclusive"


def test_costs_belong_to_the_data_set_they_were_measured_on() -> None:
    elsewhere = claims_of({**OVERHEAD, "places": ["stl10/none/resnet8"]})

    assert set(table(elsewhere, GAINS, overhead=COSTS)["verdict"]) == {"not run"}
    assert table(elsewhere, GAINS, overhead=COSTS.assign(dataset="stl10"))["verdict"][0] == "reproduced"
    assert set(table(claims_of(OVERHEAD), GAINS)["verdict"]) == {"not run"}, "no table"


def test_overhead_holds_no_chance_and_corrects_nothing() -> None:
    alone, beside = (table(claims_of({}, *more), GAINS, overhead=COSTS) for more in ((), (OVERHEAD,)))

    assert beside["p_adjusted"][0] == alone["p_adjusted"][0]
    assert beside["low"][0] == alone["low"][0]


# --- the files --------------------------------------------------------------------------------------------------------


def predict(folder: Path, runs: Sequence[EvaluatedRun], images: int = 200) -> None:
    """Prediction files in which each run is right on as many images as its accuracy says, the first ones."""
    for run in runs:
        path = Paths(folder, "gains").evaluation(run.name) / "predictions.parquet"
        path.parent.mkdir(parents=True)
        right = round(images * run.last["accuracy"]) if run.finished else 0
        labels = np.zeros(images, dtype=np.int64)
        pq.write_table(pa.table({"label": labels, "prediction": (np.arange(images) >= right).astype(int)}), path)


def written(folder: Path, claims: Claims | None, accuracies: Accuracies) -> tuple[pd.DataFrame, str, Any]:
    runs = runs_of(accuracies)
    if not (folder / "gains" / "evaluations").exists():
        predict(folder, runs)
    write_claims(claims, study_of(runs), runs, None, Paths(folder, "gains"))
    tables = folder / "gains" / "tables"
    text = (tables / "claims.md").read_text(encoding="utf-8")
    about = json.loads((tables / "claims.json").read_text(encoding="utf-8"))
    return pd.read_csv(tables / "claims.csv", keep_default_na=False), text, about


def test_the_files_hold_the_table_and_what_backs_it(tmp_path: Path) -> None:
    analogues = {"elsewhere": {"places": [PLACE]}}
    claims = claims_of({"expected": 4.0, "analogues": analogues}, {**EACH, "methods": ["combined", "absent"]})
    csv, text, about = written(tmp_path, claims, {"combined": [65, 75, 85], "baseline": [60, 70, 75]})

    assert list(csv.columns) == COLUMNS
    assert len(csv) == len(about["rows"]) == 5
    assert about["study"] == "made up"
    assert Claims.model_validate(about["claims"]) == claims
    row = about["rows"][0]
    assert row["differences"] == {"0": pytest.approx(5), "1": pytest.approx(5), "2": pytest.approx(10)}
    # On 200 images right alone for combined: 10, 10 and 20; averaged over replicates their deviations by hand.
    images = np.zeros((3, 200))
    for seed, (start, stop) in enumerate(((120, 130), (140, 150), (150, 170))):
        images[seed, start:stop] = 1
    assert row["sampling_error"] == pytest.approx(100 * images.mean(0).std(ddof=1) / math.sqrt(200))
    assert row["bootstrap"][0] < 100 * images.mean() < row["bootstrap"][1]
    assert about["rows"][1]["bootstrap"] == [None, None]
    for heading in ("Declared places", "Analogues: elsewhere", "Descriptive", "How to read this"):
        assert f"## {heading}" in text
    assert "3 (demonstration)" in text
    missing = [row["claim"] for row in about["rows"] if row["n"] == 0]
    assert len(missing) == 2
    assert text.count(f"Not run, rows of claims.csv: {missing[0]} (1).") == 2, "the contrast, and its one member"
    assert "It errs less." in text
    assert "nan" not in text


@pytest.mark.parametrize(("n", "weight"), [(4, "demonstration"), (5, "descriptive"), (9, "descriptive"), (10, "claim")])
def test_the_number_of_replicates_is_shown_with_its_weight(tmp_path: Path, n: int, weight: str) -> None:
    accuracies: Accuracies = {"combined": list(range(50, 50 + n)), "baseline": [40.0] * n}

    assert f"| {n} ({weight}) " in written(tmp_path, claims_of({}), accuracies)[1]


def test_a_study_without_claims_has_files_that_say_so(tmp_path: Path) -> None:
    csv, text, about = written(tmp_path, None, GAINS)

    assert list(csv.columns) == COLUMNS
    assert len(csv) == 0
    assert "states no claims" in text
    assert (about["claims"], about["rows"]) == (None, [])


def test_the_tables_of_an_unfinished_study_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    runs = runs_of(GAINS)
    write_claims(claims_of({}), study_of(runs), runs, None, Paths(tmp_path, "gains"), tmp_path / "partial")

    assert {path.name for path in (tmp_path / "partial").iterdir()} == {"claims.csv", "claims.md", "claims.json"}
    assert not (tmp_path / "gains" / "tables").exists()


def test_the_same_runs_give_the_same_files(tmp_path: Path) -> None:
    first = written(tmp_path, claims_of({}), GAINS)
    second = written(tmp_path, claims_of({}), GAINS)

    assert first[1:] == second[1:]


def test_predictions_that_are_gone_leave_their_cells_empty_and_damaged_ones_are_named(tmp_path: Path) -> None:
    written(tmp_path, claims_of({}), GAINS)
    path = tmp_path / "gains" / "evaluations" / PLACE / "combined" / "seed1" / "predictions.parquet"
    path.unlink()
    assert written(tmp_path, claims_of({}), GAINS)[2]["rows"][0]["sampling_error"] is None

    path.write_text("spoilt")
    with pytest.raises(CollabpipeError, match=r"seed1/predictions\.parquet"):
        written(tmp_path, claims_of({}), GAINS)


def test_only_what_is_compared_is_read_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies: Accuracies = {**GAINS, "unclaimed": [1, 2, 3], "a": [64, 75, 86]}
    predict(tmp_path, runs_of(accuracies))
    read: list[Path] = []
    original = evidence._read_hits

    def counted(path: Path) -> NDArray[np.bool_]:
        read.append(path)
        return original(path)

    monkeypatch.setattr(evidence, "_read_hits", counted)
    claims = claims_of({"readings": ["last points", "last relative"]}, {"methods": ["a"]}, {"against": ["a"]})

    table(claims, accuracies, folder=tmp_path)

    assert len(read) == len(set(read)) == 9
    assert {path.parent.parent.name for path in read} == {"combined", "baseline", "a"}


def test_the_shipped_claims_are_judged_on_a_study_of_one_data_set() -> None:
    place = "digits/symmetric-0.5/resnet8"
    accuracies: Accuracies = {
        "baseline": [60, 62, 61],
        "output": [80, 84, 82],
        "intermediate": [82, 89, 90],
        "representation": [50, 52, 51.5],
        "kernel": [61, 61, 61],
        "combined": [90, 91, 92],
    }
    runs = runs_of(accuracies, place)
    found = framed(
        load_claims(REPOSITORY / "config" / "claims.yaml"), study_of(runs), runs, None, Paths(Path("nowhere"), "gains")
    )
    here = found[found["comparison"].str.contains(place) & ~found["reading"].str.contains(r"\(")].set_index("claim")

    assert set(found["verdict"][~found["comparison"].str.contains(place)]) == {"not run"}
    assert here["verdict"].to_dict() == {
        "each_way_helps (analogue: digits)": "not reproduced",
        "combining_helps_more (analogue: digits)": "inconclusive",
        "cifar10_noisy_labels (analogue: digits)": "reproduced",
    }
    assert "weakest: representation - baseline" in here["comparison"].iloc[0]


def test_the_declared_contrasts_that_were_run_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claims = claims_of({"readings": ["last points", "best points"]}, {"methods": ["absent"]})
    written(tmp_path, claims, GAINS)
    (tmp_path / "gains" / "tables" / "main.md").write_text("| method |\n|---|\n| combined |\n\nA note.\n")

    show_tables(Paths(tmp_path, "gains"))

    shown = capsys.readouterr().out
    assert shown.count("claim0") == 1, "one reading, and not the claim that was not run"
    assert "claim1" not in shown
    assert "reproduced" in shown


# --- further test sets ------------------------------------------------------------------------------------------------


def test_a_claim_on_a_further_test_set_is_judged_there(tmp_path: Path) -> None:
    seeds = range(10)
    clean = runs_of({"baseline": [80.0 + s % 3 for s in seeds], "combined": [81.0 + s % 2 for s in seeds]})
    corrupted = runs_of({"baseline": [60.0 + s % 3 for s in seeds], "combined": [50.0 + s % 2 for s in seeds]})
    runs = [replace(run, further={"corruptions": other}) for run, other in zip(clean, corrupted, strict=True)]
    claims = claims_of({}, {"test_set": "corruptions"}, {"test_set": "elsewhere"})

    own, on_corruptions, elsewhere = assess(claims, study_of(runs), runs, None, Paths(tmp_path, "made-up"))

    assert own["estimate"] == pytest.approx(np.mean([1 + s % 2 - s % 3 for s in seeds]))
    assert own["comparison"] == f"combined - baseline, {PLACE}"
    assert on_corruptions["estimate"] == pytest.approx(own["estimate"] - 11.0)
    assert on_corruptions["verdict"] == "not reproduced"
    assert on_corruptions["comparison"] == f"combined - baseline, {PLACE} on corruptions"
    assert on_corruptions["runs"].endswith("on corruptions")
    assert elsewhere["verdict"] == "not run"
    assert elsewhere["n"] == 0
