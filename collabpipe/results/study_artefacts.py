"""What is made from all runs of a study: the overhead table, tables, figures and the report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from collabpipe.common.files import record_of
from collabpipe.plan.paths import FIGURE_FILES, OVERHEAD_FILES, REPORT_FILES, TABLE_FILES
from collabpipe.plan.plan import Plan
from collabpipe.plan.record_types import OverheadRecord, ReportRecord, ShownRecord
from collabpipe.plan.study_recipes import REPORT_NUMERICS, OverheadRecipe, StudyRecipe
from collabpipe.results.artefact import Artefact
from collabpipe.results.run_artefacts import Choice, Evaluation, Predictions, PreparedData, choices_of


class Overhead(Artefact[OverheadRecipe, OverheadRecord]):
    """What each method costs."""

    def __init__(self, plan: Plan, data: PreparedData, evaluations: Iterable[Evaluation]):
        recipe = plan.overhead
        inputs = [one for m in recipe.methods for one in choices_of(plan, m.undecided, data.key, m.network_name)]
        folder = plan.paths.overhead
        super().__init__(recipe, None, "overhead", "measure_overhead", folder, OVERHEAD_FILES, inputs)
        # Beside trainings the times would say nothing: its job waits for all of them, whatever they are.
        self.about = [data.record, *(one.record for one in evaluations)]

    def recipe_of(self, record: OverheadRecord) -> Any:
        """The digest of the recipe that a record names."""
        return record["about"]["recipe"]

    def says(self, record: OverheadRecord) -> list[str | None]:
        """The digests of the choices of each method."""
        by_method = zip(self.recipe.methods, record["about"]["choices"], strict=True)
        return [choices[name] for m, choices in by_method if m.undecided for name in m.undecided.choices]


class _Shown(Artefact[StudyRecipe, ShownRecord]):
    """What shows the evaluated runs of the whole study."""

    asked_by = "study"

    def recipe_of(self, record: ShownRecord) -> Any:
        """The digest of the recipe that a record names."""
        return record["study"]

    def says(self, record: ShownRecord) -> list[str | None]:
        """The digests of the evaluations."""
        return list(record["evaluations"])


class Tables(_Shown):
    """The tables of the study."""

    disagrees = "belongs to another overhead table than the one that is here"

    def __init__(
        self, plan: Plan, evaluations: Iterable[Predictions[Any]], choices: Iterable[Choice], overhead: Overhead
    ):
        folder = plan.paths.tables
        inputs = [(f"evaluation of {one.key}", one.record) for one in evaluations]
        waits_for = [*(one.record for one in choices), overhead.record]
        super().__init__(plan.study, None, "tables", "assemble_tables", folder, TABLE_FILES, inputs, waits_for)
        self.overhead, self.provenance = overhead.record, plan.paths.provenance(folder)

    def agrees(self, record: ShownRecord) -> bool:
        """Whether they were made with the overhead table that is here, as far as their provenance tells."""
        seal = record_of(self.overhead).get("seal")
        return bool(record_of(self.provenance).get("overhead", seal) == seal)


class Figures(_Shown):
    """The figures of the study."""

    def __init__(self, plan: Plan, tables: Tables):
        folder, job = plan.paths.figures, "draw_figures"
        super().__init__(
            plan.study, None, "figures", job, folder, FIGURE_FILES, tables.inputs, tables.waits_for, tables.record
        )
        self.tables = tables.record

    @property
    def reads(self) -> list[Path]:
        """The tables' record, which stands for all that they were made from."""
        return [self.tables]


class Report(Artefact[StudyRecipe, ReportRecord]):
    """The study's page."""

    asked_by = "study"

    def __init__(self, plan: Plan, tables: Tables, figures: Figures):
        shown = [tables, figures]
        inputs = [(one.kind, one.record) for one in shown] + [("overhead", tables.overhead)]
        # Verdicts, tables and figures come before the page, and each of these has its own job.
        super().__init__(
            plan.study, None, "report", "write_report", plan.paths.folder, REPORT_FILES, inputs, (), figures.record
        )

    def recipe_of(self, record: ReportRecord) -> Any:
        """The digest of the recipe that a record names."""
        return record["study"]

    def says(self, record: ReportRecord) -> list[str | None]:
        """The seals of what it shows."""
        return [record["shows"][what] for what, _ in self.inputs]

    def agrees(self, record: ReportRecord) -> bool:
        """Whether the page would look the same today."""
        return bool(record["numerics"] == REPORT_NUMERICS)
