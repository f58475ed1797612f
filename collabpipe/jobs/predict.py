"""The predict command: the classes of images from outside a data set, by a trained run or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError
from collabpipe.data.pictures import Picture
from collabpipe.data.prepared import Images
from collabpipe.results.finished import FinishedRun, runs_in


def find_runs(folders: Sequence[Path], ensemble: bool) -> list[FinishedRun]:
    """The runs in `folders`, which are of one cell; with `ensemble`, a folder may be a cell's, with all of its runs.

    Raises:
        CollabpipeError: no runs, several in a folder without `ensemble`, or runs of different cells.
    """
    found: list[FinishedRun] = []
    for folder in folders:
        inner = runs_in(folder)
        if inner and not ensemble:
            raise CollabpipeError(
                f"{folder}: holds {len(inner)} runs. Name one of them, such as {inner[0]}, or add --ensemble: the mean "
                "of their probabilities."
            )
        found += [FinishedRun.of(run) for run in inner or [folder]]
    cells = sorted({run.recipe.run.cell for run in found})
    if len(cells) > 1 or len({(run.paths.root, run.recipe.labels.data.digest) for run in found}) > 1:
        raise CollabpipeError(
            f"the runs are of different cells ({', '.join(cells)}), and an ensemble is of the seeds of one. "
            "Name runs of one cell."
        )
    return found


def probabilities(runs: Sequence[FinishedRun], pictures: Sequence[Picture], best: bool) -> NDArray[np.float64]:
    """(N, K): for each picture the mean over the runs of each class's probability, computed on the CPU.

    Raises:
        CollabpipeError: weights are missing, changed or were not kept; a logit is not finite.
    """
    import torch

    from collabpipe.training.batches import Pixels
    from collabpipe.training.checkpoint import kept_weights, load_network
    from collabpipe.training.device import be_deterministic
    from collabpipe.training.measure import predict

    data = runs[0].data
    stacked = np.stack([picture.pixels for picture in pictures])
    unknown = np.zeros(len(pictures), np.int64)
    images = Images(stacked, unknown, tuple(data["classes"]), tuple(data["mean"]), tuple(data["std"]))
    pixels = Pixels.of(images, None, torch.device("cpu"))
    found = []
    for run in runs:
        be_deterministic(run.recipe.training.threads)
        weights = kept_weights(run.folder, run.which(best), run.record)
        network = load_network(run.recipe, weights, data["shape"][0], len(images.classes))
        logits = predict(network, pixels, run.recipe.training.precision)
        if not logits.isfinite().all():
            raise CollabpipeError(f"{run.folder}: gives an image a value that is not finite. Name another seed's run.")
        found.append(logits.double().softmax(1).numpy())
    mean: NDArray[np.float64] = np.mean(found, axis=0)
    return mean
