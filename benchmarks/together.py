"""Small trainings on one GPU: all at once against one after another."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

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


def to_its_end(training: Training) -> None:
    """Carry one training to its end."""
    for _ in training.run():
        pass


def one_after_another(trainings: Sequence[Training]) -> None:
    """Each to its end before the next starts."""
    for training in trainings:
        to_its_end(training)


def at_once(trainings: Sequence[Training]) -> None:
    """All side by side, each in a thread of its own, as in a job with `execution.trainings_at_once`."""
    with ThreadPoolExecutor(len(trainings)) as pool:
        list(pool.map(to_its_end, trainings))


def measure(context: Context) -> list[Row]:
    """Beginnings are part of both: each training moves its images and captures its step."""
    what = f"{NUMBER} trainings at once (14×14, ResNet-18 of width {WIDTH}, {IMAGES:,} images, {EPOCHS} epochs)"
    if context.device != "cuda":
        return [Row(what, "one after another", None, note="not measured: it is for a GPU")]
    be_deterministic(threads=1)
    work = {"one after another": lambda: one_after_another(begin()), "at once": lambda: at_once(begin())}
    times = in_turns(work, context.seconds, least=3, wait=synchronise("cuda"))
    ratio = paired(times["one after another"], times["at once"])
    seconds = {name: statistics.median(found) for name, found in times.items()}
    note = f"{ratio}; {seconds['at once']:.2f} against {seconds['one after another']:.2f} s"
    rate = NUMBER * 3600 / seconds["at once"]
    return [
        Row(what, "one after another", ratio.median, Goal("≥", 5.0), note=note),
        Row("the same, trainings an hour", "", rate, unit="an hour"),
    ]
