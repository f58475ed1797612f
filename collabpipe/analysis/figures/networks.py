"""What the networks of finished runs give for images, for figures that no table or prediction has the numbers for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from collabpipe.analysis.runs import EvaluatedRun
from collabpipe.common.errors import CollabpipeError
from collabpipe.data.prepared import Images
from collabpipe.plan.paths import WEIGHTS, Paths

MOST_PIXELS = 1000 * 32 * 32
"""Of the images that a network predicts together: figures are drawn on the machine that runs Snakemake, and ResNet-18
would need some 13 GB for each map of a thousand images of 224×224."""


def keeps_weights(run: EvaluatedRun, paths: Paths) -> bool:
    """Whether the last epoch's weights of a run are here: not of a diverged one, nor where a restore left them out."""
    there = (paths.run(run.name) / WEIGHTS["last"]).is_file()
    return run.finished and run.record.get("kept", "all") != "none" and there


def outputs(
    run: EvaluatedRun, paths: Paths, images: Images, index: NDArray[np.intp], stage: str = ""
) -> NDArray[np.float32] | None:
    """What the network of `run` gives at its last epoch for the images at `index`, in evaluation mode.

    Always on the CPU, so that no job has to be given a GPU for figures: but for the last bits, the numbers of an
    evaluation on a CPU.

    Returns:
        Logits (n, K), or the features (n, C, H, W) behind `stage`; None if the run's weights are not kept here.
    """
    if not keeps_weights(run, paths):
        return None
    import torch

    from collabpipe.training.batches import Pixels
    from collabpipe.training.checkpoint import kept_weights, load_network
    from collabpipe.training.device import be_deterministic
    from collabpipe.training.measure import predict

    be_deterministic(run.recipe.training.threads)
    try:
        weights = kept_weights(paths.run(run.name), "last", run.record)
    except CollabpipeError:
        return None
    whole = load_network(run.recipe, weights, images.images.shape[1], len(images.classes))
    names = list(whole.stages)
    until = [whole.stages[name] for name in names[: names.index(stage) + 1]] if stage else []
    network = torch.nn.Sequential(whole.stem, *until) if stage else whole
    pixels = Pixels.of(images, index, torch.device("cpu"))
    together = max(1, MOST_PIXELS // math.prod(images.images.shape[2:]))
    return np.asarray(predict(network, pixels, run.recipe.training.precision, together).numpy())
