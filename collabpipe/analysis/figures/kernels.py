"""How similar the kernels of a convolution are, with and without the loss that lowers it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from collabpipe.analysis.figures.grams import compared, draw_grams
from collabpipe.analysis.figures.material import Material, shown_cell
from collabpipe.analysis.figures.style import message
from collabpipe.plan.paths import WEIGHTS

MOST_CELLS = 40


def draw(material: Material) -> Figure:
    """A row per cell: the baseline, each method with the kernel loss, and its matched control."""
    rows = []
    kernel = material.histories
    if "kernel" not in kernel:
        return message("No method of this study trains with the loss on kernels.")
    names = compared(material.methods, set(kernel.loc[kernel["kernel"].notna(), "method"]))
    for cell, by_method in list(material.by_method.items())[:MOST_CELLS]:
        found = []
        for name in names:
            weights = [material.paths.run(run.name) / WEIGHTS["last"] for run in by_method.get(name, ())]
            grams = (gram for path in weights if (gram := read_gram(path)) is not None)
            if (first := next(grams, None)) is not None:
                found.append((name, first))
        if found:
            rows.append((shown_cell(cell), found))
    return draw_grams(rows, "kernels") if rows else message("No run keeps the weights that this figure is made from.")


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
