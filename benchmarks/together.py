"""Small trainings on one GPU: all at once against one after another."""

from __future__ import annotations

import statistics

import numpy as np
import torch

from benchmarks.ours import clean_labels, random_images, recipe
from benchmarks.rounds import Context, Goal, Row, in_turns, paired, synchronise
from collabpipe.training.device import be_deterministic
from collabpipe.training.engine import Training

NUMBER = 8
IMAGES = 2000
SHAPE = (1, 14, 14)
WIDTH = 32
EPOCHS = 10
PRECISION = "bfloat16"


def begin() -> list[Training]:
    """The trainings at their beginning, which differ in their seeds."""
    data = random_images(IMAGES, SHAPE)
    labels = clean_labels(np.arange(IMAGES), data)
    settings = {"epochs": EPOCHS, "measure_every": EPOCHS, "learning_rate": 1e-4, "precision": PRECISION}
    recipes = [recipe("fashion_mnist", WIDTH, settings, seed) for seed in range(NUMBER)]
    return [Training(one, data, labels, torch.device("cuda")) for one in recipes]


def one_after_another() -> None:
    """Each to its end before the next begins."""
    for training in begin():
        for _ in training.run():
            pass


def at_once() -> None:
    """All side by side."""
    from collabpipe.training.together import train_together  # type: ignore[import-not-found,unused-ignore]

    train_together(begin())


def measure(context: Context) -> list[Row]:
    """Beginnings are part of both: each training moves its images and captures its step."""
    what = f"{NUMBER} trainings at once (14×14, ResNet-18 of width {WIDTH}, {IMAGES:,} images, {EPOCHS} epochs)"
    if context.device != "cuda":
        return [Row(what, "one after another", None, note="not measured: it is for a GPU")]
    be_deterministic(threads=1)
    work = {"one after another": one_after_another, "at once": at_once}
    times = in_turns(work, context.seconds, least=3, wait=synchronise("cuda"))
    ratio = paired(times["one after another"], times["at once"])
    seconds = {name: statistics.median(found) for name, found in times.items()}
    note = f"{ratio}; {seconds['at once']:.2f} against {seconds['one after another']:.2f} s"
    rate = NUMBER * 3600 / seconds["at once"]
    return [
        Row(what, "one after another", ratio.median, Goal("≥", 5.0), note=note),
        Row("the same, trainings an hour", "", rate, unit="an hour"),
    ]
