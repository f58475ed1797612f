"""Test images that all methods get wrong."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from collabpipe.analysis.figures.material import Material, Predicted, shown_cell
from collabpipe.analysis.figures.pictures import ACROSS, Row, draw_rows, short
from collabpipe.analysis.figures.style import message


def draw(material: Material) -> Figure:
    """A row per cell in which there are such images."""
    rows, lost = [], False
    for cell, by_method in material.predicted.items():
        places = wrong_under_all(by_method)
        if not len(places):
            continue
        images = material.images(cell[0], "test")
        if images is None:
            lost = True
            continue
        one = next(iter(by_method.values()))
        votes = sum(each.votes.astype(np.int64) for each in by_method.values())
        shown = places[:ACROSS]
        pairs = zip(one.label[shown], np.asarray(votes)[shown].argmax(1), strict=True)
        names = images.classes
        texts = [f"{short(names[true])}\nmost say {short(names[said])}" for true, said in pairs]
        title = f"{shown_cell(cell)}: {len(places):,} of {len(one.label):,} test images"
        rows.append(Row(title, images.images[one.index[shown]], texts))
    if lost and not rows:
        return message("The images are not in this results folder.")
    return draw_rows(rows) if rows else message("Each test image is classified correctly by some method of each cell.")


def wrong_under_all(by_method: Mapping[str, Predicted]) -> NDArray[np.intp]:
    """Places of the test images that no replicate of any method classifies correctly."""
    return np.flatnonzero(np.logical_and.reduce([one.wrong for one in by_method.values()]))
