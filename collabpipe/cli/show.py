"""Print the table that lies here, its study and whether it is up to date, and where tables and figures lie."""

from __future__ import annotations

import csv
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from collabpipe.cli.console import console
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import record_of
from collabpipe.plan.figures import FIGURES
from collabpipe.plan.paths import TABLE_FILES, Paths
from collabpipe.results.state import State, look
from collabpipe.results.studies import Study, recorded, study_here


def arguments(parser: ArgumentParser) -> None:
    """None of its own."""


def run(arguments: Namespace) -> None:
    """Print the table and how it stands."""
    show_tables(arguments.results)


def show_tables(paths: Paths) -> None:
    """Print the main table, its study, whether it is up to date, and the paths of the other tables and figures.

    Raises:
        CollabpipeError: there are no tables.
    """
    path = paths.tables / "main.md"
    if not path.exists():
        raise CollabpipeError(f"{path}: there are no tables yet. {_how_to_make(paths)}")
    name = record_of(paths.tables / "record.json").get("name", "unknown: its record.json is missing or broken")
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    table = Table(*rows[0])
    for before, row in zip([rows[0], *rows[2:]], rows[2:], strict=False):
        if before[:3] != row[:3]:
            table.add_section()
        table.add_row(*row)
    print(f"study {name}")
    out = console()
    out.print(table)
    out.print(lines[-1], soft_wrap=False)
    _show_claims(paths, out)
    out.print("Tables: " + ", ".join(str(paths.tables / file) for file in TABLE_FILES[:-1]))
    figures = [path for figure in FIGURES if (path := paths.figures / figure.files[-1]).is_file()]
    out.print("Figures: " + (", ".join(map(str, figures)) or "none"))
    try:
        for line in _standing(paths):
            print(line)
    except CollabpipeError as error:
        print(f"Whether this is what study {name} asks for now is not known: {error}")


def _how_to_make(paths: Paths) -> str:
    partial = paths.tables / "partial" / "main.md"
    finished = f" {partial} is of the runs that were finished when it was made." if partial.exists() else ""
    try:
        study = study_here(paths)
    except CollabpipeError as error:
        return f"No study is known here either: {error}"
    return f"{_progress(study, look(study.plan))} Make them: {study.command}{finished}"


def _progress(study: Study, state: State) -> str:
    plan = study.plan
    trained = sum(name in state.trained for name in plan.runs)
    return (
        f"Of the {len(plan.runs)} runs of study {study.name} ({study.label}) {trained} are trained and "
        f"{len(state.evaluated)} evaluated."
    )


def _standing(paths: Paths) -> Iterator[str]:
    """Whether the tables are up to date with their study's configuration, and whether another was planned since."""
    study, record = study_here(paths), record_of(paths.tables / "record.json")
    state, made = look(study.plan), record.get("study")
    missing = len(study.plan.runs) - len(state.evaluated)
    made_from = dict(zip(study.plan.runs, record.get("evaluations", ()), strict=False))
    if state.tables:
        yield f"The tables are what study {study.name} ({study.label}) asks for."
        if not state.figures:
            yield f"The figures are missing or OUT OF DATE. Draw them: {study.command}"
    elif made != study.plan.study.digest:
        yield f"OUT OF DATE: study {study.name} ({study.label}) was changed after these tables were made."
    elif not missing or any(metrics["digest"] != made_from.get(name) for name, metrics in state.metrics.items()):
        yield f"OUT OF DATE: study {study.name} ({study.label}) has other results by now than these tables show."
    else:
        yield f"The tables are of study {study.name} ({study.label}); not all that they were made from is here."
    if not state.tables:
        yield f"{_progress(study, state)} Make what is missing, and the tables again: {study.command}"
    for last in recorded(paths)[:1]:
        other = last.study
        if other.plan.study.digest not in (study.plan.study.digest, made):
            yield f"These tables are not of the study that was planned here last, {other.name}."
            yield f"{_progress(other, look(other.plan))} Make its tables: {other.command}"


def _show_claims(paths: Paths, console: Console) -> None:
    """The declared contrasts that the study's runs can judge."""
    with (paths.tables / "claims.csv").open(encoding="utf-8", newline="") as file:
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
        interval = f" [{float(row['low']):.2f}, {float(row['high']):.2f}]" if row["low"] else ""
        estimate = f"{float(row['estimate']):.2f}{interval}" if row["estimate"] else ""
        judged = (row["n"], row["verdict"], row["verdict_control"], row["verdict_rival"], row["survives"])
        table.add_row(row["claim"], row["comparison"], row["reading"], row["expected"], estimate, *judged)
    console.print(table)
