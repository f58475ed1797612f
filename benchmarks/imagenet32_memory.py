"""Peak memory and time of preparing ImageNet32 at its true size, from random bytes in its true formats.

    python benchmarks/imagenet32_memory.py {pickle,npz} [--folder DIR]

Writes about 4 GB of batches and 4 GB of prepared files into a temporary folder, and removes them.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from collabpipe.common.files import file_digest
from collabpipe.data.fetch import fetch
from collabpipe.plan.recipes import DataRecipe

TRAIN, TEST = 1_281_167, 50_000
NEEDED_BYTES = 12 << 30
CHILD = """
import json, resource, sys, time
from pathlib import Path
from collabpipe.data.prepared import prepare
from collabpipe.plan.recipes import DataRecipe
recipe, raw, out = DataRecipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
started = time.monotonic()
prepare(recipe, raw, out)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"peak_mib": peak / 1024, "seconds": time.monotonic() - started}))
"""


def write_batches(folder: Path, packed: bool) -> None:
    """The ten training batches, the last one longer, and the validation batch."""
    generator = np.random.default_rng(0)
    sizes = {f"train_data_batch_{i}": TRAIN // 10 for i in range(1, 10)}
    sizes |= {"train_data_batch_10": TRAIN - 9 * (TRAIN // 10), "val_data": TEST}
    for name, size in sizes.items():
        data = np.frombuffer(generator.bytes(size * 3072), np.uint8).reshape(size, 3072)
        labels = generator.integers(1, 1001, size).tolist()
        value = {"data": data, "labels": labels, "mean": np.zeros(3072)}
        if packed:
            np.savez(folder / f"{name}.npz", **value)
        else:
            with (folder / name).open("wb") as file:
                pickle.dump(value, file, protocol=3)
        print(f"wrote {name}", file=sys.stderr, flush=True)


def measure(packed: bool, folder: Path) -> dict[str, float]:
    """Write the batches into `folder`, prepare them in a process of its own, and tell of its use of memory."""
    own = folder / "own"
    own.mkdir()
    write_batches(own, packed)
    accept = {path.name: file_digest(path, "md5") for path in own.iterdir()}
    recipe = DataRecipe(dataset="imagenet32", source="imagenet32", image_size=None, accept=accept)
    fetch(recipe, folder / "raw", own)
    command = [sys.executable, "-c", CHILD, recipe.model_dump_json(), folder / "raw", folder / "prepared"]
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Measure one format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format", choices=("pickle", "npz"))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where there is room")
    arguments = parser.parse_args()
    free = shutil.disk_usage(arguments.folder).free
    if free < NEEDED_BYTES:
        sys.exit(f"{arguments.folder}: {free >> 30} GiB are free, {NEEDED_BYTES >> 30} GiB are needed. Use --folder.")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        measured = measure(arguments.format == "npz", Path(temporary))
    print(f"{arguments.format}: peak {measured['peak_mib']:.0f} MiB, {measured['seconds']:.0f} s")


if __name__ == "__main__":
    main()
