"""The command line: every step of the pipeline, each usable by hand."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from collabpipe.errors import CollabpipeError
from collabpipe.files import write_json
from collabpipe.occupancy import occupy
from collabpipe.paths import LABEL_INPUTS, STAGES, Paths

WRITING = ("fetch", "prepare", "labels", "train", "choose", "evaluate", "overhead", "tables")
"""Commands that must not meet a restore."""


def _fetch(arguments: argparse.Namespace) -> None:
    from collabpipe.data.fetch import fetch
    from collabpipe.recipe import DataRecipe, read_recipe

    recipe = read_recipe(arguments.recipe, DataRecipe)
    folder = arguments.results.raw(recipe.dataset)
    fetch(recipe, folder, arguments.data_dir, arguments.mirror, arguments.offline)


def _prepare(arguments: argparse.Namespace) -> None:
    from collabpipe.data.store import prepare
    from collabpipe.provenance import note, whereabouts
    from collabpipe.recipe import DataRecipe, read_recipe

    recipe = read_recipe(arguments.recipe, DataRecipe)
    folder = arguments.results.dataset(recipe.dataset)
    prepare(recipe, arguments.results.raw(recipe.dataset), folder)
    note(arguments.results, folder, whereabouts("cpu"))


def _labels(arguments: argparse.Namespace) -> None:
    from collabpipe.data.store import data_record, open_images, read_annotations
    from collabpipe.labels import make_labels, write_labels
    from collabpipe.provenance import note, whereabouts
    from collabpipe.recipe import LabelsRecipe, read_recipe

    recipe = read_recipe(arguments.recipe, LabelsRecipe)
    folder = arguments.results.dataset(recipe.data.dataset)
    images = open_images(recipe.data, folder, "train")
    labels = make_labels(recipe, images, read_annotations(recipe.data, folder))
    files = data_record(recipe.data, folder)["files"]
    path = arguments.results.labels(recipe)
    write_labels(path, recipe, labels, images.classes, {name: files[name]["sha256"] for name in LABEL_INPUTS})
    note(arguments.results, path, whereabouts("cpu"))


def _train(arguments: argparse.Namespace) -> None:
    from collabpipe.recipe import for_each
    from collabpipe.training.job import train

    for_each(arguments.recipes, lambda recipe: train(recipe, arguments.results, arguments.save_seconds))


def _evaluate(arguments: argparse.Namespace) -> None:
    from collabpipe.evaluation import evaluate
    from collabpipe.recipe import for_each

    for_each(arguments.recipes, lambda recipe: evaluate(recipe, arguments.results, arguments.keep))


def _choose(arguments: argparse.Namespace) -> None:
    from collabpipe.recipe import SelectionRecipe, read_recipe
    from collabpipe.selection import choose

    choose(read_recipe(arguments.recipe, SelectionRecipe), arguments.results, arguments.keep)


def _overhead(arguments: argparse.Namespace) -> None:
    from collabpipe.costs import measure_study
    from collabpipe.recipe import read_recipe
    from collabpipe.study import OverheadRecipe

    measure_study(read_recipe(arguments.recipe, OverheadRecipe), arguments.results, arguments.seconds)


def _tables(arguments: argparse.Namespace) -> None:
    from collabpipe.recipe import read_recipe
    from collabpipe.study import StudyRecipe
    from collabpipe.tables import write_tables

    write_tables(read_recipe(arguments.study, StudyRecipe), arguments.results, arguments.partial)


def _plan(arguments: argparse.Namespace) -> None:
    from collabpipe.plan import Plan
    from collabpipe.reconcile import look
    from collabpipe.report import show_estimate, show_plan
    from collabpipe.settle import settle

    plan = Plan.from_files(arguments.config, arguments.results.root)
    show_plan(plan, settle(plan) if arguments.write else look(plan))
    if arguments.estimate:
        show_estimate(plan, arguments.rate)


def _verify(arguments: argparse.Namespace) -> None:
    from collabpipe.plan import Plan
    from collabpipe.report import show_proofs
    from collabpipe.verify import Verifier

    plan = Plan.from_files(arguments.config, arguments.results.root)
    show_proofs(Verifier(plan, "recomputed" if arguments.recompute else "follows"), plan)


def _restore(arguments: argparse.Namespace) -> None:
    from collabpipe.plan import Plan
    from collabpipe.report import show_restored
    from collabpipe.storage import configured_study, restore

    plan = Plan.from_files(configured_study(), arguments.results.root)
    show_restored(restore(plan, arguments.remote, arguments.only or [], arguments.pull, arguments.force))


def _share(arguments: argparse.Namespace) -> None:
    from collabpipe.plan import Plan
    from collabpipe.storage import configured_study, share

    plan = Plan.from_files(configured_study(), arguments.results.root)
    share(plan, arguments.remote, arguments.push)


def _prune(arguments: argparse.Namespace) -> None:
    from collabpipe.occupancy import alone
    from collabpipe.plan import Plan
    from collabpipe.prune import remove, studies_in, unasked
    from collabpipe.report import show_unasked

    configs = [[config] for config in arguments.config] or [[file] for file in studies_in(Path("config"))]
    plans = [Plan.from_files(files, arguments.results.root) for files in configs]
    with alone(arguments.results.root, "pruning"):
        found = unasked(plans, arguments.results)
        show_unasked(found, [file for files in configs for file in files])
        if found and arguments.remove:
            remove(found, arguments.results)
            print("Removed.")
        elif found:
            print("Remove them with: collabpipe prune --remove")


def _show(arguments: argparse.Namespace) -> None:
    from collabpipe.report import show_tables

    show_tables(arguments.results)


def _doctor(arguments: argparse.Namespace) -> None:
    from collabpipe.doctor import diagnose, show_findings

    show_findings(diagnose(arguments.config, arguments.results.root))


def _schema(arguments: argparse.Namespace) -> None:
    from collabpipe.schema import settings_schema

    if arguments.out is None:
        print(json.dumps(settings_schema(), indent=2, sort_keys=True))
    else:
        write_json(arguments.out, settings_schema())


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0; give operations a second, as in 5e13")
    return rate


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="collabpipe", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument(
            "--results",
            type=lambda folder: Paths(Path(folder)),
            default=Paths(),
            metavar="DIR",
            help="the results folder (default: results)",
        )
        return sub

    def with_config(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("config", type=Path, nargs="*", default=[Path("config/config.yaml")], metavar="CONFIG")

    sub = command("plan", _plan, "List a configuration's runs, their number and what exists.")
    with_config(sub)
    sub.add_argument("--write", action="store_true", help="write the recipes into the results folder")
    sub.add_argument("--estimate", action="store_true", help="measure rates and say hours and disk beforehand")
    sub.add_argument("--rate", type=_rate, metavar="FLOPS", help="another device's rate, in place of measuring")

    sub = command("fetch", _fetch, "Download or copy a data set's files and check their sums.")
    sub.add_argument("recipe", type=Path, help="a recipe of kind data (collabpipe plan --write makes them)")
    sub.add_argument("--data-dir", type=Path, metavar="DIR", help="a folder with your own copies of the files")
    sub.add_argument(
        "--mirror", action="append", default=[], metavar="URL", help="a web folder to try first; may be repeated"
    )
    sub.add_argument("--offline", action="store_true", help="ask no server: the files must be here already")

    sub = command("prepare", _prepare, "Turn a data set's files into memory-mapped Arrow files.")
    sub.add_argument("recipe", type=Path, help="a recipe of kind data")

    sub = command("labels", _labels, "Draw a replicate's images, noisy labels and validation split.")
    sub.add_argument("recipe", type=Path, help="a recipe of kind labels")

    sub = command("train", _train, "Train one or more runs in one process; a killed training continues.")
    sub.add_argument("recipes", type=Path, nargs="+", metavar="RECIPE", help="recipes of kind train")
    sub.add_argument(
        "--save-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="least time between two saved states, at epoch ends (default: 30; 0: every epoch)",
    )

    sub = command("evaluate", _evaluate, "Predict the test set with trained runs and score it.")
    sub.add_argument("recipes", type=Path, nargs="+", metavar="RECIPE", help="recipes of kind train")

    kept = ("all", "half", "none")
    sub.add_argument("--keep", choices=kept, default="all", help="what stays of the weights afterwards (default: all)")

    sub = command("choose", _choose, "Choose a method's hyper-parameters by its candidates' validation accuracy.")
    sub.add_argument("recipe", type=Path, help="a recipe of kind selection")
    sub.add_argument("--keep", choices=kept, default="all", help="unless all, the candidates' weights are dropped")

    sub = command("overhead", _overhead, "Measure what a training step of each method costs.")
    sub.add_argument("recipe", type=Path, help="a recipe of kind overhead")
    sub.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="time for the rounds of a network (default: 10)"
    )

    sub = command("tables", _tables, "Assemble a study's tables and figures.")
    sub.add_argument("study", type=Path, help="a recipe of kind study")
    sub.add_argument("--partial", action="store_true", help="from the runs that are finished, into tables/partial")

    command("show", _show, "Print the study's table, and where tables and figures lie.")

    sub = command("verify", _verify, "Prove that each artefact belongs to its recipe, up to every cell of the tables.")
    with_config(sub)
    sub.add_argument("--recompute", action="store_true", help="draw the labels and predict the test sets again as well")

    sub = command("restore", _restore, "Pull a shared study and set it right, so that nothing is made again.")
    sub.add_argument("--remote", metavar="NAME", help="DVC's remote (default: its own default)")
    sub.add_argument("--only", action="append", choices=STAGES, help="pull this stage alone; may be repeated")
    sub.add_argument("--no-pull", dest="pull", action="store_false", help="take the results as they are here")
    sub.add_argument(
        "--force",
        action="store_true",
        help="overwrite or remove results that were never shared",
    )

    sub = command("share", _share, "Write a finished study into dvc.lock, whoever made it, and push it.")
    sub.add_argument("--remote", metavar="NAME", help="DVC's remote (default: its own default)")
    sub.add_argument("--no-push", dest="push", action="store_false", help="write dvc.lock alone")

    sub = command("prune", _prune, "List what lies in the results and no configuration asks for.")
    sub.add_argument("config", type=Path, nargs="*", metavar="CONFIG", help="the studies (default: all in config/)")
    sub.add_argument("--remove", action="store_true", help="remove it")

    sub = command("doctor", _doctor, "Say what of this machine suits a study, what does not, and how to mend it.")
    with_config(sub)

    sub = command("schema", _schema, "Print the JSON schema of a configuration.")
    sub.add_argument("--out", type=Path, metavar="FILE", help="write it there instead")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; a user's mistake ends in one message and exit code 1, not in a traceback."""
    arguments = parser().parse_args(argv)
    try:
        if arguments.command in WRITING or getattr(arguments, "write", False):
            occupy(arguments.results.root)
        arguments.run(arguments)
    except CollabpipeError as error:
        print(f"collabpipe {arguments.command}: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of a pipe, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        where = error.filename or arguments.results.root
        print(f"collabpipe {arguments.command}: error: {where}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"collabpipe {arguments.command}: interrupted", file=sys.stderr)
        return 130
    return 0
