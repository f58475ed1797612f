"""Recipes and data for the project's own engine, without files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from collabpipe.data.labels import LabelFile
from collabpipe.data.prepared import Images
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.settings.study import check_settings


def random_images(number: int, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> Images:
    """Images and labels without meaning."""
    drawn = np.random.default_rng(0)
    images = drawn.integers(0, 256, (number, *shape), dtype=np.uint8)
    labels = drawn.integers(0, classes, number)
    names = tuple(map(str, range(classes)))
    return Images(images, labels, names, (0.5,) * shape[0], (0.25,) * shape[0])


def clean_labels(index: np.ndarray, data: Images) -> LabelFile:
    """The data's own labels at `index`, all for training."""
    labels = data.labels[index]
    return LabelFile(index, labels, labels, np.zeros(len(index), dtype=np.bool_))


def recipe(
    source: str,
    width: int,
    training: dict[str, Any],
    seed: int = 0,
    *,
    network: str = "resnet18",
    method: str = "baseline",
    methods: Mapping[str, Mapping[str, object]] | None = None,
) -> TrainRecipe:
    """The recipe of a method (plain cross-entropy unless told) on clean labels, with crop and flip.

    Args:
        source: the data set that stands for the images.
        width: channels of the network's first stage.
        training: as in a configuration.
        seed: of the run.
        network: its kind.
        method: which of the methods.
        methods: definitions by name, all that `method` builds on among them.
    """
    asked = {
        "study": "benchmark",
        "datasets": {source: {"validation_size": 1, "crop": 4, "flip": True}},
        "noise": ["none"],
        "networks": {network: {"width": width}},
        "methods": methods or {"baseline": {}},
        "seeds": [seed],
        "training": training,
    }
    return Plan(check_settings(asked, {}), Path("results")).runs[f"{source}/none/{network}/{method}/seed{seed}"]
