"""Print the main tables of studies, whether they are up to date, and the paths of tables, figures and report."""

from __future__ import annotations

import csv
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table

from collabpipe.analysis.formats import with_interval
from collabpipe.cli.console import console
from collabpipe.common.counts import counted
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import record_of
from collabpipe.plan.figures import FIGURES
from collabpipe.plan.paths import CLAIMS_CSV, MAIN_MD, RECORD, ROBUSTNESS_MD, TABLE_FILES, Paths
from collabpipe.plan.record_types import ShownRecord
from collabpipe.results.state import State, look
from collabpipe.results.studies import Study, command_for, recorded, study_here


def arguments(parser: ArgumentParser) -> None:
    """The studies."""
    parser.add_argument(
        "study", nargs="*", default=[None], metavar="STUDY", help="a study's name (default: the one planned last)"
    )


def run(arguments: Namespace) -> None:
    """Print the tables of each study and how they stand."""
    for name in arguments.study:
        show_study(study_here(arguments.results, name))
    others = [one.about["study"] for one in recorded(arguments.results)[1:]]
    if arguments.study == [None] and others:
        print(f"Other studies here: {', '.join(others)}. Show them: {command_for(arguments.results, 'show', *others)}")


def show_study(study: Study) -> None:
    """Print a study's tables and whether they are up to date.

    Raises:
        CollabpipeError: there are no tables.
    """
    paths, state = study.plan.paths, look(study.plan)
    path = paths.tables / MAIN_MD
    if not path.exists():
        partial = paths.partial(paths.tables) / MAIN_MD
        finished = f" {partial} shows the runs that were finished when it was made." if partial.exists() else ""
        raise CollabpipeError(
            f"{path}: there are no tables yet. {_progress(study, state)} Make them: {study.remedy()}{finished}"
        )
    print(f"study {study.name}")
    show_tables(paths)
    for line in _standing(study, state):
        print(line)
    if paths.report.exists():
        print(f"Report: {paths.report}{'' if state.report else ' (OUT OF DATE)'}. Open it in a browser.")


def show_tables(paths: Paths) -> None:
    """Print the main table, the claims, and the paths of the other tables and figures."""
    lines = (paths.tables / MAIN_MD).read_text(encoding="utf-8").splitlines()
    rows = _cells(lines)
    table = Table(*rows[0])
    for before, row in zip([rows[0], *rows[2:]], rows[2:], strict=False):
        if before[:3] != row[:3]:
            table.add_section()
        table.add_row(*row)
    out = console()
    out.print(table)
    out.print(lines[-1], soft_wrap=False)
    if (further := paths.tables / ROBUSTNESS_MD).exists():
        _show_robustness(further.read_text(encoding="utf-8").splitlines(), out)
    _show_claims(paths, out)
    out.print("Tables: " + ", ".join(str(paths.tables / file) for file in TABLE_FILES if file != RECORD))
    figures = [path for figure in FIGURES if (path := paths.figures / figure.png).is_file()]
    out.print("Figures: " + (", ".join(map(str, figures)) or "none"))


def _cells(lines: Iterable[str]) -> list[list[str]]:
    """The cells of the rows of a table in Markdown."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def _show_robustness(lines: list[str], console: Console) -> None:
    """The accuracies on further test sets, without those of each corruption."""
    rows = _cells(lines)
    if not rows:
        return
    columns = rows[0].index("− baseline") + 1
    table = Table(*rows[0][:columns], title="further test sets (each corruption: robustness.md)", title_justify="left")
    for row in rows[2:]:
        table.add_row(*row[:columns])
    console.print(table)


def _progress(study: Study, state: State) -> str:
    plan = study.plan
    trained = sum(name in state.trained for name in plan.runs)
    runs, done = counted(len(plan.runs), "run", "runs"), counted(trained, "is trained", "are trained")
    return f"Of {runs} of study {study.name} ({study.label}) {done} and {len(state.evaluated)} evaluated."


def _standing(study: Study, state: State) -> Iterator[str]:
    """Whether the tables are up to date with their study's configuration."""
    record: ShownRecord = record_of(study.plan.paths.tables / RECORD)
    missing = len(study.plan.runs) - len(state.evaluated)
    made_from = dict(zip(study.plan.runs, record.get("evaluations", ()), strict=False))
    if state.tables:
        yield f"The tables are what study {study.name} ({study.label}) asks for."
        if not state.figures:
            yield f"The figures are missing or OUT OF DATE. Draw them: {study.remedy()}"
        elif not state.report:
            yield f"The report is missing or OUT OF DATE. Write it: {study.remedy()}"
        return
    if record.get("study") != study.plan.study.digest:
        yield f"OUT OF DATE: study {study.name} ({study.label}) was changed after these tables were made."
    elif not missing or any(metrics["digest"] != made_from.get(name) for name, metrics in state.metrics.items()):
        yield f"OUT OF DATE: study {study.name} ({study.label}) has other results by now than these tables show."
    else:
        yield f"The tables are of study {study.name} ({study.label}); not all that they were made from is here."
    yield f"{_progress(study, state)} Make what is missing, and the tables again: {study.remedy()}"


def _show_claims(paths: Paths, console: Console) -> None:
    """The declared contrasts that the study's runs can judge."""
    with (paths.tables / CLAIMS_CSV).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["verdict"] != "not run" and "(" not in row["reading"]]
    if not rows:
        return
    table = Table(title="claims (all of them, with other readings and places: claims.md)", title_justify="left")
    for column in (
        "claim",
        "comparison",
        "reading",
        "expected",
        "estimate",
        "n",
        "verdict",
        "control",
        "rival",
        "survives",
    ):
        table.add_column(column)
    for row in rows:
        estimate, low, high = (float(row[name] or "nan") for name in ("estimate", "low", "high"))
        asked = (row["claim"], row["comparison"], row["reading"], row["expected"])
        judged = (row["n"], row["verdict"], row["verdict_control"], row["verdict_rival"], row["survives"])
        table.add_row(*asked, with_interval(estimate, low, high, ".2f"), *judged)
    console.print(table)
