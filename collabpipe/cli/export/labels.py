"""Write a label file in a format of other code bases."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def arguments(parser: ArgumentParser) -> None:
    """The labels, the format and the file."""
    parser.add_argument("source", type=Path, metavar="LABELFILE|RUN", help="a label file, or the folder of a run")
    parser.add_argument(
        "--format", choices=("json", "csv", "npy", "parquet"), required=True, help="the form of the file"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")


def run(arguments: Namespace) -> None:
    """Write the labels of all images in the label file, and say which these are."""
    from collabpipe.data.label_formats import WRITERS, is_plain
    from collabpipe.data.labels import read_label_file
    from collabpipe.results.finished import FinishedRun

    path = arguments.source
    if path.is_dir():
        found = FinishedRun.of(path)
        path = found.paths.labels(found.recipe.labels)
    labels, _ = read_label_file(path)
    WRITERS[arguments.format](arguments.out, labels)
    which = "all training images, in order" if is_plain(labels) else "a part of the training images, with their index"
    wrong = (labels.clean != labels.noisy).mean()
    print(f"{arguments.out}: {len(labels.index)} labels of {which}; {wrong:.1%} are wrong.")
