"""How similar the channels of an intermediate representation are, with and without the loss that lowers it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from collabpipe.analysis.figures.grams import compared, draw_grams
from collabpipe.analysis.figures.material import Cell, Material, shown_cell
from collabpipe.analysis.figures.networks import outputs
from collabpipe.analysis.figures.style import message
from collabpipe.methods.representation import RepresentationTerm

MOST_ROWS = 10
"""Each has up to six networks, which predict."""
MOST_IMAGES = 256
Measure = tuple[str, str]
"""A variant of the loss, and the last of the stages that it acts on."""


def draw(material: Material) -> Figure:
    """A row per cell and measure: the baseline, each method with the loss on it, and its matched control."""
    asked = [
        (cell, measure, methods) for cell in material.by_method for measure, methods in measured(material, cell).items()
    ]
    if not asked:
        return message("No method of this study trains with the loss on representations.")
    rows, lost = [], False
    for cell, (variant, stage), methods in asked[:MOST_ROWS]:
        images = material.images(cell[0], "test")
        if images is None:
            lost = True
            continue
        index, found = np.arange(min(MOST_IMAGES, len(images.labels))), []
        for name in compared(material.methods, methods):
            runs = material.by_method[cell].get(name, ())
            given = (outputs(run, material.paths, images, index, stage) for run in runs)
            if (features := next((one for one in given if one is not None), None)) is not None:
                found.append((name, gram(features, variant)))
        if found:
            rows.append((f"{shown_cell(cell)}: {variant}, {stage}", found))
    if rows:
        return draw_grams(rows, "channels")
    without = "No run keeps the weights that this figure is made from."
    return message("The images are not in this results folder." if lost else without)


def measured(material: Material, cell: Cell) -> dict[Measure, list[str]]:
    """The methods of a cell that train with the loss on representations, by what it measures."""
    found: dict[Measure, list[str]] = {}
    for name, (run, *_) in material.by_method[cell].items():
        for term in run.recipe.composition.terms:
            if isinstance(term, RepresentationTerm):
                last = max(term.taps, key=run.recipe.network.stages.index)
                found.setdefault((term.variant, last), []).append(name)
    return found


def gram(features: NDArray[np.float32], variant: str) -> NDArray[np.float64]:
    """The cosines (C, C) between channels of features (n, C, H, W), as the loss of that variant takes them.

    Of `per_sample`, which has a matrix per image, the mean without signs.
    """
    matrices = [np.abs(one) if variant == "per_sample" else one for one in cosines(features, variant)]
    return np.asarray(np.mean(matrices, axis=0), dtype=np.float64)


def cosines(features: NDArray[np.float32], variant: str) -> Iterator[NDArray[np.float64]]:
    """Each matrix (C, C) whose entries off the diagonal the loss lowers: one, of `per_sample` one per image."""
    from collabpipe.model.terms.base import EPSILON

    for products in _products(features, variant):
        scale = np.sqrt(products.diagonal() + EPSILON)
        yield products / np.outer(scale, scale)


def _products(features: NDArray[np.float32], variant: str) -> Iterator[NDArray[np.float64]]:
    """Matrices (C, C) of the channels' covariances, or of the products of their maps.

    One image at a time: all features of large images in float64 would take gigabytes.
    """
    if variant == "pooled":
        features = features.mean((2, 3), dtype=np.float64, keepdims=True)
    centre = np.zeros((1, 1)) if variant == "per_sample" else features.mean((0, 2, 3), dtype=np.float64)[:, None]
    rows = (one.reshape(len(one), -1) - centre for one in features)
    products = (one @ one.T for one in rows)
    if variant == "per_sample":
        yield from products
    else:
        yield sum(products, np.zeros(())) / (len(features) * math.prod(features.shape[2:]))
