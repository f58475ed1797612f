"""Proof by content: an untouched study is proven, and whatever was tampered with is the first thing that is named.

Unless a test says so nothing else is blamed: what was made from a broken artefact is as it was.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from collabpipe.analysis.figures.write import write_figures
from collabpipe.analysis.tables import write_tables
from collabpipe.audit.verify import Depth, Verifier
from collabpipe.cli import main
from collabpipe.common.files import file_digest, json_digest, json_text, read_json, sealed, write_json
from collabpipe.data.labels import LabelFile, read_labels, write_labels
from collabpipe.host.signals import Interruption
from collabpipe.jobs.evaluate import evaluate, metrics_of
from collabpipe.jobs.overhead import measure_study
from collabpipe.jobs.train import train
from collabpipe.plan.paths import PREDICTIONS, Paths
from collabpipe.plan.recipes import EVALUATION_NUMERICS, LabelsRecipe, read_recipe, training_digest
from collabpipe.plan.study_recipes import REPORT_NUMERICS
from collabpipe.report.write import write_report
from collabpipe.results.records import evaluation_key
from collabpipe.results.retention import thin
from collabpipe.results.studies import Study
from collabpipe.results.timestamps import settle
from collabpipe.settings.training import ExecutionSettings
from collabpipe.training.checkpoint import weights_digest
from tests import searches
from tests.workspaces import Workspace, altered

# One finished search for all test files that need it.

CELL = "digits/symmetric-0.5/resnet8"
RUN = f"{CELL}/output/seed0"
OTHER_RUN = f"{CELL}/output/seed1"
LABELS = "small/labels/digits/symmetric-0.5/seed0.parquet"
PROVEN = "Every cell of the tables follows from its data, labels, recipes and checkpoints."
ADVICE = re.compile(r"(?:first break|out of date): (.*?)\n(?:Remove what is broken|Nothing of this needs to be) ", re.S)
KINDS = ["data set", "label file", "checkpoint", "evaluation", "overhead", "tables", "figures", "report"]


@dataclass(frozen=True)
class Verdict:
    """What `collabpipe verify` said."""

    code: int
    breaks: list[str]
    """The first one first."""
    error: str
    text: str

    def counts(self) -> dict[str, tuple[int, ...]]:
        """Asked for, proven, missing, and broken or out of date, by kind of artefact."""
        rows = re.findall(r"│ ([\w ]+?) +│ +(\d+) │ +(\d+) │ +(\d+) │ +(\d+) │ +(\d+) │", self.text)
        return {kind: (*map(int, n[:3]), int(n[3]) + int(n[4])) for kind, *n in rows}

    def missing(self) -> dict[str, int]:
        """How many artefacts are missing, of the kinds of which any is."""
        return {kind: missing for kind, (_, _, missing, _) in self.counts().items() if missing}


Verify = Callable[..., Verdict]


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """`collabpipe verify` in a study's folder."""

    def verify(study: Workspace, *options: str) -> Verdict:
        monkeypatch.chdir(study.root)
        capsys.readouterr()
        code = main(["verify", *options])
        printed = capsys.readouterr()
        return Verdict(
            code,
            [line for found in ADVICE.findall(printed.err) for line in found.split("\n")],
            printed.err,
            printed.out,
        )

    return verify


def broken(study: Workspace, depth: Depth) -> list[str]:
    """What is wrong with each artefact that is not proven."""
    return [str(wrong) for check in Verifier(study.plan, depth).checks() if (wrong := check.broken())]


def reseal(path: Path, **changes: Any) -> None:
    """Edit a record and give it the seal that belongs to what it says now."""
    write_json(path, sealed(read_json(path) | changes))


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace texts in a file, which must be in it; other links to the file see nothing of it."""
    text = path.read_text()
    path.unlink()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace(target: Path, source: Path) -> None:
    """Put a copy of another file in the place of `target`, without touching the file that it is linked to."""
    target.unlink()
    shutil.copyfile(source, target)


# --- untouched -------------------------------------------------------------------------------------------------------


def test_an_untouched_study_is_proven_at_each_depth_and_nothing_is_written(study: Workspace, verify: Verify) -> None:
    before = study.times()
    assert broken(study, "sums") == []
    for options in ([], ["--recompute"]):
        verdict = verify(study, *options)
        assert (verdict.code, verdict.error) == (0, "")
        assert PROVEN in verdict.text
        asked = dict(zip(KINDS, (1, 2, 6, 6, 1, 1, 1, 1), strict=True))
        assert verdict.counts() == {kind: (number, number, 0, 0) for kind, number in asked.items()}
    assert study.times() == before


def test_a_searched_study_with_halved_weights_and_candidates_without_any_is_proven(
    searched: searches.Searched, verify: Verify
) -> None:
    assert broken(searched, "sums") == []
    for options in ([], ["--recompute"]):
        verdict = verify(searched, *options)
        assert (verdict.code, verdict.error) == (0, "")
        assert verdict.counts()["candidate"] == (2, 2, 0, 0)
        assert verdict.counts()["choice"] == (1, 1, 0, 0)


def test_a_study_without_weights_is_proven_and_an_exchanged_rest_is_found(study: Workspace, verify: Verify) -> None:
    plan = study.plan
    for recipe in plan.runs.values():
        thin(recipe.run, plan.paths, "none")
    assert broken(study, "sums") == []
    for options in ([], ["--recompute"]):
        assert verify(study, *options).code == 0

    flip(study.folder / "runs" / RUN / "last.safetensors")
    verdict = verify(study, "--recompute")
    assert len(verdict.breaks) == 1
    assert verdict.breaks[0].startswith(f"results/small/runs/{RUN}/last.safetensors: ")


def test_a_study_with_a_diverged_run_is_proven(
    study: Workspace, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = {"output": None, "output_control": None, "explodes": {"kind": "kernel", "weight": 1e39}}
    study.configure(altered({"methods": methods, "seeds": [0]}))
    monkeypatch.chdir(study.root)
    plan = study.plan.from_files([study.config], Path("results"))
    settle(plan)
    explodes = plan.runs[f"{CELL}/explodes/seed0"]
    train(explodes, plan.paths, ExecutionSettings(), Interruption())
    evaluate(explodes, plan.paths)
    measure_study(plan.overhead, plan.paths, 0.05, capture=True)
    write_tables(plan.study, plan.paths)
    write_figures(plan.study, plan.paths)
    write_report(Study.of_files(plan))

    assert read_json(plan.paths.evaluation(explodes.run) / "metrics.json")["status"] == "diverged"
    for options in ([], ["--recompute"]):
        verdict = verify(study, *options)
        assert (verdict.code, verdict.error) == (0, "")


def test_a_run_whose_logits_overflow_counts_as_diverged_and_is_proven(
    study: Workspace, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.root)
    plan = study.plan.from_files([study.config], Path("results"))
    forge_weights(Path("results"), 1e38)

    evaluate(plan.runs[RUN], plan.paths)
    write_tables(plan.study, plan.paths)
    write_figures(plan.study, plan.paths)
    write_report(Study.of_files(plan))

    found = read_json(metrics(Path("results")))
    assert (found["status"], found["last"], found["collapsed"]) == ("diverged", None, None)
    assert found["best"]["accuracy"] > 0
    assert pq.read_table(metrics(Path("results")).parent / PREDICTIONS).num_rows == 500
    table = study.table()
    assert (table["n"]["output"], table["diverged"]["output"]) == (2, 1)
    for options in ([], ["--recompute"]):
        verdict = verify(study, *options)
        assert (verdict.code, verdict.error) == (0, "")


# --- tampered with ---------------------------------------------------------------------------------------------------

Tamper = Callable[[Path], None]


def own(results: Path) -> Path:
    """The folder of the study."""
    return Workspace(results.parent).folder


def weights_of_another_run(results: Path) -> None:
    replace(
        own(results) / "runs" / RUN / "last.safetensors",
        own(results) / "runs" / OTHER_RUN / "last.safetensors",
    )


def everything_of_another_run(results: Path) -> None:
    for source in (own(results) / "runs" / OTHER_RUN).iterdir():
        replace(own(results) / "runs" / RUN / source.name, source)


def weights_of_another_run_in_a_sealed_record(results: Path) -> None:
    weights_of_another_run(results)
    folder = own(results) / "runs" / RUN
    files = read_json(folder / "record.json")["files"]
    reseal(folder / "record.json", files=files | {"last.safetensors": file_digest(folder / "last.safetensors")})


def forge_weights(results: Path, value: float = 0.0) -> None:
    """Put other weights into a run, all of them `value`, and correct every digest from there to the tables."""
    folder, evaluation, tables = (
        own(results) / "runs" / RUN,
        own(results) / "evaluations" / RUN,
        own(results) / "tables",
    )
    weights = {
        name: torch.full_like(old, value if old.is_floating_point() else 0)
        for name, old in load_file(folder / "last.safetensors").items()
    }
    (folder / "last.safetensors").unlink()
    save_file(weights, folder / "last.safetensors")
    record, metrics = read_json(folder / "record.json"), read_json(evaluation / "metrics.json")
    record["weights"]["last"] = weights_digest(weights)
    record["files"]["last.safetensors"] = file_digest(folder / "last.safetensors")
    record["digest"] = training_digest(record)
    write_json(folder / "record.json", sealed(record))
    before = metrics["digest"]
    metrics["inputs"]["training"] = record["digest"]
    metrics["digest"] = metrics["key"] = evaluation_key(metrics["inputs"])
    write_json(evaluation / "metrics.json", sealed(metrics))
    evaluations = [metrics["digest"] if e == before else e for e in read_json(tables / "record.json")["evaluations"]]
    reseal(tables / "record.json", evaluations=evaluations)
    report_those_tables(results)


def report_those_tables(results: Path) -> None:
    """Let the report's record say that it shows the tables that are there."""
    report, tables = own(results) / "report.json", own(results) / "tables" / "record.json"
    reseal(report, shows=read_json(report)["shows"] | {"tables": read_json(tables)["seal"]})


def best_epoch(results: Path) -> None:
    record = own(results) / "runs" / RUN / "record.json"
    reseal(record, best_epoch=3 - read_json(record)["best_epoch"])


def an_edited_history(results: Path) -> None:
    path = own(results) / "runs" / RUN / "history.parquet"
    table = pq.read_table(path)
    path.unlink()
    accuracy = pa.array(np.full(table.num_rows, 0.99))
    column = table.schema.get_field_index("validation_accuracy")
    pq.write_table(table.set_column(column, "validation_accuracy", accuracy), path)


def labels_of_another_seed(results: Path) -> None:
    replace(results / LABELS, (results / LABELS).with_stem("seed1"))


def labels_and_record_of_another_seed(results: Path) -> None:
    labels_of_another_seed(results)
    about = (results / LABELS).with_suffix(".json")
    replace(about, about.with_stem("seed1"))


def an_edited_label(results: Path) -> None:
    """One noisy label is another one, in a valid file."""
    table = pq.read_table(results / LABELS)
    noisy = table["noisy"].to_numpy().copy()
    noisy[0] = (noisy[0] + 1) % 10
    changed = table.set_column(table.schema.get_field_index("noisy"), "noisy", pa.array(noisy))
    pq.write_table(changed, results / LABELS)


def an_edited_label_with_its_sum(results: Path) -> None:
    an_edited_label(results)
    columns = pq.read_table(results / LABELS)
    names = ("index", "clean", "noisy", "validation")
    sha256 = LabelFile(*(columns[name].to_numpy() for name in names)).sha256
    about = read_json((results / LABELS).with_suffix(".json")) | {"sha256": sha256}
    pq.write_table(columns.replace_schema_metadata({"collabpipe": json_text(about)}), results / LABELS)


def an_edited_label_with_its_sum_in_a_sealed_record(results: Path) -> None:
    an_edited_label_with_its_sum(results)
    columns = pq.read_table(results / LABELS)
    edited = LabelFile(*(columns[name].to_numpy() for name in ("index", "clean", "noisy", "validation")))
    record = read_json((results / LABELS).with_suffix(".json"))
    recipe = read_recipe(results / "recipes" / f"{record['recipe']}.json", LabelsRecipe)
    write_labels(results / LABELS, recipe, edited, record["classes"], record["inputs"])


def metrics(results: Path) -> Path:
    return own(results) / "evaluations" / RUN / "metrics.json"


def an_edited_accuracy(results: Path) -> None:
    accuracy = read_json(metrics(results))["last"]["accuracy"]
    edit(metrics(results), (f'"accuracy": {accuracy}', '"accuracy": 0.99'))


def an_edited_accuracy_in_sealed_metrics(results: Path) -> None:
    reseal(metrics(results), last=read_json(metrics(results))["last"] | {"accuracy": 0.99})


def an_edited_best_accuracy_in_sealed_metrics(results: Path) -> None:
    reseal(metrics(results), best=read_json(metrics(results))["best"] | {"accuracy": 0.99})


def a_run_declared_diverged(results: Path) -> None:
    reseal(metrics(results), status="diverged", last=None, best=None, collapsed=None)


def edited_predictions(results: Path) -> None:
    """The predictions become the labels themselves."""
    path = own(results) / "evaluations" / RUN / PREDICTIONS
    table = pq.read_table(path)
    path.unlink()
    certain = 9 * np.eye(10, dtype=np.float32)[table["label"].to_numpy()]
    column = pa.FixedSizeListArray.from_arrays(pa.array(certain.reshape(-1)), 10)
    pq.write_table(table.set_column(table.schema.get_field_index("logits"), "logits", column), path)


def edited_predictions_in_sealed_metrics(results: Path) -> None:
    edited_predictions(results)
    folder = metrics(results).parent
    reseal(metrics(results), **metrics_of(folder), files={PREDICTIONS: file_digest(folder / PREDICTIONS)})


def write_tables_again(results: Path) -> None:
    plan = Workspace(results.parent).plan
    write_tables(plan.study, Paths(Path("results"), plan.paths.study))
    report_those_tables(results)


def a_study_of_edited_predictions(results: Path) -> None:
    """All that follows from edited predictions follows from them."""
    edited_predictions_in_sealed_metrics(results)
    write_tables_again(results)


def a_labels_record_with_another_rate(results: Path) -> None:
    """The record says of unchanged labels that they are hardly noisy, and so do the tables."""
    reseal((results / LABELS).with_suffix(".json"), true_rate=0.01)
    write_tables_again(results)


def a_changed_image(results: Path) -> None:
    flip(results / "datasets" / "digits" / "train.arrow")


def a_changed_test_image(results: Path) -> None:
    flip(results / "datasets" / "digits" / "test.arrow")


def another_figure(results: Path) -> None:
    replace(own(results) / "figures" / "curves.png", own(results) / "figures" / "transitions.png")


def an_edited_overhead_table(results: Path) -> None:
    path = own(results) / "overhead" / "overhead.csv"
    number = re.search(r"\d+\.\d+", path.read_text())
    assert number is not None
    edit(path, (number.group(), "0.1"))


def edited_rounds(results: Path) -> None:
    path = own(results) / "overhead" / "overhead.json"
    rounds = {name: [0.001 for _ in times] for name, times in read_json(path)["rounds"].items()}
    path.write_text(json_text(read_json(path) | {"rounds": rounds}))


def an_overhead_figure_for_reading(results: Path) -> None:
    edit(own(results) / "overhead" / "overhead.md", ("×1.00", "×0.50"))


TAMPERED: list[tuple[Tamper, Depth, str]] = [
    (lambda r: flip(own(r) / "runs" / RUN / "last.safetensors"), "sums", f"small/runs/{RUN}/last.safetensors"),
    (lambda r: flip(own(r) / "runs" / RUN / "best.safetensors"), "sums", f"small/runs/{RUN}/best.safetensors"),
    (weights_of_another_run, "sums", f"small/runs/{RUN}/last.safetensors"),
    (everything_of_another_run, "sums", f"small/runs/{RUN}/record.json"),
    (weights_of_another_run_in_a_sealed_record, "recomputed", f"small/runs/{RUN}/last.safetensors"),
    (forge_weights, "recomputed", f"small/evaluations/{RUN}"),
    (best_epoch, "recomputed", f"small/evaluations/{RUN}"),
    (an_edited_history, "sums", f"small/runs/{RUN}/history.parquet"),
    (labels_of_another_seed, "sums", LABELS),
    (labels_and_record_of_another_seed, "sums", "small/labels/digits/symmetric-0.5/seed0."),
    (an_edited_label, "sums", LABELS),
    (an_edited_label_with_its_sum, "sums", "small/labels/digits/symmetric-0.5/seed0."),
    (an_edited_label_with_its_sum_in_a_sealed_record, "recomputed", LABELS),
    (a_labels_record_with_another_rate, "follows", "small/labels/digits/symmetric-0.5/seed0."),
    (an_edited_accuracy, "sums", f"small/evaluations/{RUN}/metrics.json"),
    (an_edited_accuracy_in_sealed_metrics, "follows", f"small/evaluations/{RUN}/metrics.json"),
    (an_edited_best_accuracy_in_sealed_metrics, "recomputed", f"small/evaluations/{RUN}"),
    (a_run_declared_diverged, "follows", f"small/evaluations/{RUN}/metrics.json"),
    (edited_predictions, "sums", f"small/evaluations/{RUN}/{PREDICTIONS}"),
    (edited_predictions_in_sealed_metrics, "recomputed", f"small/evaluations/{RUN}"),
    (a_study_of_edited_predictions, "recomputed", f"small/evaluations/{RUN}"),
    (a_changed_image, "sums", "datasets/digits/train.arrow"),
    (a_changed_test_image, "sums", "datasets/digits/test.arrow"),
    (another_figure, "sums", "small/figures/curves.png"),
    (an_edited_overhead_table, "sums", "small/overhead/overhead.csv"),
    (edited_rounds, "sums", "small/overhead/overhead.json"),
    (an_overhead_figure_for_reading, "sums", "small/overhead/overhead.md"),
]


def name_of(value: object) -> str | None:
    return getattr(value, "__name__", None)


@pytest.mark.parametrize(("tamper", "depth", "where"), TAMPERED, ids=name_of)
def test_what_was_tampered_with_is_named_and_nothing_that_builds_on_it(
    tamper: Tamper, depth: Depth, where: str, study: Workspace, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.root)
    tamper(study.results)

    if depth == "sums":
        [alone] = broken(study, "sums")
        assert alone.startswith(f"{study.results}/{where}")
    for options in [[], ["--recompute"]][depth == "recomputed" :]:
        verdict = verify(study, *options)
        assert verdict.code == 1
        assert verdict.breaks, verdict.error
        assert verdict.breaks[0].startswith(f"results/{where}")
        assert verdict.breaks[1:] == []
        assert [kind for kind, (_, _, _, number) in verdict.counts().items() if number]
        assert PROVEN not in verdict.text


# --- tables ----------------------------------------------------------------------------------------------------------


def edited_cell(table: Path) -> None:
    """Another number in one cell of a table."""
    if table.suffix == ".parquet":
        rows = pd.read_parquet(table)
        rows["last.accuracy"] = rows["last.accuracy"] + 0.01
        rows.to_parquet(table, index=False)
    elif table.name == "claims.json":
        edit(table, ('"study": "small"', '"study": "great"'))
    else:
        # The first number that is no name of a noise.
        number = re.search(r"(?<!-)\d+\.\d+", table.read_text())
        assert number is not None
        edit(table, (number.group(), str(float(number.group()) + 1)))


@pytest.mark.parametrize(
    "table", ["main.csv", "main.md", "main.tex", "runs.parquet", "claims.json", "summary.json", "noise.csv"]
)
def test_an_edited_cell_is_found_whether_or_not_the_record_was_fixed(
    table: str, study: Workspace, verify: Verify
) -> None:
    tables = study.folder / "tables"
    edited_cell(tables / table)
    assert [wrong.partition(": ")[0] for wrong in broken(study, "sums")] == [str(tables / table)]
    verdict = verify(study)
    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert verdict.breaks[0].startswith(f"results/small/tables/{table}: its content is not the one that ")

    # The record is fixed, and its seal.
    files = read_json(tables / "record.json")["files"]
    reseal(tables / "record.json", files=files | {table: file_digest(tables / table)})
    verdict = verify(study)
    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert verdict.breaks[0] == f"results/small/tables/{table}: is not the table that the evaluated runs make"


@pytest.mark.parametrize("table", ["runs.parquet", "main.csv"])
def test_a_table_that_cannot_be_read_is_named_even_where_the_record_was_fixed(
    table: str, study: Workspace, verify: Verify
) -> None:
    tables = study.folder / "tables"
    (tables / table).write_bytes(b"\xff\xfe no table")
    files = read_json(tables / "record.json")["files"]
    reseal(tables / "record.json", files=files | {table: file_digest(tables / table)})

    verdict = verify(study)

    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert verdict.breaks[0].startswith(f"results/small/tables/{table}: ")


def test_tables_of_other_evaluations_are_named(study: Workspace, verify: Verify) -> None:
    record = study.folder / "tables" / "record.json"
    reseal(record, evaluations=read_json(record)["evaluations"][::-1])
    verdict = verify(study)
    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert verdict.breaks[0].startswith("results/small/tables/record.json: belongs to another evaluation of ")


# --- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["files", "recipe"])
@pytest.mark.parametrize(
    "record",
    [
        "datasets/digits/record.json",
        "small/labels/digits/symmetric-0.5/seed0.json",
        f"small/runs/{RUN}/record.json",
        f"small/evaluations/{RUN}/metrics.json",
        "small/overhead/overhead.json",
        "small/tables/record.json",
        "small/figures/record.json",
        "small/report.json",
    ],
)
def test_a_sealed_record_that_leaves_something_out_is_named(
    record: str, key: str, study: Workspace, verify: Verify
) -> None:
    path = study.results / record
    if record.startswith("small/labels") and key == "files":
        key = "inputs"
    if record.startswith(("small/tables", "small/figures")) and key == "recipe":
        key = "evaluations"
    if record == "small/report.json" and key == "recipe":
        key = "shows"
    content = read_json(path)
    if record.startswith("small/overhead") and key == "recipe":
        del content["about"]
    else:
        del content[key]
    write_json(path, sealed(content))

    verdict = verify(study)

    assert verdict.code == 1
    assert verdict.breaks, verdict.error
    assert verdict.breaks[0].startswith(f"results/{record}: ")
    assert verdict.breaks[1:] == []


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"recipe": "a"}'])
def test_a_record_that_is_none_is_named(content: bytes, study: Workspace, verify: Verify) -> None:
    path = study.folder / "evaluations" / RUN / "metrics.json"
    path.write_bytes(content)
    verdict = verify(study)
    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert f"results/small/evaluations/{RUN}/metrics.json" in verdict.breaks[0]


# --- choices ---------------------------------------------------------------------------------------------------------


def swapped_choice(searched: searches.Searched) -> None:
    """The other candidate in the place of the one that won, with the digest that belongs to it."""
    choice = searched.choice
    number = 1 - choice["chosen"]
    [key] = searched.plan.selections
    candidate = searched.plan.selections[key].candidates[number]
    reseal(
        searched.choice_file,
        chosen=number,
        values=candidate.values,
        definition=candidate.definition,
        digest=json_digest(candidate.definition),
    )


def test_a_swapped_choice_is_named_and_not_what_was_trained_from_it(
    searched: searches.Searched, verify: Verify
) -> None:
    swapped_choice(searched)
    verdict = verify(searched)
    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert verdict.breaks[0].startswith(f"{searched.choice_file.relative_to(searched.root)}: is not the choice that ")

    # With a wrong digest in it, without a seal.
    write_json(searched.choice_file, searched.choice | {"digest": "0" * 64})
    verdict = verify(searched)
    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert verdict.breaks[0].endswith("kernel.json: was edited after it was written")


def test_a_candidate_that_was_tampered_with_is_named_and_not_the_choice(
    searched: searches.Searched, verify: Verify
) -> None:
    candidate = f"small/runs/{CELL}/kernel.candidate1/seed7/history.parquet"
    flip(searched.results / candidate)
    verdict = verify(searched)
    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert verdict.breaks[0].startswith(f"results/{candidate}: ")
    assert verdict.counts()["candidate"] == (2, 1, 0, 1)


# --- out of date -----------------------------------------------------------------------------------------------------


def an_earlier_page(study: Workspace) -> Path:
    report = study.folder / "report.json"
    reseal(report, numerics=REPORT_NUMERICS - 1)
    return report


def an_earlier_evaluation(study: Workspace) -> Path:
    """Under the key that it had then, with metrics that are computed otherwise now."""
    record = metrics(study.results)
    inputs = read_json(record)["inputs"]
    key = json_digest(
        {"evaluation": EVALUATION_NUMERICS - 1, "training": inputs["training"], "test": inputs["test.arrow"]}
    )
    reseal(record, digest=key, key=key, last=read_json(record)["last"] | {"accuracy": 0.5})
    return record


def tables_with_another_overhead(study: Workspace) -> Path:
    paths = study.plan.paths
    where = paths.provenance(paths.tables)
    write_json(where, read_json(where) | {"overhead": "0" * 64})
    return paths.tables / "record.json"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (an_earlier_page, "was made by an earlier version of collabpipe"),
        (an_earlier_evaluation, "was made by an earlier version of collabpipe"),
        (tables_with_another_overhead, "belongs to another overhead table than the one that is here"),
    ],
    ids=name_of,
)
def test_what_is_made_otherwise_now_is_out_of_date_for_verify_as_for_snakemake(
    make: Callable[[Workspace], Path], words: str, study: Workspace, verify: Verify
) -> None:
    record = make(study)
    [told] = broken(study, "sums")
    assert told.startswith(f"{record}: {words}")
    verdict = verify(study)
    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert verdict.breaks[0].startswith(f"{record.relative_to(study.root)}: {words}")
    assert "Nothing of this needs to be removed. Make it again: snakemake" in verdict.error
    assert "first break" not in verdict.error

    # What the advice names, makes it again.
    study.snakemake()
    assert broken(study, "follows") == []


def test_figures_of_an_earlier_version_which_had_fewer_are_out_of_date_and_no_restore_removes_them(
    study: Workspace, verify: Verify
) -> None:
    record = study.paths.figures / "record.json"
    gone = [path for path in study.paths.figures.iterdir() if path.stem == "seen_images"]
    for path in gone:
        path.unlink()
    left = {name: about for name, about in read_json(record)["files"].items() if not name.startswith("seen_images.")}
    reseal(record, files=left)
    before = {path: path.read_bytes() for path in study.paths.figures.iterdir()}

    verdict = verify(study)
    said = f"{record.relative_to(study.root)}: was made by an earlier version of collabpipe, which made no seen_images."
    assert (verdict.code, len(verdict.breaks)) == (1, 1)
    assert verdict.breaks[0].startswith(said)
    assert "first break" not in verdict.error
    assert f"will be made again: {said}" in study.collabpipe("restore", "--no-pull").stdout
    assert {path: path.read_bytes() for path in study.paths.figures.iterdir()} == before

    study.snakemake()
    assert broken(study, "follows") == []
    gone[0].unlink()
    assert broken(study, "follows") == [f"{gone[0]}: is missing"]


# --- missing ---------------------------------------------------------------------------------------------------------

PARTS = {
    "data set": "datasets/digits",
    "label file": "small/labels/digits/symmetric-0.5",
    "checkpoint": f"small/runs/{RUN}",
    "evaluation": f"small/evaluations/{RUN}",
    "overhead": "small/overhead",
}


@pytest.mark.parametrize("options", [[], ["--recompute"]], ids=["follows", "recomputed"])
@pytest.mark.parametrize("kind", PARTS)
def test_what_is_missing_is_told_as_missing_and_nothing_else_is_blamed(
    kind: str, options: list[str], study: Workspace, verify: Verify
) -> None:
    shutil.rmtree(study.results / PARTS[kind])
    verdict = verify(study, *options)
    assert verdict.breaks == []
    number = 2 if kind == "label file" else 1
    assert verdict.missing() == {kind: number}
    assert verdict.code == 1
    make = "Make what is missing: snakemake --cores all\n"
    assert f"error: missing: {kind} ({number}). So not everything is proven. {make}" in verdict.error
    assert PROVEN not in verdict.text


def test_tables_alone_are_told_from_what_is_missing(study: Workspace, verify: Verify) -> None:
    """As after a restore of the tables alone."""
    shared = [study.results / name for name in ("datasets", "store", "recipes")]
    for folder in (*shared, *(study.folder / name for name in ("labels", "runs", "evaluations"))):
        shutil.rmtree(folder)
    verdict = verify(study)
    assert (verdict.code, verdict.breaks) == (1, [])
    assert verdict.missing() == {"data set": 1, "label file": 2, "checkpoint": 6, "evaluation": 6}
    assert "missing: data set (1), label file (2), checkpoint (6), evaluation (6). So not" in verdict.error


def test_one_file_of_an_artefact_that_is_missing_is_named(study: Workspace, verify: Verify) -> None:
    (study.folder / "runs" / RUN / "best.safetensors").unlink()
    verdict = verify(study)
    assert (verdict.code, verdict.breaks) == (1, [f"results/small/runs/{RUN}/best.safetensors: is missing"])


def test_a_study_that_was_never_run_is_missing(fresh: Workspace, verify: Verify) -> None:
    verdict = verify(fresh)
    assert (verdict.code, verdict.breaks) == (1, [])
    assert "missing: data set (1), label file (2), checkpoint (6), evaluation (6), overhead (1)" in verdict.error
    assert not fresh.results.exists()


# --- where it is called ----------------------------------------------------------------------------------------------


def test_recipes_that_are_not_written_yet_are_not_missed(study: Workspace, verify: Verify) -> None:
    """A pull brings none: recipes follow from the configuration."""
    shutil.rmtree(study.results / "recipes")
    verdict = verify(study)
    assert (verdict.code, verdict.error) == (0, "")


def test_a_choice_needs_no_written_recipes(searched: searches.Searched, verify: Verify) -> None:
    shutil.rmtree(searched.results / "recipes")
    verdict = verify(searched)
    assert (verdict.code, verdict.error) == (0, "")


def test_a_study_is_proven_from_another_folder(
    study: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["verify", str(study.config), "--results", str(study.results)])
    assert (code, capsys.readouterr().err) == (0, "")


def test_a_study_is_held_against_the_configuration_that_is_asked_for(study: Workspace, verify: Verify) -> None:
    study.configure(altered({"training": {"epochs": 3}}))
    verdict = verify(study)
    assert verdict.code == 1
    first = (
        "results/small/runs/digits/symmetric-0.5/resnet8/baseline/seed0/record.json: belongs to another recipe than "
    )
    assert verdict.breaks[0].startswith(first)
    assert verdict.counts()["label file"] == (2, 2, 0, 0)


def test_labels_that_are_read_are_those_that_were_written(study: Workspace) -> None:
    """The helper that edits labels leaves all but one as they were."""
    recipe = study.plan.labels["digits", "symmetric-0.5", 0]
    before = read_labels(study.results / LABELS, recipe)
    an_edited_label_with_its_sum(study.results)
    after = read_labels(study.results / LABELS, recipe)
    assert (before.noisy != after.noisy).sum() == 1
