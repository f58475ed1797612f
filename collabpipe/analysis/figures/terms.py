"""What each loss term lowers: its value, before its weight, over the epochs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from collabpipe.analysis.figures.curves import curves
from collabpipe.analysis.figures.material import CELL, Material
from collabpipe.analysis.figures.panels import by_groups
from collabpipe.analysis.figures.style import Methods, message

NO_TERMS = {
    *CELL,
    "method",
    "seed",
    "diverged",
    "epoch",
    "learning_rate",
    "loss",
    "label",
    "validation_accuracy",
    "clean_accuracy",
    "memorised",
    "flipped_accuracy",
    "class_entropy",
}


def draw(material: Material) -> Figure:
    """A panel per cell for each term."""
    return draw_terms(material.histories, material.methods)


def draw_terms(histories: pd.DataFrame, methods: Methods) -> Figure:
    """From all histories with the names of their runs."""
    terms = [str(column) for column in histories if column not in NO_TERMS]
    sections = [curves(histories, term, term, methods) for term in terms]
    sections = [section for section in sections if section.panels]
    if not sections:
        return message("No method of this study has a loss term besides its label loss.")
    return by_groups(sections)
