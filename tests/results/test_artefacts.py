"""The graph of artefacts, on finished studies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collabpipe.common.files import read_json, sealed, write_json
from collabpipe.plan.paths import STUDY_FOLDERS
from collabpipe.results.artefact import AnyArtefact
from collabpipe.results.artefacts import artefacts
from collabpipe.results.run_artefacts import PreparedData
from collabpipe.results.state import look
from tests.workspaces import Workspace


@pytest.fixture(params=["study", "searched"])
def finished(request: pytest.FixtureRequest) -> Workspace:
    """A finished study, without and with a search."""
    workspace: Workspace = request.getfixturevalue(request.param)
    return workspace


def built_on(one: AnyArtefact, others: list[AnyArtefact]) -> set[AnyArtefact]:
    """An artefact and all that is made from it, or from what is made from it."""
    found = {one}
    for other in others:
        files = {file for artefact in found for file in artefact.files}
        if files & {*(file for _, file in other.inputs), *other.waits_for}:
            found.add(other)
    return found


def test_artefacts_come_after_what_their_jobs_read(finished: Workspace) -> None:
    made: set[Path] = set()
    for artefact in artefacts(finished.plan):
        fetched = {artefact.fetched} if isinstance(artefact, PreparedData) else set()
        assert set(artefact.reads) <= made | fetched, artefact.job
        assert not made & set(artefact.files), "no file is of two artefacts"
        made |= set(artefact.files)


def test_artefacts_hold_every_file_that_the_jobs_made_and_name_the_jobs(finished: Workspace) -> None:
    every = artefacts(finished.plan)
    parts = [finished.results / "datasets", *(finished.folder / name for name in STUDY_FOLDERS)]
    made = {path for part in parts for path in part.rglob("[!.]*") if path.is_file()}
    made |= {path for path in finished.folder.iterdir() if path.is_file()}
    jobs = {
        str(path.relative_to(root / "benchmarks").with_suffix(""))
        for root in (finished.results, finished.folder)
        for path in (root / "benchmarks").rglob("*.tsv")
    }

    assert {file for artefact in every for file in artefact.files} == made
    assert {artefact.job for artefact in every} == {job for job in jobs if not job.startswith("fetch_dataset/")}


@pytest.mark.parametrize("change", ["removed", "edited", "of another recipe"])
def test_what_does_not_fit_takes_with_it_all_that_is_built_on_it_and_nothing_else(
    change: str, finished: Workspace
) -> None:
    plan = finished.plan
    every = artefacts(plan)
    whole = look(plan)
    assert {artefact.record for artefact in every} <= whole.known.keys()
    for one in every:
        record = read_json(one.record)
        if change == "removed":
            one.record.unlink()
        elif change == "edited":
            one.record.write_text(json.dumps(record | {"more": 1}))
        else:
            text = json.dumps(record).replace(one.recipe.digest, "0" * 64)
            write_json(one.record, sealed(json.loads(text)))
        found = look(plan)
        write_json(one.record, record)

        lost = {artefact.record for artefact in every} - found.known.keys()
        assert lost == {artefact.record for artefact in built_on(one, every)}, one.job
    assert look(plan).known == whole.known
