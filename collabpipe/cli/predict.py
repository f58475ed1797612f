"""Name the classes of your own images with a trained run, or with the seeds of a cell together."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from collabpipe.cli.arguments import add_best, at_least
from collabpipe.cli.console import console
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import json_text

if TYPE_CHECKING:
    from collabpipe.data.pictures import Picture
    from collabpipe.results.finished import FinishedRun


def arguments(parser: ArgumentParser) -> None:
    """The runs, the images, and how the answer is printed."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="IMAGE",
        help="images: PNG, JPEG, BMP, WebP, or .npy (uint8, channels last, one image or many); a folder among them is "
        "another run of the same cell, and the runs' probabilities are averaged",
    )
    parser.add_argument(
        "--ensemble", action="store_true", help="RUN is the folder of a cell: average the probabilities of its seeds"
    )
    add_best(parser)
    parser.add_argument(
        "--top", type=at_least(int, 1), default=3, metavar="N", help="number of classes to print (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with the probabilities of all classes")


def run(arguments: Namespace) -> None:
    """Predict and print."""
    from collabpipe.data.pictures import read_pictures
    from collabpipe.jobs.predict import find_runs, probabilities

    inputs = [arguments.run_folder, *arguments.inputs]
    folders = [path for path in inputs if path.is_dir()]
    files = [path for path in inputs if not path.is_dir()]
    if missing := [str(path) for path in files if not path.exists()]:
        raise CollabpipeError(f"{', '.join(missing)}: no such file or folder. Name folders of runs, and images.")
    if not folders or not files:
        raise CollabpipeError(
            f"there is no {'image' if folders else 'run'} among what was named: folders are runs, and files are "
            "images. collabpipe predict RUN IMAGE..."
        )
    runs = find_runs(folders, arguments.ensemble)
    pictures = read_pictures(files, runs[0].recipe.labels.data, runs[0].data["shape"])
    found = probabilities(runs, pictures, arguments.best)
    if arguments.json:
        sys.stdout.write(_as_json(runs, pictures, found, arguments.best))
    else:
        _show(runs, pictures, found, arguments.best, arguments.top)


def _as_json(runs: Sequence[FinishedRun], pictures: Sequence[Picture], found: NDArray[np.float64], best: bool) -> str:
    classes = runs[0].data["classes"]
    predictions = [
        {
            "image": picture.name,
            "changes": list(picture.changes),
            "class": classes[row.argmax()],
            "probabilities": dict(zip(classes, row.tolist(), strict=True)),
        }
        for picture, row in zip(pictures, found, strict=True)
    ]
    about = {"runs": [str(run.recipe.run) for run in runs], "weights": runs[0].which(best)}
    return json_text(about | {"predictions": predictions})


def _show(
    runs: Sequence[FinishedRun], pictures: Sequence[Picture], found: NDArray[np.float64], best: bool, top: int
) -> None:
    classes = runs[0].data["classes"]
    seeds = ", ".join(str(run.recipe.run.seed) for run in runs)
    mean = f"mean probabilities of seeds {seeds}" if len(runs) > 1 else f"seed {seeds}"
    print(f"{runs[0].recipe.run.cell}, {mean}, weights of the {runs[0].which(best)} epoch")
    table = Table()
    for column in ("image", "class", "%"):
        table.add_column(column, justify="right" if column == "%" else "left")
    for place in range(2, min(top, len(classes)) + 1):
        table.add_column(f"{place}.")
    changed = any(picture.changes for picture in pictures)
    if changed:
        table.add_column("what was done to it")
    for picture, row in zip(pictures, found, strict=True):
        order = np.argsort(-row, kind="stable")[:top]
        others = [f"{classes[k]} ({100 * row[k]:.1f})" for k in order[1:]]
        cells = [picture.name, classes[order[0]], f"{100 * row[order[0]]:.1f}", *others]
        table.add_row(*cells, *([", ".join(picture.changes)] if changed else []))
    console().print(table)
