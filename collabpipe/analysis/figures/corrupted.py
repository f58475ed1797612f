"""Training images whose labels the noise changed."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from collabpipe.analysis.figures.material import Material
from collabpipe.analysis.figures.pictures import ACROSS, Row, draw_rows, short
from collabpipe.analysis.figures.style import message
from collabpipe.data.labels import read_labels


def draw(material: Material) -> Figure:
    """A row per data set and noise: of each true class the first training image whose label was changed."""
    rows, lost = [], False
    recipes = [run.recipe.labels for run in material.runs if run.recipe.labels.noise.kind != "none"]
    for recipe in {(one.data.dataset, one.noise_name): one for one in reversed(recipes)}.values():
        images = material.images(recipe.data.dataset, "train")
        if images is None:
            lost = True
            continue
        labels = read_labels(material.paths.labels(recipe), recipe)
        changed = np.flatnonzero((labels.clean != labels.noisy) & ~labels.validation)
        _, first = np.unique(labels.clean[changed], return_index=True)
        shown = changed[first[:ACROSS]]
        if not len(shown):
            continue
        names = images.classes
        pairs = zip(labels.clean[shown], labels.noisy[shown], strict=True)
        texts = [f"{short(names[true])} → {short(names[given])}" for true, given in pairs]
        title = f"{recipe.data.dataset}, {recipe.noise_name}: true class → label given"
        rows.append(Row(title, images.images[labels.index[shown]], texts))
    if not rows:
        return message("The images are not in this results folder." if lost else "No label of this study is corrupted.")
    return draw_rows(rows[::-1])
