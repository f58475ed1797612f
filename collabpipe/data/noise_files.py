"""The user's own label file as annotation of a data set: its length, order and classes, held to the training images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError, listed, nearest
from collabpipe.common.files import file_digest
from collabpipe.data.label_formats import Written, read_written
from collabpipe.data.noise import FILE, NO_LABEL
from collabpipe.data.prepared import Images, file_names
from collabpipe.plan.recipes import LabelsRecipe

Labels = NDArray[np.int64]
CHANCE = 4.0
"""Standard errors within which a file agrees with the clean labels no better than a shuffled one would."""


def label_file(recipe: LabelsRecipe, path: Path | None, images: Images, folder: Path) -> dict[str, Labels]:
    """The annotation that the noise `file` asks for, (M,) of the training set in `folder`; nothing for other noise.

    Raises:
        CollabpipeError: the file is missing, not the one of the recipe, or does not fit the training set.
    """
    if recipe.noise.kind != FILE:
        return {}
    if path is None:
        raise CollabpipeError(f"noise {recipe.noise_name} needs its label file. Name it: --file PATH.")
    try:
        digest = file_digest(path)
    except OSError as error:
        raise CollabpipeError(f"{path}: cannot be read: {error.strerror}. Name the label file: --file PATH.") from error
    if digest != recipe.noise.sha256:
        raise CollabpipeError(
            f"{path}: has SHA-256 {digest[:12]}, and the recipe asks for {str(recipe.noise.sha256)[:12]}. If the file "
            "was changed, run Snakemake again: it takes the file as it is now."
        )
    names = file_names(recipe.data, folder, "train")
    order = None if names is None else torchvision_order(names, levels=recipe.data.quality is not None)
    return {FILE: fitted(read_written(path), path, recipe.data.dataset, images.labels, images.classes, order)}


def torchvision_order(names: Sequence[str], levels: bool) -> Labels:
    """The positions (M,) of an image folder's images in the order of torchvision's ImageFolder, train before val.

    That goes by class, then by folder, then by file: the images that a class's folder holds itself come first. With
    `levels` a quality is above the classes.
    """
    above = 2 if levels else 1

    def place(position: int) -> tuple[list[str], str, str]:
        folder, _, file = names[position].rpartition("/")
        return folder.split("/")[: above + 1], folder, file

    return np.array(sorted(range(len(names)), key=place), dtype=np.int64)


def fitted(
    written: Written, path: Path, dataset: str, clean: Labels, classes: Sequence[str], order: Labels | None = None
) -> Labels:
    """The labels (M,) in `written`, for a training set with the labels `clean` (M,); NO_LABEL for images without one.

    `order` (M,) has the positions of the images in the order of a file without an index, if that is not their own.

    Raises:
        CollabpipeError: wrong length, an index that is no image's or that occurs twice, a label that is no class, clean
            labels that are not the data set's, or an order that cannot be the data set's.
    """
    labels = _numbers(path, "label", written.label, written, classes, dataset)
    if written.index is None:
        if len(labels) != len(clean):
            raise CollabpipeError(
                f"{path}: has {len(labels)} labels, and the training set of {dataset} has {len(clean)} images. A list "
                "without an index needs one label per image, in order. For other files add the column index: the "
                "position of each image, from 0."
            )
        index = np.arange(len(clean)) if order is None else order
    else:
        index = _positions(path, written.index, written, dataset, len(clean))
    if written.clean is not None:
        own = _numbers(path, "clean label", written.clean, written, classes, dataset)
        if len(differing := np.flatnonzero(own != clean[index])):
            first = int(differing[0])
            raise CollabpipeError(
                f"{path}: its clean labels differ from those of {dataset} in {len(differing)} of {len(own)} rows, "
                f"first in {written.row(first)}: {classes[own[first]]} where image {index[first]} is "
                f"{classes[clean[index[first]]]}. The file is of another order or another data set. Bring it into the "
                "order of the training set (collabpipe export labels shows it)."
            )
    else:
        _check_order(path, dataset, labels, clean[index])
    found = np.full(len(clean), NO_LABEL, dtype=np.int64)
    found[index] = labels
    return found


def _check_order(path: Path, dataset: str, labels: Labels, clean: Labels) -> None:
    """Refuse labels that say nothing of the images, as those in another order do."""
    size = max(labels.max(initial=0), clean.max(initial=0)) + 1
    shares = [np.bincount(column, minlength=size) / max(len(labels), 1) for column in (labels, clean)]
    chance = float(shares[0] @ shares[1])
    agreement = float((labels == clean).mean()) if len(labels) else 1.0
    if abs(agreement - chance) <= CHANCE * (chance * (1 - chance) / max(len(labels), 1)) ** 0.5:
        raise CollabpipeError(
            f"{path}: {agreement:.1%} of its labels are the clean ones of {dataset}, and a shuffled file would have "
            f"{chance:.1%}: it is most likely in another order (that of TensorFlow, of the classes). Bring it into the "
            "order of the training set (collabpipe export labels shows it). If the order is right, add the column "
            "clean, which proves it."
        )


def _positions(path: Path, values: Sequence[Any], written: Written, dataset: str, images: int) -> Labels:
    faults: list[str] = []
    first: dict[int, int] = {}
    found = np.zeros(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        number = _whole(value)
        if number is None or not 0 <= number < images:
            faults.append(
                f"{path}: {written.row(row)}: index {value!r} is no image of {dataset}. Allowed: 0 to {images - 1}."
            )
        elif number in first:
            faults.append(
                f"{path}: {written.row(row)}: index {number} occurs twice, first in {written.row(first[number])}. "
                "Leave one."
            )
        else:
            first[number], found[row] = row, number
    _refuse(faults)
    return found


def _numbers(
    path: Path, what: str, values: Sequence[Any], written: Written, classes: Sequence[str], dataset: str
) -> Labels:
    """Labels, given as numbers or as names of classes, as numbers (n,)."""
    names = {name: number for number, name in enumerate(classes)}
    faults = []
    found = np.zeros(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        number = _whole(value)
        number = names.get(value) if number is None and isinstance(value, str) else number
        if number is None or not 0 <= number < len(classes):
            hint = nearest(value, classes) if isinstance(value, str) else ""
            faults.append(
                f"{path}: {written.row(row)}: {what} {value!r} is no class of {dataset}. Allowed: 0 to "
                f"{len(classes) - 1}, or a class name such as {classes[0]!r}.{hint}"
            )
        else:
            found[row] = number
    _refuse(faults)
    return found


def _refuse(faults: Iterable[str]) -> None:
    if told := list(faults):
        raise CollabpipeError(listed(told, most=5))


def _whole(value: Any) -> int | None:
    """A whole number, however it is written: 3, 3.0, "3", "3.000e+00" (numpy.savetxt); None for anything else."""
    try:
        number = float(value) if isinstance(value, Real | str) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return int(number) if number is not None and number.is_integer() else None
