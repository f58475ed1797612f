"""What each command of the command line does; its docstring is what --help says. Imports are the command's own."""

from __future__ import annotations

import argparse
import json
import os
import sys

from collabpipe.common.files import write_json
from collabpipe.plan.paths import LABEL_INPUTS


def fetch(arguments: argparse.Namespace) -> None:
    """Download or copy a data set's files and check their sums."""
    from collabpipe.data.fetch import fetch
    from collabpipe.plan.recipes import DataRecipe, read_recipe

    recipe = read_recipe(arguments.recipe, DataRecipe)
    folder = arguments.results.raw(recipe.dataset)
    fetch(recipe, folder, arguments.data_dir, arguments.mirror, arguments.offline)


def prepare(arguments: argparse.Namespace) -> None:
    """Turn a data set's files into memory-mapped Arrow files."""
    from collabpipe.common.whereabouts import whereabouts
    from collabpipe.data.prepared import prepare
    from collabpipe.plan.recipes import DataRecipe, read_recipe
    from collabpipe.results.provenance import note

    recipe = read_recipe(arguments.recipe, DataRecipe)
    folder = arguments.results.dataset(recipe.dataset)
    prepare(recipe, arguments.results.raw(recipe.dataset), folder)
    note(arguments.results, folder, whereabouts("cpu"))


def labels(arguments: argparse.Namespace) -> None:
    """Draw a replicate's images, noisy labels and validation split."""
    from collabpipe.common.whereabouts import whereabouts
    from collabpipe.data.labels import make_labels, validation_warning, write_labels
    from collabpipe.data.prepared import data_record, open_images, read_annotations
    from collabpipe.plan.recipes import LabelsRecipe, read_recipe
    from collabpipe.results.provenance import note

    recipe = read_recipe(arguments.recipe, LabelsRecipe)
    folder = arguments.results.dataset(recipe.data.dataset)
    images = open_images(recipe.data, folder, "train")
    labels = make_labels(recipe, images, read_annotations(recipe.data, folder))
    files = data_record(recipe.data, folder)["files"]
    path = arguments.results.labels(recipe)
    inputs = {name: files[name]["sha256"] for name in LABEL_INPUTS}
    about = write_labels(path, recipe, labels, images.classes, inputs)
    note(arguments.results, path, whereabouts("cpu"))
    if about["not_validated"]:
        print(validation_warning(recipe, about["not_validated"]), file=sys.stderr)


def train(arguments: argparse.Namespace) -> None:
    """Train one or more runs in one process; a killed training continues."""
    from collabpipe.jobs.train import train
    from collabpipe.plan.recipes import for_each
    from collabpipe.settings.study import ExecutionSettings

    keys = ("save_seconds", "save_epochs", "jobs_per_gpu", "stage")
    execution = ExecutionSettings(**{key: getattr(arguments, key) for key in keys})
    for_each(
        arguments.recipes,
        lambda recipe: train(recipe, arguments.results, execution, arguments.interruption),
        arguments.at_once,
    )


def evaluate(arguments: argparse.Namespace) -> None:
    """Predict the test set with trained runs and score it."""
    from collabpipe.jobs.evaluate import evaluate
    from collabpipe.plan.recipes import for_each

    for_each(
        arguments.recipes, lambda recipe: evaluate(recipe, arguments.results, arguments.keep, arguments.jobs_per_gpu)
    )


def choose(arguments: argparse.Namespace) -> None:
    """Choose a method's hyper-parameters by its candidates' validation accuracy."""
    from collabpipe.jobs.choose import choose
    from collabpipe.plan.recipes import SelectionRecipe, read_recipe

    choose(read_recipe(arguments.recipe, SelectionRecipe), arguments.results, arguments.keep)


def overhead(arguments: argparse.Namespace) -> None:
    """Measure what a training step of each method costs."""
    from collabpipe.host.gpu_lease import lease_device
    from collabpipe.jobs.overhead import measure_study
    from collabpipe.plan.recipes import read_recipe
    from collabpipe.plan.study_recipes import OverheadRecipe

    lease_device(0 if arguments.cpu else 1)
    measure_study(read_recipe(arguments.recipe, OverheadRecipe), arguments.results, arguments.seconds)


def tables(arguments: argparse.Namespace) -> None:
    """Assemble a study's tables."""
    from collabpipe.analysis.tables import write_tables
    from collabpipe.plan.recipes import read_recipe
    from collabpipe.plan.study_recipes import StudyRecipe

    write_tables(read_recipe(arguments.study, StudyRecipe), arguments.results, arguments.partial)


def figures(arguments: argparse.Namespace) -> None:
    """Draw a study's figures."""
    # A notebook sets a backend that need not be installed here; matplotlib then cannot even be imported.
    os.environ["MPLBACKEND"] = "agg"
    from collabpipe.analysis.figures import write_figures
    from collabpipe.plan.recipes import read_recipe
    from collabpipe.plan.study_recipes import StudyRecipe

    write_figures(read_recipe(arguments.study, StudyRecipe), arguments.results, arguments.partial)


def plan(arguments: argparse.Namespace) -> None:
    """List a configuration's runs, their number and what exists."""
    from collabpipe.cli.show import show_estimate, show_plan
    from collabpipe.plan.plan import Plan
    from collabpipe.results.state import check_own_files, look
    from collabpipe.results.timestamps import settle

    plan = Plan.from_files(arguments.config, arguments.results.root)
    state = settle(plan) if arguments.write else look(plan)
    show_plan(plan, state)
    if arguments.estimate:
        show_estimate(plan, arguments.rate)
    check_own_files(plan, state)


def verify(arguments: argparse.Namespace) -> None:
    """Prove that each artefact belongs to its recipe, up to every cell of the tables."""
    from collabpipe.audit.verify import Verifier
    from collabpipe.cli.show import show_proofs
    from collabpipe.plan.plan import Plan
    from collabpipe.results.studies import Study, study_here

    if arguments.config:
        study = Study.of_files(Plan.from_files(arguments.config, arguments.results.root))
    else:
        study = study_here(arguments.results)
    show_proofs(Verifier(study.plan, "recomputed" if arguments.recompute else "follows"), study)


def restore(arguments: argparse.Namespace) -> None:
    """Pull a shared study and set it right, so that nothing is made again."""
    from collabpipe.audit.share import configured_study, restore
    from collabpipe.cli.show import show_restored
    from collabpipe.plan.plan import Plan

    plan = Plan.from_files(configured_study(), arguments.results.root)
    show_restored(restore(plan, arguments.remote, arguments.only or [], arguments.pull, arguments.force))


def share(arguments: argparse.Namespace) -> None:
    """Write a finished study into dvc.lock, whoever made it, and push it."""
    from collabpipe.audit.share import configured_study, share
    from collabpipe.plan.plan import Plan

    plan = Plan.from_files(configured_study(), arguments.results.root)
    share(plan, arguments.remote, arguments.push)


def prune(arguments: argparse.Namespace) -> None:
    """List what lies in the results and no known study asks for."""
    from collabpipe.cli.show import advise_removal, show_unasked
    from collabpipe.host.results_lock import alone
    from collabpipe.plan.plan import Plan
    from collabpipe.results.prune import remove, unasked
    from collabpipe.results.studies import Study, known_studies

    paths = arguments.results
    named = [Study.of_files(Plan.from_files([file], paths.root)) for file in arguments.config]
    known = known_studies(paths) if not (named and arguments.remove) else []
    with alone(paths.root, "pruning"):
        found = unasked([study.plan for study in named or known], paths)
        show_unasked(found, named or known)
        if found and arguments.remove:
            remove(found, paths)
            print("Removed.")
        elif found:
            advise_removal(found, named, known, paths)


def show(arguments: argparse.Namespace) -> None:
    """Print the table that lies here, its study and whether it is up to date, and where tables and figures lie."""
    from collabpipe.cli.show_tables import show_tables

    show_tables(arguments.results)


def doctor(arguments: argparse.Namespace) -> None:
    """Say what of this machine suits a study, what does not, and how to mend it."""
    from collabpipe.cli.doctor import diagnose, show_findings

    show_findings(diagnose(arguments.config, arguments.results.root))


def schema(arguments: argparse.Namespace) -> None:
    """Print the JSON schema of a configuration."""
    from collabpipe.settings.schema import settings_schema

    if arguments.out is None:
        print(json.dumps(settings_schema(), indent=2, sort_keys=True))
    else:
        write_json(arguments.out, settings_schema())
