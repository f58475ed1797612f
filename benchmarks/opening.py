"""Opening a prepared set of ImageNet32's size as a training on a CPU does: the first batch, and what processes share.

Writes 4 GB into the temporary folder, and removes them.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.rounds import Context, Goal, Row
from benchmarks.studies import environment
from collabpipe.common.files import sealed, write_json
from collabpipe.data.prepared import write_files
from collabpipe.data.split import Split
from collabpipe.plan import paths
from collabpipe.plan.recipes import DataRecipe
from collabpipe.plan.record_types import Pixels

TRAIN, TEST, CLASSES, SHAPE = 1_281_167, 50_000, 1000, (3, 32, 32)
PORTION = 1 << 14
NEEDED_BYTES = 6 << 30
PROCESSES = 4
RECIPE = DataRecipe(dataset="imagenet32", source="imagenet32", image_size=None)
FIRST_BATCH = """
import sys, time
from pathlib import Path
import torch
from collabpipe.data.prepared import open_images
from collabpipe.plan.recipes import DataRecipe
from collabpipe.training.batches import Pixels
torch.set_num_threads(1)
started = time.perf_counter()
data = open_images(DataRecipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), "train")
pixels = Pixels.of(data, None, torch.device("cpu"))
batch = pixels.normalise(pixels[torch.randint(len(pixels), (128,))])
print(time.perf_counter() - started, flush=True)
"""
ALL_OF_IT = """
for part in pixels.split(1 << 10):
    part.max()
print("read", flush=True)
sys.stdin.read()
"""


def write_set(folder: Path) -> None:
    """A prepared set of ImageNet32's numbers and shape, of random pixels."""
    drawn = np.random.default_rng(0)
    pixels = drawn.integers(0, 256, (PORTION, *SHAPE), dtype=np.uint8)

    def split(number: int) -> Split:
        def parts() -> Iterator[np.ndarray]:
            for start in range(0, number, PORTION):
                yield pixels[: min(PORTION, number - start)]

        return Split(drawn.integers(0, CLASSES, number), parts)

    about: Pixels = {
        "classes": list(map(str, range(CLASSES))),
        "shape": list(SHAPE),
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
    }
    files = write_files(folder, {"train": split(TRAIN), "test": split(TEST)}, SHAPE, about)
    write_json(
        folder / "record.json", sealed({"recipe": RECIPE.digest, "dataset": "imagenet32", "files": files} | about)
    )


def forget(path: Path) -> None:
    """Drop a file from the system's cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    """A process that opens the set."""
    command = [sys.executable, "-c", code, RECIPE.model_dump_json(), str(folder)]
    return subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )


def first_batch(folder: Path) -> float:
    """Seconds from opening the set to a batch of 128 random images, in a process of its own."""
    done, _ = start(FIRST_BATCH, folder).communicate()
    return float(done)


def read_whole(path: Path) -> float:
    """Seconds to read a file from beginning to end."""
    started = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
    return time.perf_counter() - started


def private_bytes(folder: Path) -> int:
    """Memory that processes which read all images have for themselves, summed over PROCESSES of them."""
    running = [start(FIRST_BATCH + ALL_OF_IT, folder) for _ in range(PROCESSES)]
    for one in running:
        if one.stdout is None or "read\n" not in iter(one.stdout.readline, ""):
            raise RuntimeError("a process that reads the images failed")
    rollups = [Path(f"/proc/{one.pid}/smaps_rollup").read_text(encoding="utf-8") for one in running]
    for one in running:
        one.communicate()
    return sum(1024 * int(size) for text in rollups for size in re.findall(r"^Private_\w+: +(\d+) kB", text, re.M))


def measure(context: Context) -> list[Row]:
    """From a cold and from a warm cache, and in four processes."""
    what = "a set of ImageNet32's size, opened: first batch"
    free = shutil.disk_usage(context.folder).free
    if free < NEEDED_BYTES:
        return [Row(what, "reading it", None, note=f"not measured: {free >> 30} GiB free, {NEEDED_BYTES >> 30} needed")]
    write_set(context.folder)
    path = context.folder / paths.TRAIN
    cold, whole = [], []
    for _ in range(3):
        forget(path)
        cold.append(first_batch(context.folder))
        forget(path)
        whole.append(read_whole(path))
    warm = statistics.median(first_batch(context.folder) for _ in range(3))
    shared = private_bytes(context.folder) / (1 << 30)
    reading = f"reading its {path.stat().st_size / 1e9:.1f} GB takes {statistics.median(whole):.1f} s"
    return [
        Row(what, "reading it", statistics.median(cold), Goal("≤", 1.0), "s", f"nothing cached; {reading}"),
        Row(what, "reading it", warm, Goal("≤", 1.0), "s", "cached"),
        Row(f"memory of {PROCESSES} processes that read it all", "", shared, Goal("≤", 1.0), "GiB", "private, summed"),
    ]
