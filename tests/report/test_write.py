"""The page as a file: what a newcomer finds on it, how large it is, when it is written again."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabpipe.cli import main
from collabpipe.common.files import read_json, seal_of, sealed, write_json
from collabpipe.report.page import VENDOR, json_for_html
from collabpipe.report.write import CITATION
from collabpipe.results.state import look
from tests.report.conftest import CELL, FAILED, HOSTILE
from tests.workspaces import REPOSITORY, Workspace


def data_of(page: Path) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def text_of(page: Path) -> str:
    """The page's text without scripts and styles, tags and lines."""
    bare = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page.read_text(encoding="utf-8"), flags=re.S)
    return " ".join(html.unescape(bare).split())


@given(st.text())
def test_no_text_can_end_the_element_that_holds_it(text: str) -> None:
    written = json_for_html({text: [text]})
    assert "<" not in written
    assert json.loads(written) == {text: [text]}


def test_a_newcomer_finds_the_answers(page: Path) -> None:
    text, runs = text_of(page), {run["name"]: run for run in data_of(page)["runs"]}

    assert "5 of 6 runs are evaluated" in text, "how far it is"
    assert f"Job evaluate/{CELL}/output_control/block0 failed." in text, "which runs failed, and why"
    assert f"error: the disk is full {HOSTILE}" in text
    assert runs[FAILED]["status"] == "failed"
    for title in ("Methods, by noise rate", "Accuracy per class", "Test images that all methods get wrong"):
        assert title in text
    one = runs[f"{CELL}/output/seed0"]
    assert one["curve"].startswith("<svg ")
    assert one["curve_says"].startswith("2 epochs; validation: ")
    assert one["weights"][0].endswith("/output/seed0/last.safetensors")
    assert Path(one["weights"][0]).is_file()
    assert "Intra-Model Collaborative Learning of Neural Networks" in text, "how to cite"


def test_what_was_claimed_comes_with_a_sentence_on_what_came_out(page: Path) -> None:
    claims = text_of(page).partition("What was claimed")[2].partition("Can I trust it?")[0]

    assert "Agreement helps." in claims
    assert "at a declared place" in claims
    assert "points of accuracy, last epoch; expected > 0 (margin 2); 2 replicates, a demonstration" in claims
    assert "Claims that this study does not judge (1) It helps elsewhere." in claims
    assert "best-on-validation epoch" not in claims.partition("How to read")[0], "other readings are in the table"


def test_seeds_are_written_with_all_their_digits(page: Path, hostile: Workspace) -> None:
    data = data_of(page)
    [row] = [run for run in data["runs"] if run["name"] == f"{CELL}/output/seed1"]
    shown = {key: json.loads(data["parts"][place]) for key, place in row["recipe"].items()}
    recipe = hostile.plan.runs[f"{CELL}/output/seed1"]

    assert all(isinstance(part, str) for part in data["parts"]), "a script would round numbers of 63 bits"
    assert shown == recipe.model_dump(mode="json", exclude={"run"})
    assert row["digest"] == recipe.digest


def test_the_page_of_a_study_is_whole_small_and_up_to_date(study: Workspace) -> None:
    page = study.paths.report

    assert look(study.plan).report
    assert page.stat().st_size < 5_000_000
    assert "6 of 6 runs are evaluated" in text_of(page)
    assert "Nothing was found to be wrong." in text_of(page)
    assert "No job has failed." in text_of(page)
    assert not re.search(r"\b(src|href)=[\"']?(https?:)?//", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("what", ["tables/record.json", "figures/record.json", "overhead/overhead.json"])
def test_the_page_is_written_again_when_what_it_shows_has_changed(what: str, study: Workspace) -> None:
    path = study.folder / what
    write_json(path, sealed(read_json(path) | {"more": 1}))

    state = look(study.plan)
    assert not state.report
    assert not state.complete(study.plan)


def test_the_page_records_the_seals_of_what_it_shows(study: Workspace) -> None:
    records = {"tables": "record.json", "figures": "record.json", "overhead": "overhead.json"}
    seals = {what: seal_of(study.folder / what / record) for what, record in records.items()}

    assert read_json(study.folder / "report.json")["shows"] == seals


def test_the_command_says_what_is_missing_and_what_it_can_do(
    study: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study.root)
    (study.folder / "tables" / "main.csv").unlink()

    assert main(["report"]) == 1
    assert "With --partial the page is of the runs that are finished" in (told := capsys.readouterr().err)
    assert told.endswith("For the whole page, make them: snakemake --cores all\n")
    assert main(["report", "--partial"]) == 0
    page = Path("results/small/tables/partial/report.html")
    assert capsys.readouterr().out == f"Report: {page} (open it in a browser)\n"
    assert "6 of 6 runs are evaluated" in text_of(page)


@pytest.mark.parametrize("command", ["tables", "figures"])
def test_without_a_recipe_tables_and_figures_are_those_of_the_study_planned_last(
    command: str, study: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.root)
    made = {path.name: path.read_bytes() for path in (study.folder / command).iterdir() if path.is_file()}
    for name in made:
        (study.folder / command / name).unlink()

    assert main([command]) == 0

    assert {path.name: path.read_bytes() for path in (study.folder / command).iterdir() if path.is_file()} == made


def test_before_any_run_is_finished_the_page_says_how_far_the_study_is(
    fresh: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fresh.root)

    assert main(["report", "--partial"]) == 0
    text = text_of(fresh.folder / "tables" / "partial" / "report.html")
    assert "0 of 6 runs are evaluated" in text
    assert "There are no tables yet" in text


def test_the_page_cites_what_the_repository_cites() -> None:
    assert CITATION.samefile(REPOSITORY / "CITATION.cff")


def test_parts_of_others_come_with_their_licences_and_versions() -> None:
    assert "MIT License" in (VENDOR / "License.txt").read_text()
    assert (VENDOR / "dataTables.min.js").read_text(encoding="utf-8").startswith("/*! DataTables 3.1.5\n")
