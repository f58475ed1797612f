"""Equal accuracy: the engine against the plain loop on the same 5,000 images of Fashion-MNIST.

    python -m benchmarks.accuracy --data /usr/share/datasets/fashion-mnist [--width 32] [--out FILE]

Both train ResNet-18 of one width for 10 epochs with crop and flip, and are tested on all 10,000 test images by their
last weights. Not part of `make bench`: it takes the better part of an hour of one core.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from benchmarks import plain
from benchmarks.ours import clean_labels, recipe
from collabpipe.common.files import write_json
from collabpipe.data.draws import stratified
from collabpipe.data.formats import read_idx
from collabpipe.data.prepared import Images
from collabpipe.model.networks import build_network, initialise
from collabpipe.training.device import be_deterministic
from collabpipe.training.engine import Training

PARTS = {"train": "train", "test": "t10k"}


def read(folder: Path) -> dict[str, Images]:
    """Training and test images, normalised by the training images' mean and deviation."""
    arrays = {}
    for name, part in PARTS.items():
        images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")[:, None]
        arrays[name] = images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
    pixels = arrays["train"][0] / 255.0
    about = (tuple(map(str, range(10))), (float(pixels.mean()),), (float(pixels.std()),))
    return {name: Images(images, labels, *about) for name, (images, labels) in arrays.items()}


def ours(data: dict[str, Images], index: np.ndarray, asked: argparse.Namespace, precision: str, seed: int) -> float:
    """Test accuracy of the engine."""
    settings = {"epochs": asked.epochs, "measure_every": asked.epochs, "precision": precision}
    training = Training(
        recipe("fashion_mnist", asked.width, settings, seed),
        data["train"],
        clean_labels(index, data["train"]),
        torch.device("cpu"),
    )
    for _ in training.run():
        pass
    return plain.evaluate(training.method.network, data["test"])


def theirs(data: dict[str, Images], index: np.ndarray, asked: argparse.Namespace, seed: int) -> float:
    """Test accuracy of the plain loop, from the same initial weights."""
    torch.manual_seed(seed)
    chosen = recipe("fashion_mnist", asked.width, {"epochs": asked.epochs}, seed)
    network = build_network(chosen.network, 1, 10)
    initialise(network, torch.Generator().manual_seed(chosen.seeds.initialisation))
    train = data["train"]
    subset = Images(train.images[index], train.labels[index], train.classes, train.mean, train.std)
    epoch = -(-len(index) // 128)
    loop = plain.PlainLoop(network, plain.batches(subset, 4, 128, 0, "cpu"), asked.epochs * epoch, epoch, "cpu")
    for _ in range(asked.epochs * epoch):
        loop.step()
    return plain.evaluate(loop.network, data["test"])


def main() -> None:
    """Train all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with Fashion-MNIST's four files")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/accuracy.json"))
    asked = parser.parse_args()
    be_deterministic(1)
    data = read(asked.data)
    found: dict[str, list[float]] = {"plain": [], "float32": [], "bfloat16": []}
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for seed in asked.seeds:
        index = stratified(data["train"].labels, 5000, np.random.default_rng(seed))
        for name in found:
            started = time.perf_counter()
            value = theirs(data, index, asked, seed) if name == "plain" else ours(data, index, asked, name, seed)
            found[name].append(value)
            seconds[name].append(time.perf_counter() - started)
            print(f"seed {seed} {name}: {100 * value:.2f}% in {seconds[name][-1]:.0f} s", flush=True)
            write_json(asked.out, {"accuracy": found, "seconds": seconds, "width": asked.width, "epochs": asked.epochs})
    for name in ("float32", "bfloat16") if len(asked.seeds) > 1 else ():
        difference = [100 * (a - b) for a, b in zip(found[name], found["plain"], strict=True)]
        mean, spread = statistics.mean(difference), statistics.stdev(difference)
        half = spread / len(difference) ** 0.5 * float(stats.t.ppf(0.975, len(difference) - 1))
        print(f"{name} - plain: {mean:+.2f} points, 95% interval {mean - half:+.2f} to {mean + half:+.2f}")


if __name__ == "__main__":
    main()
