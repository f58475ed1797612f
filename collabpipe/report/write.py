"""Write the page of a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from collabpipe.analysis.figures.described import shown_figures
from collabpipe.analysis.figures.material import Material
from collabpipe.analysis.figures.write import write_figures
from collabpipe.analysis.runs import read_runs
from collabpipe.analysis.tables import read_costs, write_tables
from collabpipe.analysis.verdicts import NOTE
from collabpipe.audit.proofs import OUTCOMES, Outcome
from collabpipe.audit.verify import Verifier
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import file_digest, read_json, sealed, write_json, write_text
from collabpipe.common.whereabouts import whereabouts
from collabpipe.plan.paths import CLAIMS_CSV, CLAIMS_JSON, OVERHEAD_CSV, REPORT_PAGE
from collabpipe.plan.study_recipes import REPORT_NUMERICS
from collabpipe.report.page import HERE, render
from collabpipe.report.runs import COLLAPSED, DIVERGED, FINISHED, Runs, groups_of_provenance, read_page_runs
from collabpipe.report.tables import ShownTable, study_tables
from collabpipe.report.verdicts import claims_table, verdicts
from collabpipe.results.state import State, look
from collabpipe.results.studies import Study
from collabpipe.results.study_artefacts import Report

CITATION = HERE / "CITATION.cff"


def write_report(study: Study, partial: bool = False) -> Path:
    """Write the study's page and the record of what it shows; returns the page's path.

    With `partial` tables and figures are made from the runs that are finished, and the page lies among these tables.

    Raises:
        CollabpipeError: tables or figures are missing or out of date, and `partial` was not asked for.
    """
    plan, paths = study.plan, study.plan.paths
    state = look(plan)
    if partial:
        page = paths.partial(paths.tables) / REPORT_PAGE
        folders = _partial(study, state)
    else:
        page, folders = paths.report, (paths.tables, paths.figures)
        if not (state.tables and state.figures):
            raise CollabpipeError(
                f"{paths.folder}: its tables or figures are missing or out of date. With --partial the page is of the "
                f"runs that are finished. For the whole page, make them: {study.remedy()}"
            )
    runs = read_page_runs(plan, state)
    about = _about(study, state, runs, folders)
    write_text(page, render(about, {"runs": runs.rows, "parts": runs.parts}))
    if not partial:
        [report] = (one for one in state.artefacts if isinstance(one, Report))
        shows = dict(zip((what for what, _ in report.inputs), report.made_from(state.known), strict=True))
        record = {"study": plan.study.digest, "name": plan.settings.study, "numerics": REPORT_NUMERICS, "shows": shows}
        write_json(report.record, sealed(record | {"files": {page.name: file_digest(page)}}))
    return page


def _partial(study: Study, state: State) -> tuple[Path, Path] | None:
    """The folders of tables and figures of the finished runs; None before there are any."""
    paths = study.plan.paths
    study.plan.study.write(paths.recipes)
    if not state.evaluated:
        return None
    write_tables(study.plan.study, paths, partial=True)
    write_figures(study.plan.study, paths, partial=True)
    return paths.partial(paths.tables), paths.partial(paths.figures)


def _about(study: Study, state: State, runs: Runs, folders: tuple[Path, Path] | None) -> dict[str, Any]:
    plan, paths = study.plan, study.plan.paths
    claims: Mapping[str, Any] = {}
    tables: list[ShownTable] = []
    if folders:
        claims = read_json(folders[0] / CLAIMS_JSON)
        material = Material(plan.study, read_runs(plan.study, paths, partial=True), paths)
        tables = study_tables(folders[0], read_costs(plan.study, paths), paths.overhead / OVERHEAD_CSV, material)
        tables.append(claims_table(claims, str(folders[0] / CLAIMS_CSV)))
    proofs, wrong = proven(study)
    evaluated = runs.with_status(FINISHED, COLLAPSED, DIVERGED)
    return {
        "study": study.name,
        "label": study.label,
        "command": study.command(),
        "note": study.note,
        "options": " ".join(paths.options[:2]) if paths.root != type(paths).root else "",
        "folder": paths.folder,
        "counts": runs.counts,
        "planned": len(runs.rows),
        "trained": sum("curve" in row or "weights" in row for row in runs.rows),
        "evaluated": len(evaluated),
        "diverged": runs.with_status(DIVERGED),
        "collapsed": runs.with_status(COLLAPSED),
        "failures": runs.failures,
        "searched": len(plan.candidates),
        "searched_trained": len(state.trained & plan.candidates.keys()),
        "claims": verdicts(claims),
        "claims_note": NOTE,
        "proofs": proofs,
        "outcomes": OUTCOMES,
        "wrong": wrong,
        "provenances": groups_of_provenance(runs),
        "tables": tables,
        "figures": shown_figures(folders[1]) if folders else [],
        "written": whereabouts("cpu"),
        "citation": yaml.safe_load(CITATION.read_text(encoding="utf-8")),
        "citation_file": CITATION.read_text(encoding="utf-8"),
    }


def proven(study: Study) -> tuple[dict[str, Counter[Outcome]], list[str]]:
    """How many artefacts of each kind belong to their recipes by the sums of their files, and what is wrong."""
    counts: dict[str, Counter[Outcome]] = {}
    wrong = []
    for check in Verifier(study.plan, "sums").checks():
        if check.kind == "report":
            continue
        outcome, faults = check.outcome()
        counts.setdefault(check.kind, Counter())[outcome] += 1
        wrong += faults
    return counts, wrong
