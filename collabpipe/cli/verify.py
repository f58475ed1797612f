"""Prove that each artefact belongs to its recipe, up to every cell of the tables."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table

from collabpipe.cli.arguments import add_study_choice
from collabpipe.cli.console import console
from collabpipe.common.errors import CollabpipeError
from collabpipe.results.studies import Study, study_asked_for

if TYPE_CHECKING:
    from collabpipe.audit.proofs import Outcome
    from collabpipe.audit.verify import Verifier


def arguments(parser: ArgumentParser) -> None:
    """The study, and whether labels and predictions are made again."""
    add_study_choice(parser)
    parser.add_argument("--recompute", action="store_true", help="also draw the labels and predict the test sets again")


def run(arguments: Namespace) -> None:
    """Check every artefact of the study and print what was proven."""
    from collabpipe.audit.verify import Verifier

    study = study_asked_for(arguments.results, arguments.config, arguments.study)
    show_proofs(Verifier(study.plan, "recomputed" if arguments.recompute else "follows"), study)


def show_proofs(verifier: Verifier, study: Study) -> None:
    """A row per kind of artefact: how many there should be, are proven, missing, out of date, broken.

    Raises:
        CollabpipeError: not everything is proven; the message names the first break and lists the others.
    """
    from collabpipe.audit.proofs import OUTCOMES

    counts: dict[str, Counter[Outcome]] = {}
    wrong: dict[Outcome, list[str]] = {outcome: [] for outcome in OUTCOMES}
    for check in verifier.checks():
        outcome, faults = check.outcome()
        counts.setdefault(check.kind, Counter())[outcome] += 1
        wrong[outcome] += faults
    table = Table()
    for column in ("", "asked for", *OUTCOMES):
        table.add_column(column, justify="right" if column else "left")
    for kind, of_kind in counts.items():
        table.add_row(kind, str(of_kind.total()), *(str(of_kind[outcome]) for outcome in OUTCOMES))
    print(f"study {study.name} ({study.label})")  # a table's title would be folded at its width
    console().print(table)
    messages = []
    if wrong["broken"]:
        lines = "\n".join(wrong["broken"])
        messages.append(f"first break: {lines}\nRemove what is broken and make it again: {study.remedy()}")
    if wrong["out of date"]:
        lines = "\n".join(wrong["out of date"])
        messages.append(f"out of date: {lines}\nNothing of this needs to be removed. Make it again: {study.remedy()}")
    missing = {kind: of_kind["missing"] for kind, of_kind in counts.items() if of_kind["missing"]}
    if missing and not messages:
        kinds = ", ".join(f"{kind} ({number})" for kind, number in missing.items())
        messages.append(f"missing: {kinds}. So not everything is proven. Make what is missing: {study.remedy()}")
    if messages:
        raise CollabpipeError("\n".join(messages))
    print("Every cell of the tables follows from its data, labels, recipes and checkpoints.")
