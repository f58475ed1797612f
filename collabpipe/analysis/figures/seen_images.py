"""Training images with flipped labels, and which of them each method sees through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from collabpipe.analysis.figures.material import Cell, Material, shown_cell
from collabpipe.analysis.figures.networks import keeps_weights, outputs
from collabpipe.analysis.figures.pictures import ACROSS, Row, draw_rows, short
from collabpipe.analysis.figures.style import message
from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.common.counts import counted
from collabpipe.data.labels import LabelFile, read_labels
from collabpipe.data.prepared import Images

MOST_ROWS = 24
"""Each is a network that predicts. ResNet-18 takes some 8 s for 1,000 small images on one core."""
MOST_IMAGES = 1000
"""Of a cell's flipped training images these are predicted, evenly spaced: a set may be in the order of its classes."""


def draw(material: Material) -> Figure:
    """A row per cell and method: flipped training images of which the network predicts the true class."""
    rows: list[Row] = []
    why = "No label of this study's training images is flipped."
    for cell, by_method in material.by_method.items():
        if all(run.recipe.labels.noise.kind == "none" for runs in by_method.values() for run in runs):
            continue
        runs = replicate(material, by_method)[: MOST_ROWS - len(rows)]
        images = material.images(cell[0], "train")
        if images is None:
            why = "The images are not in this results folder."
        elif not runs:
            why = "No run keeps the weights that this figure is made from."
        elif len((flipped := flipped_labels(material, runs)).index):
            why = "No run keeps the weights that this figure is made from."
            rows += rows_of(material, cell, runs, images, flipped)
        if len(rows) == MOST_ROWS:
            break
    return draw_rows(rows) if rows else message(why)


def replicate(material: Material, by_method: Mapping[str, Sequence[EvaluatedRun]]) -> list[EvaluatedRun]:
    """The runs of the first replicate of which most methods' weights are kept, the baseline's first."""
    kept: dict[int, list[EvaluatedRun]] = {}
    for name in sorted(by_method, key=lambda name: name != material.methods.baseline):
        for run in by_method[name]:
            if keeps_weights(run, material.paths):
                kept.setdefault(run.name.seed, []).append(run)
    return max(kept.values(), key=len, default=[])


def flipped_labels(material: Material, runs: Sequence[EvaluatedRun]) -> LabelFile:
    """Of a replicate's labels those of the training images whose label the noise changed."""
    recipe = runs[0].recipe.labels
    labels = read_labels(material.paths.labels(recipe), recipe)
    trained = ~labels.validation | all(run.recipe.refit for run in runs)
    flipped = (labels.clean != labels.noisy) & trained
    return LabelFile(labels.index[flipped], labels.clean[flipped], labels.noisy[flipped], labels.validation[flipped])


def rows_of(
    material: Material, cell: Cell, runs: Sequence[EvaluatedRun], images: Images, flipped: LabelFile
) -> list[Row]:
    """A row for each of a replicate's runs whose weights can be read."""
    number = len(flipped.index)
    asked = np.linspace(0, number - 1, min(number, MOST_IMAGES)).astype(np.intp)
    true, given, index = (column[asked] for column in (flipped.clean, flipped.noisy, flipped.index))
    predicted = {
        run.name.method: logits.argmax(1)
        for run in runs
        if (logits := outputs(run, material.paths, images, index)) is not None
    }
    memorised = predicted.get(str(material.methods.baseline), given) == given
    order = in_turn(true, memorised)
    names, rows = images.classes, []
    of = counted(len(asked), "flipped image", "flipped images") + (f" (of {number:,})" if number > len(asked) else "")
    for method, said in predicted.items():
        seen = said == true
        shown = order[seen[order]][:ACROSS]
        texts = [f"{short(names[true[one]])} ← {short(names[given[one]])}" for one in shown]
        title = f"{shown_cell(cell)}, {method}: sees through {seen.sum():,} of {of}"
        rows.append(Row(title + " (true ← given)" * bool(texts), images.images[index[shown]], texts))
    return rows


def in_turn(true: NDArray[np.int64], memorised: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The order in which all methods' rows show images: the memorised first, of each true class one after another."""
    turn = pd.DataFrame({"true": true, "memorised": memorised}).groupby(["true", "memorised"]).cumcount()
    return np.lexsort((true, turn.to_numpy(), ~memorised))
