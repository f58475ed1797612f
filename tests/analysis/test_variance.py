"""Where the variance comes from: seeds of single purposes, the components of a crossed study, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.analysis.variance import components, variance_table
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.seeds import derive_seed
from collabpipe.plan.plan import Plan
from collabpipe.plan.record_types import MetricsRecord, TrainingRecord
from collabpipe.settings.study import check_settings
from tests.workspaces import Workspace, altered

CROSSED: dict[str, Any] = {
    "methods": {"output": None, "output_control": None},
    "seeds": [0, 1, 2, 3],
    "replicates": {"noise": [5, 5, 6, 6], "initialisation": [0, 1, 0, 1], "subset": [9] * 4, "split": [9] * 4},
}


def plan(changes: dict[str, Any]) -> Plan:
    return Plan(check_settings(altered(changes), {}), Path("results"))


def evaluated(made: Plan, accuracies: Sequence[float | None]) -> list[EvaluatedRun]:
    """The runs of a plan in order with these accuracies; None: it diverged."""
    runs = []
    for recipe, accuracy in zip(made.runs.values(), accuracies, strict=True):
        status = "diverged" if accuracy is None else "finished"
        metrics = {"status": status, "last": accuracy and {"accuracy": accuracy}}
        runs.append(EvaluatedRun(recipe, cast(TrainingRecord, {}), cast(MetricsRecord, metrics), 0.1))
    return runs


# --- seeds of single purposes ----------------------------------------------------------------------------------------


def test_a_purpose_that_is_listed_has_its_own_seed_and_the_others_follow_the_run() -> None:
    runs = list(plan(CROSSED).runs.values())

    for seed, (recipe, noise, initialisation) in enumerate(zip(runs, [5, 5, 6, 6], [0, 1, 0, 1], strict=True)):
        assert recipe.labels.seeds.noise == derive_seed(noise, "noise")
        assert recipe.labels.seeds.subset == derive_seed(9, "subset")
        assert recipe.seeds.initialisation == derive_seed(initialisation, "initialisation")
        assert recipe.seeds.order == derive_seed(seed, "order")
        assert recipe.seeds.dropout == derive_seed(seed, "dropout")
        assert recipe.run.seed == seed


def test_candidates_follow_their_own_seeds() -> None:
    methods = {"kernel": {"weight": [0.1, 1.0], "select": {"seeds": [7]}}}
    made = plan(CROSSED | {"methods": methods})

    assert {recipe.labels.seeds.noise for recipe in made.candidates.values()} == {derive_seed(7, "noise")}
    assert {recipe.seeds.initialisation for recipe in made.candidates.values()} == {derive_seed(7, "initialisation")}


def test_the_runs_own_seeds_listed_for_every_purpose_are_the_study_without_the_key() -> None:
    purposes = ("subset", "noise", "split", "initialisation", "order", "augmentation", "dropout", "method")
    written_out = plan({"replicates": {purpose: [0, 1] for purpose in purposes}, "seeds": [0, 1]})

    assert [r.digest for r in written_out.runs.values()] == [r.digest for r in plan({"seeds": [0, 1]}).runs.values()]


@pytest.mark.parametrize(
    ("replicates", "says"),
    [
        ({"noise": [0]}, "replicates.noise: number of seeds '1' is not allowed. Allowed: 2, one beside each"),
        ({"nose": [0, 1]}, "replicates.nose"),
        ({"noise": [0, -1]}, "replicates.noise.1"),
    ],
)
def test_seeds_that_do_not_lie_beside_the_studys_are_refused(replicates: dict[str, list[int]], says: str) -> None:
    with pytest.raises(CollabpipeError) as caught:
        plan({"replicates": replicates, "seeds": [0, 1]})

    assert says in str(caught.value)


# --- the components --------------------------------------------------------------------------------------------------


def test_components_worked_out_by_hand() -> None:
    # Row means 2, 5 (variance 4.5), column means 2, 5 (4.5), no residual; then residuals of 1: 4 over one degree.
    assert components(np.array([[0.5, 3.5], [3.5, 6.5]])) == pytest.approx((4.5, 4.5, 0.0))
    assert components(np.array([[1.5, 2.5], [2.5, 7.5]])) == pytest.approx((4.5 - 2.0, 4.5 - 2.0, 4.0))
    assert components(np.array([[0.0, 1.0], [1.0, 0.0]])) == (0.0, 0.0, 1.0), "one below 0 counts 0"


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3), st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_effects_that_add_leave_no_residual(first: list[float], second: list[float]) -> None:
    rows, columns, residual = components(np.add.outer(np.array(first), np.array(second)))

    assert residual == pytest.approx(0.0, abs=1e-9)
    assert rows == pytest.approx(np.var(first, ddof=1), abs=1e-9)
    assert columns == pytest.approx(np.var(second, ddof=1), abs=1e-9)


def test_known_components_are_found_again() -> None:
    draw = np.random.Generator(np.random.PCG64(0))
    found = [
        components(draw.normal(0, 3, (6, 1)) + draw.normal(0, 1, (1, 6)) + draw.normal(0, 2, (6, 6)))
        for _ in range(400)
    ]

    # Several standard errors of a mean over 400 tables.
    assert np.mean(found, axis=0) == pytest.approx([9.0, 1.0, 4.0], rel=0.15)


# --- the table -------------------------------------------------------------------------------------------------------


def test_a_crossed_study_has_a_row_for_each_method_with_its_shares() -> None:
    table = variance_table(evaluated(plan(CROSSED), [0.015, 0.025, 0.025, 0.075]))

    (row,) = table.to_dict("records")
    assert (row["method"], row["noise_seeds"], row["initialisation_seeds"]) == ("baseline", 2, 2)
    assert row["accuracy_mean"] == pytest.approx(3.5)
    assert [row[f"{part}_share"] for part in ("noise", "initialisation", "residual")] == pytest.approx(
        [100 * 2.5 / 9, 100 * 2.5 / 9, 100 * 4 / 9]
    )
    assert row["residual_std"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("changes", "accuracies"),
    [
        ({"replicates": {}}, [0.1, 0.2, 0.3, 0.4]),
        ({"replicates": {"noise": [0, 0, 1, 1]}}, [0.1, 0.2, 0.3, 0.4]),
        ({"replicates": {"noise": [0, 0, 0, 0], "initialisation": [0, 1, 2, 3]}}, [0.1, 0.2, 0.3, 0.4]),
        ({"replicates": {"noise": [0, 0, 1, 1], "initialisation": [0, 0, 1, 1]}}, [0.1, 0.2, 0.3, 0.4]),
        ({}, [0.1, 0.2, None, 0.4]),
    ],
)
def test_runs_that_are_not_crossed_have_no_row(changes: dict[str, Any], accuracies: list[float | None]) -> None:
    assert variance_table(evaluated(plan(CROSSED | changes), accuracies)).empty


def test_a_crossed_study_that_trains_on_all_images_ends_in_its_tables(tmp_path: Path) -> None:
    config = altered(CROSSED | {"refit": True, "training": {"epochs": 1}, "execution": {"seeds_per_job": 4}})
    workspace = Workspace.create(tmp_path / "crossed", config)

    workspace.snakemake()

    variance = pd.read_csv(workspace.folder / "tables" / "variance.csv")
    assert list(variance["method"]) == list(config["methods"])
    shares = variance[["noise_share", "initialisation_share", "residual_share"]].sum(axis=1)
    assert shares.tolist() == pytest.approx([100.0], abs=0.01)
    main = workspace.table()
    assert main["accuracy_mean"].notna().all()
    assert main["best_mean"].isna().all(), "no epoch was chosen"
    assert {record["best_epoch"] for record in workspace.records().values()} == {1}
    assert "proven" in workspace.collabpipe("verify").stdout
