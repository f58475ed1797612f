"""Measures the table of docs/overhead.md: `python -m benchmarks.overhead`, ten minutes of one core, or a GPU's.

Writes overhead.csv, overhead.md and overhead.json to results/benchmarks/overhead, for each size of images to a folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from collabpipe.jobs.overhead import write_overhead
from collabpipe.methods.resolve import compose, read_methods
from collabpipe.plan.paths import OVERHEAD_MD
from collabpipe.settings.training import NetworkSettings, TrainingSettings
from collabpipe.training.step_cost import Entry, measure_overhead

PATTERNS = ("hierarchical", "simple", "instances")
LAST_STAGE = {"resnet18": "stage4", "vgg16": "stage5"}


def entries(network: str) -> list[Entry]:
    """The paper's methods with early and late splits, their combination, and Song and Chai's four heads."""
    late = LAST_STAGE[network]
    definitions: dict[str, dict[str, object]] = {
        "baseline": {},
        "dropout": {},
        "output_classifier": {"kind": "output", "split": "classifier"},
        "output_late": {"kind": "output", "split": late},
        "output": {"split": "stage2"},
        "output_input": {"kind": "output", "split": "input"},
        "intermediate": {"variant": "virtual", "split": "stage2"},
        "intermediate_late": {"kind": "intermediate", "variant": "virtual", "split": late},
        "intermediate_partition": {"kind": "intermediate", "variant": "partition"},
        "representation": {"variant": "spatial"},
        "kernel": {"variant": "rows"},
        "combined": {"of": "output+intermediate+representation+kernel"},
        "combined_late": {"kind": "combined", "of": "output_late+intermediate_late+representation+kernel"},
    }
    for pattern in PATTERNS:
        heads = {"kind": "multi_head", "pattern": pattern, "heads": 4, "drop": 0.5, "channel_drop": 0.1}
        definitions[f"multi_head_{pattern}"] = heads
    methods, settings = read_methods(definitions), NetworkSettings.model_validate({"kind": network})
    return [Entry(network, settings, name, compose(methods, name, settings.stages_of(32, 128))) for name in methods]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seconds", type=float, default=0.0, help="time for the rounds of a network, five at least")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32], help="of the square images, in pixels")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/overhead"))
    asked = parser.parse_args()
    training = TrainingSettings(epochs=1, batch_size=128, threads=asked.threads, precision=asked.precision)
    found = [entry for network in LAST_STAGE for entry in entries(network)]
    for size in asked.sizes:
        measured = measure_overhead(found, (3, size, size), 10, training, seconds=asked.seconds)
        folder = asked.out / f"{size}x{size}" if len(asked.sizes) > 1 else asked.out
        write_overhead(measured, folder, {"made by": "benchmarks/overhead.py"})
        print((folder / OVERHEAD_MD).read_text(encoding="utf-8"), flush=True)


if __name__ == "__main__":
    main()
