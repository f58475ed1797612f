"""Tables: means, differences and counts worked by hand, and that every row leads to what it was made from."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from collabpipe.analysis.runs import EvaluatedRun, read_runs
from collabpipe.analysis.tables import main_table, write_tables
from collabpipe.cli import main
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import file_digest, is_sealed, read_json, write_json
from collabpipe.data.prepared import data_record
from collabpipe.plan.paths import FIGURE_FILES, TABLE_FILES, files_in
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe, read_recipe
from collabpipe.plan.record_types import MetricsRecord, TrainingRecord
from collabpipe.settings.claims import Claims, Rival
from collabpipe.settings.study import check_settings
from tests.workspaces import SMALL, Lab, altered

COLUMNS = [
    "dataset", "noise", "network", "method", "control", "rival", "n", "accuracy_mean", "accuracy_std", "best_mean",
    "diff_baseline", "diff_baseline_low", "diff_baseline_high", "diff_control", "diff_control_low",
    "diff_control_high", "diff_rival", "diff_rival_low", "diff_rival_high", "collapsed",
]  # fmt: skip
# Four methods over three seeds: test accuracy at the last epoch by method and seed; None: the run diverged.
ACCURACIES: dict[str, tuple[float | None, ...]] = {
    "baseline": (0.50, 0.60, 0.70),
    "output": (0.60, 0.65, 0.90),
    "output_control": (0.58, 0.66, 0.80),
    "kernel": (0.40, None, 0.10),
}
STUDY = altered({"methods": {"kernel": {}}, "seeds": [0, 1, 2]})


def plan(config: Mapping[str, Any] = STUDY) -> Plan:
    return Plan(check_settings(config, {}), Path("results"))


def evaluated(
    made: Plan, accuracies: Mapping[str, tuple[float | None, ...]], collapsed: tuple[str, ...] = ()
) -> list[EvaluatedRun]:
    """The runs of a plan with these accuracies; at the best epoch each is a point better; named ones collapsed."""
    runs = []
    for recipe in made.runs.values():
        accuracy = accuracies[recipe.run.method][recipe.run.seed]
        metrics: dict[str, Any] = {"status": "diverged", "last": None, "best": None, "collapsed": None}
        if accuracy is not None:
            metrics = {
                "status": "finished",
                "last": {"accuracy": accuracy},
                "best": {"accuracy": accuracy + 0.01, "epoch": 1},
                "collapsed": recipe.run.method in collapsed,
            }
        runs.append(EvaluatedRun(recipe, cast(TrainingRecord, {}), cast(MetricsRecord, metrics), if_diverged=10.0))
    return runs


def is_nan(value: object) -> bool:
    return value != value


def table(**options: Any) -> pd.DataFrame:
    made = plan()
    return main_table(made.study, evaluated(made, ACCURACIES, **options), made.paths).set_index("method", drop=False)


def test_the_columns_are_those_that_readers_of_the_csv_rely_on() -> None:
    found = table()

    assert list(found.columns[: len(COLUMNS)]) == COLUMNS
    assert list(found.columns[len(COLUMNS) :]) in ([], ["diverged"])


def test_there_is_a_row_a_method_in_the_order_of_the_configuration() -> None:
    found = table()

    assert list(found["method"]) == list(STUDY["methods"])
    assert set(found["dataset"]) == {"digits"}
    assert set(found["noise"]) == {"symmetric-0.5"}
    assert set(found["network"]) == {"resnet8"}


def test_means_and_deviations_by_hand() -> None:
    found = table()

    assert found.loc["baseline", "accuracy_mean"] == pytest.approx(60.0)
    assert found.loc["baseline", "accuracy_std"] == pytest.approx(10.0)
    assert found.loc["baseline", "best_mean"] == pytest.approx(61.0)
    assert found.loc["output", "accuracy_mean"] == pytest.approx(215 / 3)
    assert found.loc["baseline", "n"] == 3


def test_paired_differences_by_hand() -> None:
    found = table()

    # To the baseline: 10, 5, 20. Mean 35/3; deviation √(175/3) = 7.637626; t(0.975; 2) = 4.302653.
    half = 4.302653 * math.sqrt(175 / 3) / math.sqrt(3)
    assert found.loc["output", "diff_baseline"] == pytest.approx(35 / 3)
    assert found.loc["output", "diff_baseline_low"] == pytest.approx(35 / 3 - half, abs=1e-4)
    assert found.loc["output", "diff_baseline_high"] == pytest.approx(35 / 3 + half, abs=1e-4)
    # To the matched control: 2, -1, 10. Mean 11/3; squares (25 + 196 + 361)/9 = 582/9; variance 97/3.
    half = 4.302653 * math.sqrt(97 / 3) / math.sqrt(3)
    assert found.loc["output", "control"] == "output_control"
    assert found.loc["output", "diff_control"] == pytest.approx(11 / 3)
    assert found.loc["output", "diff_control_low"] == pytest.approx(11 / 3 - half, abs=1e-4)
    assert found.loc["output", "diff_control_high"] == pytest.approx(11 / 3 + half, abs=1e-4)


def test_a_method_that_is_compared_with_nothing_has_no_difference() -> None:
    found = table()

    assert is_nan(found.loc["baseline", "diff_baseline"])
    for method in ("baseline", "output_control"):
        assert found.loc[method, "control"] == ""
        assert is_nan(found.loc[method, "diff_control"])
        assert is_nan(found.loc[method, "diff_control_low"])
    # The control itself is compared with the baseline: what passes and dropout alone bring. 8, 6, 10.
    assert found.loc["output_control", "diff_baseline"] == pytest.approx(8.0)


def test_a_diverged_run_counts_as_chance_and_is_shown() -> None:
    found = table()

    assert found.loc["kernel", "n"] == 3
    assert found.loc["kernel", "diverged"] == 1
    assert list(found["diverged"].drop("kernel")) == [0, 0, 0]
    # 40, 10 (a tenth, as of ten classes) and 10, against 50, 60 and 70: -10, -50 and -60.
    assert found.loc["kernel", "accuracy_mean"] == pytest.approx(20.0)
    assert found.loc["kernel", "control"] == "baseline"
    assert found.loc["kernel", "diff_baseline"] == pytest.approx(-40.0)
    assert found.loc["kernel", "diff_control"] == pytest.approx(-40.0)


def test_the_difference_to_the_rival_by_hand() -> None:
    claims = {"a": {
        "source": "s", "says": "s", "metric": "accuracy", "methods": ["output"], "against": ["baseline"],
        "readings": ["last points"], "places": ["digits/symmetric-0.5/resnet8"],
        "rival": {"method": "baseline", "epoch": "best"},
    }}  # fmt: skip
    made = plan()
    study = made.study.model_copy(update={"claims": Claims.model_validate({"claims": claims})})
    found = main_table(study, evaluated(made, ACCURACIES), made.paths).set_index("method")

    # To the baseline at its best epoch, a point above its last: 9, 4, 19.
    half = 4.302653 * math.sqrt(175 / 3) / math.sqrt(3)
    assert list(found["rival"]) == ["", *["baseline (best epoch)"] * 3]
    assert found.loc["output", "diff_rival"] == pytest.approx(32 / 3)
    assert found.loc["output", "diff_rival_low"] == pytest.approx(32 / 3 - half, abs=1e-4)
    assert found.loc["output", "diff_rival_high"] == pytest.approx(32 / 3 + half, abs=1e-4)
    assert is_nan(found.loc["baseline", "diff_rival"])


def test_a_study_without_claims_has_differences_to_the_rival_that_it_names() -> None:
    made = plan({**STUDY, "rival": {"method": "baseline", "epoch": "best"}})
    found = main_table(made.study, evaluated(made, ACCURACIES), made.paths).set_index("method")

    assert made.study.claims is None
    assert list(found["rival"]) == ["", *["baseline (best epoch)"] * 3]
    assert found.loc["output", "diff_rival"] == pytest.approx(32 / 3)


def test_a_method_of_which_every_run_diverged_keeps_its_row() -> None:
    made = plan()

    found = main_table(made.study, evaluated(made, {**ACCURACIES, "output": (None, None, None)}), made.paths).set_index(
        "method"
    )

    assert (found.loc["output", "n"], found.loc["output", "diverged"]) == (3, 3)
    assert found.loc["output", "accuracy_mean"] == pytest.approx(10.0)
    assert found.loc["output", "diff_control"] == pytest.approx(10.0 - 68.0)


def test_collapsed_runs_are_counted_and_stay_in_the_mean() -> None:
    found = table(collapsed=("output",))

    assert list(found["collapsed"]) == [0, 3, 0, 0]
    assert found.loc["output", "n"] == 3


def test_one_seed_has_a_difference_without_an_interval() -> None:
    made = plan(altered({"seeds": [0]}))

    found = main_table(made.study, evaluated(made, ACCURACIES), made.paths).set_index("method")

    assert found.loc["output", "diff_baseline"] == pytest.approx(10.0)
    assert is_nan(found.loc["output", "diff_baseline_low"])
    assert is_nan(found.loc["output", "accuracy_std"])


def test_cells_are_compared_within_their_own_data_noise_and_network() -> None:
    made = plan(altered({"noise": ["none", "pair-0.4"], "networks": {"vgg16": {}}, "seeds": [0, 1, 2]}))
    runs = evaluated(made, ACCURACIES)
    for run in runs:  # the other cells are all a point worse for each step, so that a mixture would show
        if run.name.noise == "pair-0.4":
            run.last["accuracy"] -= 0.2 + (0.1 if run.name.method == "output" else 0.0)

    found = main_table(made.study, runs, made.paths).set_index(["noise", "network", "method"])

    assert len(found) == 2 * 2 * 3
    for network in ("resnet8", "vgg16"):
        assert found.loc[("none", network, "output"), "diff_baseline"] == pytest.approx(35 / 3)
        assert found.loc[("pair-0.4", network, "output"), "diff_baseline"] == pytest.approx(35 / 3 - 10)


# --- a real study: six runs that finish and two that diverge ----------------------------------------------------------

# A weight beyond single precision's range: the first loss is infinite.
REAL = {"methods": {"exploding": {"kind": "kernel", "weight": 1e39}}, "training": {"epochs": 1}}


@pytest.fixture(scope="module")
def finished(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """A small study, trained and evaluated by the real commands; never written to."""
    root = tmp_path_factory.mktemp("study")
    paths, recipes = lab.lay_out(root, REAL)
    made = Plan(check_settings(altered(REAL), {}), paths.root)
    study = made.study.write(paths.recipes)
    for command in ("train", "evaluate"):
        assert main([command, *map(str, recipes.values()), *paths.options]) == 0
    for command in ("tables", "figures"):
        assert main([command, str(study), *paths.options]) == 0
    return made, paths.root


@pytest.fixture
def study(finished: tuple[Plan, Path], tmp_path: Path) -> tuple[Plan, Path]:
    """A copy of the finished study, to be spoilt."""
    made, root = finished
    shutil.copytree(root, tmp_path / "results")
    return Plan(made.settings, tmp_path / "results"), tmp_path / "results"


def test_all_tables_and_figures_are_written(finished: tuple[Plan, Path]) -> None:
    made, _ = finished

    for path in (*files_in(made.paths.tables, TABLE_FILES), *files_in(made.paths.figures, FIGURE_FILES)):
        assert path.stat().st_size > 0
    for folder in ("tables", "figures"):
        record = read_json(made.paths.folder / folder / "record.json")
        assert record["study"] == made.study.digest
        assert len(set(record["evaluations"])) == len(made.runs)
        assert is_sealed(record)


def test_records_name_what_each_artefact_was_made_from_and_not_where(finished: tuple[Plan, Path]) -> None:
    made, _ = finished
    data = data_record(made.data["digits"], made.paths.dataset("digits"))
    sums = {name: about["sha256"] for name, about in data["files"].items()}

    for recipe in made.runs.values():
        labels = read_json(made.paths.labels(recipe.labels).with_suffix(".json"))
        record = read_json(made.paths.run(recipe.run) / "record.json")
        folder = made.paths.evaluation(recipe.run)
        metrics = read_json(folder / "metrics.json")
        assert labels["inputs"] == {name: sums[name] for name in ("train.arrow", "annotations.parquet")}
        assert record["inputs"] == {"train.arrow": sums["train.arrow"], "labels": labels["sha256"]}
        assert metrics["inputs"] == {"training": record["digest"], "test.arrow": sums["test.arrow"]}
        assert metrics["files"] == {"predictions.parquet": file_digest(folder / "predictions.parquet")}
        assert (metrics["recipe"], metrics["run"]) == (recipe.digest, recipe.run.model_dump())
        for found in (labels, record, metrics):
            assert is_sealed(found)
            assert not {"cost", "where", "host", "commit"} & found.keys()
        for artefact in (made.paths.labels(recipe.labels), made.paths.run(recipe.run), folder):
            assert {"host", "commit", "packages"} <= read_json(made.paths.provenance(artefact)).keys()


def test_the_csv_is_the_table_of_the_runs_predictions(finished: tuple[Plan, Path]) -> None:
    made, root = finished
    found = pd.read_csv(root / "small" / "tables" / "main.csv").set_index("method", drop=False)

    assert list(found.columns[: len(COLUMNS)]) == COLUMNS
    for method in SMALL["methods"]:
        accuracies = []
        for seed in (0, 1):
            folder = made.paths.evaluation(made.runs[f"digits/symmetric-0.5/resnet8/{method}/seed{seed}"].run)
            predictions = pd.read_parquet(folder / "predictions.parquet")
            assert len(predictions) == 500
            accuracies.append(100 * (predictions["prediction"] == predictions["label"]).mean())
        assert found.loc[method, "accuracy_mean"] == pytest.approx(np.mean(accuracies), abs=1e-3)
        assert found.loc[method, "n"] == 2
    assert (found.loc["exploding", "n"], found.loc["exploding", "diverged"]) == (2, 2)
    assert found.loc["exploding", "accuracy_mean"] == pytest.approx(10.0), "chance among ten digits"


def test_the_readable_tables_hold_a_row_a_method_and_say_what_they_show(finished: tuple[Plan, Path]) -> None:
    _, root = finished
    markdown = (root / "small" / "tables" / "main.md").read_text(encoding="utf-8")
    latex = (root / "small" / "tables" / "main.tex").read_text(encoding="utf-8")

    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert "operationalisation" in markdown
    assert not [row for row in rows if "nan" in row], "what has no number is an empty cell"
    for method in ("baseline", "output", "exploding"):
        assert any(f" {method} " in row for row in rows)
        assert method in latex
    assert latex.count(r"\\") >= 5


def test_the_readable_table_says_who_named_the_rival(study: tuple[Plan, Path]) -> None:
    made, root = study
    path = root / "small" / "tables" / "main.md"
    assert "that the claims' file names the one" in path.read_text(encoding="utf-8")

    write_tables(made.study.model_copy(update={"rival": (Rival(method="baseline"),)}), made.paths)

    text = path.read_text(encoding="utf-8")
    assert "| − rival" in text
    assert "that the study names the one" in text
    assert "This study states no claims" in path.with_name("claims.md").read_text(encoding="utf-8")


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted places."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in flat(inner, f"{prefix}.{key}" if prefix else key).items()}


def below(results: Path, shown: str) -> Path:
    """The file that a table names, which calls the results folder `results` wherever it lies."""
    return results / Path(shown).relative_to("results")


def test_a_row_a_run_holds_every_hyper_parameter_and_leads_to_its_artefacts(finished: tuple[Plan, Path]) -> None:
    made, root = finished
    found = pd.read_parquet(root / "small" / "tables" / "runs.parquet")

    assert len(found) == len(made.runs) == 8
    for (_, row), recipe in zip(found.iterrows(), made.runs.values(), strict=True):
        assert (row["method"], row["seed"]) == (recipe.run.method, recipe.run.seed)
        for column in ("recipe", "labels", "checkpoint", "history", "provenance"):
            assert below(root, row[column]).is_file()
        assert read_recipe(below(root, row["recipe"]), TrainRecipe) == recipe
        assert "commit" in read_json(below(root, row["provenance"]))
        for place, value in flat(recipe.model_dump(mode="json", exclude={"run", "undecided"})).items():
            held = row[place]
            if isinstance(value, list):
                held = json.loads(held)
            assert (held is None or held != held) if value is None else held == value, place


def test_the_last_epochs_metrics_are_in_the_rows_and_missing_for_diverged_runs(finished: tuple[Plan, Path]) -> None:
    _, root = finished
    found = pd.read_parquet(root / "small" / "tables" / "runs.parquet")
    diverged = found["method"] == "exploding"

    assert set(found["status"][diverged]) == {"diverged"}
    assert set(found["status"][~diverged]) == {"finished"}
    assert found["last.accuracy"][~diverged].between(0, 1).all()
    assert found["last.accuracy"][diverged].isna().all()


def test_metrics_of_another_training_are_refused(study: tuple[Plan, Path]) -> None:
    made, _ = study
    runs = [made.runs[f"digits/symmetric-0.5/resnet8/output/seed{seed}"].run for seed in (0, 1)]
    folders = [made.paths.evaluation(run) for run in runs]
    metrics = read_json(folders[1] / "metrics.json")
    write_json(folders[0] / "metrics.json", metrics)

    with pytest.raises(CollabpipeError) as caught:
        write_tables(made.study, made.paths)

    assert str(folders[0] / "metrics.json") in str(caught.value)
    assert "belongs to another training" in str(caught.value)
    assert "collabpipe evaluate" in str(caught.value)


def test_a_run_of_another_recipe_is_refused(study: tuple[Plan, Path]) -> None:
    root = study[1]
    other = Plan(check_settings(altered({"training": {"epochs": 3}}, altered(REAL)), {}), root)
    for recipe in other.runs.values():
        recipe.write(root / "recipes")

    with pytest.raises(CollabpipeError, match="checkpoint of another recipe"):
        read_runs(other.study, other.paths)


@pytest.mark.parametrize("name", ["metrics.json", "record.json"])
def test_a_run_that_is_missing_is_named(name: str, study: tuple[Plan, Path]) -> None:
    made, _ = study
    run = made.runs["digits/symmetric-0.5/resnet8/baseline/seed1"].run
    missing = (made.paths.run(run) if name == "record.json" else made.paths.evaluation(run)) / name
    missing.unlink()

    with pytest.raises(CollabpipeError) as caught:
        read_runs(made.study, made.paths)

    assert str(missing) in str(caught.value)


def test_refused_tables_leave_the_old_ones_as_they_were(study: tuple[Plan, Path]) -> None:
    made, root = study
    before = {path: path.read_bytes() for path in (root / "small" / "tables").iterdir()}
    (made.paths.evaluation(next(iter(made.runs.values())).run) / "metrics.json").unlink()

    assert main(["tables", str(made.study.write(root / "recipes")), *made.paths.options]) == 1

    assert {path: path.read_bytes() for path in (root / "small" / "tables").iterdir()} == before


# --- label noise, two classes, unfinished studies ---------------------------------------------------------------------


def test_label_files_have_a_row_each_with_the_rate_that_came_out(finished: tuple[Plan, Path]) -> None:
    made, root = finished
    found = pd.read_csv(root / "small" / "tables" / "noise.csv").set_index("seed", drop=False)

    assert list(found.index) == [0, 1], "one a label file, not one a run"
    assert set(found["dataset"]) == {"digits"}
    assert set(found["noise"]) == {"symmetric-0.5"}
    assert set(found["rate_asked"]) == {0.5}
    assert len(set(found["sha256"])) == 2
    for seed, row in found.iterrows():
        path = below(root, row["labels"])
        assert path == made.paths.labels(made.labels["digits", "symmetric-0.5", seed])  # type: ignore[index]
        labels = pd.read_parquet(path)
        wrong = labels["clean"] != labels["noisy"]
        assert row["true_rate"] == pytest.approx(wrong.mean())
        assert row["true_rate_training"] == pytest.approx(wrong[~labels["validation"]].mean())
        assert (row["images"], row["validation"]) == (len(labels), labels["validation"].sum()) == (250, 50)


def test_two_classes_have_columns_for_the_area_under_the_curve() -> None:
    made = plan()
    runs = evaluated(made, ACCURACIES)
    for run in runs:
        if run.finished and run.name.method != "output":
            run.last["auc"] = 0.9 + 0.01 * run.name.seed

    found = main_table(made.study, runs, made.paths).set_index("method")

    assert found.loc["baseline", "auc_mean"] == pytest.approx(0.91)
    assert found.loc["baseline", "auc_std"] == pytest.approx(0.01)
    assert found.loc["kernel", "auc_mean"] == pytest.approx(0.91), "the diverged run has none"
    assert is_nan(found.loc["output", "auc_mean"])
    assert not [column for column in table().columns if "auc" in column], "of ten classes there is none"


def test_scores_of_groups_have_columns_where_images_have_groups() -> None:
    made = plan()
    runs = evaluated(made, ACCURACIES)
    for run in runs:
        if run.finished and run.name.method == "baseline":
            run.last.update({"groups": 4, "group_accuracy": 0.75 + 0.05 * run.name.seed, "group_auc": 0.9})

    found = main_table(made.study, runs, made.paths).set_index("method")

    assert found.loc["baseline", "group_accuracy_mean"] == pytest.approx(80.0), "in percent, as the images'"
    assert found.loc["baseline", "group_accuracy_std"] == pytest.approx(5.0)
    assert found.loc["baseline", "group_auc_mean"] == pytest.approx(0.9)
    assert is_nan(found.loc["output", "group_accuracy_mean"])
    assert not [column for column in table().columns if "group" in column]


def test_the_area_is_shown_where_there_is_one(study: tuple[Plan, Path]) -> None:
    made, root = study
    for recipe in made.runs.values():
        path = made.paths.evaluation(recipe.run) / "metrics.json"
        metrics = read_json(path)
        if recipe.run.method == "output":
            write_json(path, metrics | {"last": metrics["last"] | {"auc": 0.875}})

    write_tables(made.study, made.paths)

    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (root / "small" / "tables" / "main.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    assert {row[header.index("method")]: row[header.index("AUC")] for row in rows} == {
        "baseline": "", "output": "0.8750", "output_control": "", "exploding": ""
    }  # fmt: skip
    assert pd.read_csv(root / "small" / "tables" / "main.csv").set_index("method").loc["output", "auc_mean"] == 0.875


def untouched(root: Path) -> dict[Path, tuple[int, bytes]]:
    """Time and content of the finished tables and figures."""
    files = [path for name in ("tables", "figures") for path in (root / "small" / name).iterdir() if path.is_file()]
    assert len(files) >= len(TABLE_FILES) + len(FIGURE_FILES)
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_an_unfinished_study_shows_how_much_of_it_there_is_beside_the_finished_tables(
    study: tuple[Plan, Path],
) -> None:
    made, root = study
    for method, seed in (("output", 1), ("output_control", 0), ("output_control", 1)):
        run = made.runs[f"digits/symmetric-0.5/resnet8/{method}/seed{seed}"].run
        (made.paths.evaluation(run) / "metrics.json").unlink()
    whole, before = pd.read_csv(root / "small" / "tables" / "main.csv").set_index("method"), untouched(root)
    asked = [str(made.study.write(root / "recipes")), *made.paths.options]

    for command in ("tables", "figures"):
        assert main([command, *asked, "--partial"]) == 0

    assert untouched(root) == before
    partial = root / "small" / "tables" / "partial"
    assert {path.name for path in partial.iterdir()} == set(TABLE_FILES)
    assert {path.name for path in (root / "small" / "figures" / "partial").iterdir()} == set(FIGURE_FILES)
    markdown = (partial / "main.md").read_text(encoding="utf-8")
    assert markdown.startswith("Unfinished: 5 of the study's 8 runs are evaluated; n says how many of each.\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines() if line.startswith("|")]
    assert {row[3]: row[4] for row in rows[2:]} == {"baseline": "2 of 2", "output": "1 of 2", "exploding": "2 of 2"}
    found = pd.read_csv(partial / "main.csv").set_index("method")
    assert list(found.index) == ["baseline", "output", "exploding"]
    assert found["accuracy_mean"].to_dict()["baseline"] == whole["accuracy_mean"].to_dict()["baseline"]
    assert list(found["n"]) == [2, 1, 2]
    assert list(found["diverged"]) == [0, 0, 2]
    assert len(pd.read_parquet(partial / "runs.parquet")) == 5
    assert len(read_json(partial / "record.json")["evaluations"]) == 5
    for command in ("tables", "figures"):
        assert main([command, *asked]) == 1, "without --partial it is refused"


def test_partial_tables_of_a_whole_study_are_its_tables(study: tuple[Plan, Path]) -> None:
    made, _ = study

    for partial in (False, True):
        write_tables(made.study, made.paths, partial)

    for name in ("main.csv", "noise.csv", "record.json", "claims.csv"):
        tables = made.paths.tables
        assert (tables / "partial" / name).read_bytes() == (tables / name).read_bytes()


def test_a_run_of_another_recipe_is_no_part_of_an_unfinished_study(study: tuple[Plan, Path]) -> None:
    made, root = study
    folders = [made.paths.run(made.runs[f"digits/symmetric-0.5/resnet8/output/seed{seed}"].run) for seed in (0, 1)]
    write_json(folders[0] / "record.json", read_json(folders[1] / "record.json"))

    write_tables(made.study, made.paths, partial=True)

    assert pd.read_csv(root / "small" / "tables" / "partial" / "main.csv").set_index("method").loc["output", "n"] == 1


def test_a_study_of_which_nothing_is_evaluated_has_no_partial_tables(
    study: tuple[Plan, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    made, root = study
    for recipe in made.runs.values():
        (made.paths.evaluation(recipe.run) / "metrics.json").unlink()
    before = untouched(root)

    assert main(["tables", str(made.study.write(root / "recipes")), *made.paths.options, "--partial"]) == 1

    assert "no run of study small is evaluated yet" in capsys.readouterr().err
    assert untouched(root) == before
    assert not (root / "small" / "tables" / "partial").exists()
