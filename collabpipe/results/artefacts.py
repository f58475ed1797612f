"""The artefacts of a study: their files, inputs and records, whether a record fits the plan, and what it proves.

Code that looks at all results loops over `artefacts`: to find those that are up to date (results/state.py), to set
their times for Snakemake (results/timestamps.py) and to prove their contents (audit/verify.py).
"""

from __future__ import annotations

from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.results.artefact import AnyArtefact
from collabpipe.results.run_artefacts import Checkpoint, Choice, Evaluation, FurtherEvaluation, Labels, PreparedData
from collabpipe.results.study_artefacts import Figures, Overhead, Report, Tables


def artefacts(plan: Plan) -> list[AnyArtefact]:
    """All artefacts of the study in the order of the work: each comes after its inputs."""
    data = {name: PreparedData(plan, recipe) for name, recipe in plan.data.items()}
    labels = {key: Labels(plan, recipe, data[key[0]]) for key, recipe in plan.labels.items()}

    def training(recipe: TrainRecipe) -> Checkpoint:
        run = recipe.run
        return Checkpoint(plan, recipe, data[run.dataset], labels[run.dataset, run.noise, run.seed])

    searched: list[AnyArtefact] = []
    for selection in plan.selections.values():
        runs = (run for candidate in selection.candidates for run, _ in candidate.runs)
        candidates = [training(plan.candidates[str(run)]) for run in runs]
        searched += [*candidates, Choice(plan, selection, candidates)]
    trainings = [training(recipe) for recipe in plan.runs.values()]
    evaluations = [Evaluation(plan, one) for one in trainings]
    of_run = {one.key: one for one in trainings}
    tests = [FurtherEvaluation(plan, one, of_run[str(one.run)], data[one.data.dataset]) for one in plan.tests.values()]
    overhead = Overhead(plan, data[plan.overhead.data.dataset], evaluations)
    choices = [one for one in searched if isinstance(one, Choice)]
    tables = Tables(plan, [*evaluations, *tests], choices, overhead)
    tables.about = [
        *overhead.files,
        *(file for one in labels.values() for file in one.files),
        *(one.record for one in trainings),
    ]
    figures = Figures(plan, tables)
    return [
        *data.values(),
        *labels.values(),
        *searched,
        *trainings,
        *evaluations,
        *tests,
        overhead,
        tables,
        figures,
        Report(plan, tables, figures),
    ]
