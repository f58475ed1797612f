"""Draw a replicate's images, noisy labels and validation split."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from collabpipe.plan.paths import LABEL_INPUTS


def arguments(parser: ArgumentParser) -> None:
    """The recipe, and the label file that it may ask for."""
    parser.add_argument("recipe", type=Path, help="a recipe of kind labels")
    parser.add_argument("--file", type=Path, help="the label file that noise file-NAME takes")


def run(arguments: Namespace) -> None:
    """Write the labels, note where they were made, and warn of classes without validation images."""
    from collabpipe.common.whereabouts import whereabouts
    from collabpipe.data.labels import make_labels, validation_warning, write_labels
    from collabpipe.data.noise_files import label_file
    from collabpipe.data.prepared import data_record, open_images, read_annotations
    from collabpipe.plan.recipes import LabelsRecipe, read_recipe
    from collabpipe.results.provenance import note

    recipe = read_recipe(arguments.recipe, LabelsRecipe)
    folder = arguments.results.dataset(recipe.data.dataset)
    images = open_images(recipe.data, folder, "train")
    own = label_file(recipe, arguments.file, images, folder)
    labels = make_labels(recipe, images, read_annotations(recipe.data, folder) | own)
    files = data_record(recipe.data, folder)["files"]
    path = arguments.results.labels(recipe)
    inputs = {name: files[name]["sha256"] for name in LABEL_INPUTS}
    about = write_labels(path, recipe, labels, images.classes, inputs)
    note(arguments.results, path, whereabouts("cpu"))
    if about["not_validated"]:
        print(validation_warning(recipe, about["not_validated"]), file=sys.stderr)
