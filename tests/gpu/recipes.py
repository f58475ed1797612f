"""Every kind of method with every variant, as recipes of small trainings on images without meaning."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.ours import random_images
from collabpipe.data.labels import LabelFile
from collabpipe.methods.registry import KINDS
from collabpipe.plan.plan import Plan
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.settings.study import check_settings
from collabpipe.training.engine import Training
from tests.workspaces import REPOSITORY

LAST_STAGE = {"resnet8": "stage3", "resnet18": "stage4", "vgg16": "stage5"}
BEFORE_LAST = {"resnet8": "stage2", "resnet18": "stage3", "vgg16": "stage4"}
PRECISIONS = ("float32", "bfloat16")
SIZE = 96
"""Images; a third of them are for validation."""
DATA = random_images(SIZE)


def definitions(network: str) -> dict[str, dict[str, Any]]:
    """The methods of config/variants.yaml for a network's own stages, and every kind that is not among them."""
    text = (REPOSITORY / "config" / "variants.yaml").read_text(encoding="utf-8")
    text = text.replace("split: stage3", f"split: {BEFORE_LAST[network]}")
    methods: dict[str, dict[str, Any]] = yaml.safe_load(text.replace("split: stage4", f"split: {LAST_STAGE[network]}"))[
        "methods"
    ]
    named = {definition.get("kind", name) for name, definition in methods.items()}
    more: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS if kind not in named}
    more |= {f"{kind}_views": {"kind": kind, "split": "input", "views": "independent"} for kind in ("gjs",)}
    # A control stands for itself; a combination needs members with these names.
    more.pop("combined", None)
    return methods | more


@cache
def plan(network: str, precision: str, epochs: int = 2) -> Plan:
    """The study of all of a network's methods."""
    asked = {
        "study": "gpu",
        "datasets": {"cifar10": {"validation_size": SIZE // 3, "crop": 2, "flip": True}},
        "noise": ["none"],
        "networks": {network: {"width": 8}},
        "methods": definitions(network),
        "seeds": [0],
        "training": {"epochs": epochs, "batch_size": 16, "learning_rate": 0.01, "precision": precision},
    }
    return Plan(check_settings(asked, {}), Path("results"))


def recipes(network: str, precision: str, epochs: int = 2) -> dict[str, TrainRecipe]:
    """By method."""
    return {recipe.run.method: recipe for recipe in plan(network, precision, epochs).runs.values()}


def begin(
    recipe: TrainRecipe, device: torch.device, *, capture: bool = True, say: Callable[[str], None] = print
) -> Training:
    """A training at its beginning; a quarter of its labels is wrong."""
    noisy = DATA.labels.copy()
    noisy[::4] = (noisy[::4] + 1) % len(DATA.classes)
    labels = LabelFile(np.arange(SIZE), DATA.labels, noisy, np.arange(SIZE) < SIZE // 3)
    return Training(recipe, DATA, labels, device, capture=capture, say=say)
