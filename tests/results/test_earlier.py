"""Results of the earlier layout, in which all studies shared one set of folders, are taken over without training."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from collabpipe.common.files import read_json, sealed, write_json
from collabpipe.plan.paths import RECORD, STUDY_FOLDERS
from collabpipe.results.earlier import earlier_results
from tests.workspaces import Workspace, altered, jobs

PROVEN = "Every cell of the tables follows from its data, labels, recipes and checkpoints."
NOTHING = "Nothing to be done"


def in_the_earlier_layout(study: Workspace) -> None:
    """Move a study's results to where they lay before studies had folders, with the record that it had then."""
    folder = study.folder
    for path in (study.paths.report, study.paths.report.with_suffix(".json")):
        path.unlink()  # there was no report yet
    for path in sorted(folder.iterdir()):
        if path.name in STUDY_FOLDERS:
            path.rename(study.results / path.name)
    for kind in ("provenance", "logs", "benchmarks"):
        for path in (folder / kind).iterdir():
            path.rename(study.results / kind / path.name)
        (folder / kind).rmdir()
    folder.rmdir()
    record = study.paths.study_record
    about = read_json(record) | {"tables": study.plan.study.digest}
    record.with_name("small-0123abcd.json").write_text(json.dumps(about))
    record.unlink()


@pytest.mark.parametrize("lost", [(), ("store",), ("store", "recipes", "studies")])
def test_earlier_results_become_the_studys_and_nothing_is_trained_again(
    lost: tuple[str, ...], study: Workspace
) -> None:
    before = {str(path.relative_to(study.folder)) for path in study.folder.rglob("*") if path.is_file()}
    trained, costs, table = study.trainings(), study.costs(), study.table()
    in_the_earlier_layout(study)
    for name in lost:
        shutil.rmtree(study.results / name)

    planned = study.snakemake("-n")
    assert "Results of the earlier layout were moved to results/small, the folder of study small." in (
        planned.stdout + planned.stderr
    )
    assert jobs(planned) == {"assemble_tables": 1}
    study.snakemake()

    assert {str(path.relative_to(study.folder)) for path in study.folder.rglob("*") if path.is_file()} == before
    assert list(earlier_results(study.results)) == []
    assert (study.trainings(), study.costs()) == (trained, costs)
    assert study.table().equals(table)
    assert PROVEN in study.collabpipe("verify").stdout
    assert NOTHING in study.snakemake("-n").stdout
    assert study.collabpipe("prune").stdout.startswith("Everything here is asked for by config/config.yaml.")


def test_they_go_to_the_study_whose_tables_they_end_in_and_another_finds_its_trainings_in_the_store(
    study: Workspace,
) -> None:
    in_the_earlier_layout(study)
    trained = study.trainings()
    other = study.root / "config" / "other.yaml"
    other.write_text(yaml.safe_dump(altered({"study": "other", "methods": {"output_control": None}})))

    told = study.collabpipe("plan", "--write", other).stdout
    assert told.startswith("Results of the earlier layout were moved to results/small, the folder of study small.\n")
    study.snakemake("--configfile", other)
    assert study.trainings() == trained
    study.snakemake()
    assert study.trainings() == trained
    assert [path.name for path in study.paths.studies.iterdir()].count("small.json") == 1
    assert not list(study.paths.studies.glob("small-*.json"))


def test_a_folder_that_the_study_has_already_is_left_alone(study: Workspace) -> None:
    mine = study.results / "runs" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    planned = study.snakemake("-n")
    assert "earlier layout" not in planned.stdout + planned.stderr
    assert NOTHING in planned.stdout
    assert mine.read_text() == "mine"


def test_figures_of_an_earlier_version_which_had_fewer_are_drawn_again_with_the_page_and_nothing_else(
    study: Workspace,
) -> None:
    folder, made = study.paths.figures, {"trainings": study.trainings(), "evaluations": study.evaluations()}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    tables = {path: path.read_bytes() for path in study.paths.tables.iterdir()}
    later = ("representations", "seen_images")
    for name in later:
        for form in ("svg", "png"):
            (folder / f"{name}.{form}").unlink()
    record = read_json(folder / RECORD)
    for part in ("files", "alternatives"):
        record[part] = {name: of for name, of in record[part].items() if name.partition(".")[0] not in later}
    write_json(folder / RECORD, sealed(record))

    told = study.snakemake()
    assert "rule draw_figures" in told.stdout + told.stderr
    assert jobs(told) == {}, "but for the figures and the page nothing"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path: path.read_bytes() for path in study.paths.tables.iterdir()} == tables
    assert {"trainings": study.trainings(), "evaluations": study.evaluations()} == made
    assert NOTHING in study.snakemake("-n").stdout
