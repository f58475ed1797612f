"""How similar the kernels of a convolution are, with and without the loss that lowers it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from collabpipe.analysis.figures.material import Cell, Material, shown_cell
from collabpipe.analysis.figures.style import BAR, Sheet, message, wrapped
from collabpipe.plan.paths import WEIGHTS

MOST_KERNELS = 64
MOST_METHODS = 6
MOST_CELLS = 40
SIDE = 1.5


def draw(material: Material) -> Figure:
    """A row per cell: the baseline, each method with the kernel loss, and its matched control."""
    rows = []
    kernel = material.histories
    if "kernel" not in kernel:
        return message("No method of this study trains with the loss on kernels.")
    trained_with = set(kernel.loc[kernel["kernel"].notna(), "method"])
    methods = material.methods
    collaborating = [name for name in methods.names if name in trained_with]
    pairs = [name for method in collaborating for name in (methods.controls.get(method), method)]
    names = list(dict.fromkeys(name for name in (methods.baseline, *pairs) if name))[:MOST_METHODS]
    for cell, by_method in list(material.by_method.items())[:MOST_CELLS]:
        found = []
        for name in names:
            weights = [material.paths.run(run.name) / WEIGHTS["last"] for run in by_method.get(name, ())]
            grams = (gram for path in weights if (gram := read_gram(path)) is not None)
            if (first := next(grams, None)) is not None:
                found.append((name, first))
        if found:
            rows.append((cell, found))
    return draw_kernels(rows) if rows else message("No run keeps the weights that this figure is made from.")


def read_gram(path: Path) -> NDArray[np.float64] | None:
    """Cosines between all kernels of the widest convolution larger than 1×1; None where no weights are kept."""
    try:
        with safe_open(path, "numpy") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no mapping)
            layers = [name for name, shape in shapes.items() if len(shape) == 4 and shape[-1] > 1]
            if not layers:
                return None
            most = max(layers, key=lambda name: (shapes[name][0], name))
            kernels = file.get_tensor(most).astype(np.float64)
    except (OSError, SafetensorError):
        return None
    rows = kernels.reshape(len(kernels), -1)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return np.asarray(rows @ rows.T, dtype=np.float64)


def draw_kernels(rows: Sequence[tuple[Cell, Sequence[tuple[str, NDArray[np.float64]]]]]) -> Figure:
    """From the cosines between kernels (C, C) of methods in cells."""
    columns = max(len(found) for _, found in rows)
    titles = {
        (cell, name): f"{wrapped(shown_cell(cell), SIDE)}\n{wrapped(name, SIDE)}\nmean {_mean(gram):.3f}"
        for cell, found in rows
        for name, gram in found
    }
    sheet = Sheet(len(rows), columns, SIDE, SIDE, left=0.2, bottom=0.15, titles=list(titles.values()), heads={0: BAR})
    cosines = np.concatenate([np.abs(gram[~np.eye(len(gram), dtype=bool)]) for _, found in rows for _, gram in found])
    # All but the largest differ in colour.
    scale = Normalize(0.0, max(float(np.quantile(cosines, 0.99)), 1e-3) if cosines.size else 1.0)
    for row, (cell, found) in enumerate(rows):
        for column, (name, gram) in enumerate(found):
            axes = sheet.axes(row, column, titles[cell, name])
            shown = np.abs(gram[:MOST_KERNELS, :MOST_KERNELS])
            axes.imshow(shown, cmap="Greys", norm=scale, interpolation="none")
            axes.set_xticks([])
            axes.set_yticks([])
    sheet.colour_bar(ScalarMappable(scale, "Greys"), "|cosine| of two kernels", extend="max")
    return sheet.figure


def _mean(gram: NDArray[np.float64]) -> float:
    """Of the absolute cosines off the diagonal."""
    off = ~np.eye(len(gram), dtype=bool)
    return float(np.abs(gram[off]).mean()) if off.any() else 0.0
