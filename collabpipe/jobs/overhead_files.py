"""The overhead table's files: for programs, for readers, and every round of the timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from collabpipe.common.files import file_digest, sealed, write_json, write_text
from collabpipe.common.whereabouts import whereabouts
from collabpipe.training.step_cost import Measured

SHOWN = {
    "params_train": ("parameters, training (M)", 1e-6, 2),
    "params_inference": ("parameters, inference (M)", 1e-6, 2),
    "flops": ("GFLOP a step", 1e-9, 1),
    "saved_bytes": ("saved (MB)", 1e-6, 1),
    "peak_bytes": ("peak (MB)", 1e-6, 1),
    "step_seconds": ("step (ms)", 1e3, 1),
}
"""For reading: each quantity's heading, its factor and its decimals."""
NOTE = (
    "A step is forward, losses, backward and the optimiser's update of one batch. ×: the ratio to plain cross-entropy "
    "of the same network. Parameters: all that are trained, and those that inference keeps. GFLOP: 10⁹ operations of "
    "the convolutions and matrix products of forward, losses and backward, a multiplication and an addition counted "
    "as two; all else is left out. Saved: memory that forward keeps for backward, each storage once, without the "
    "parameters. Peak: weights, statistics, momentum and the batch, and the most that the step holds beside them in "
    "torch's allocator. Step: the median time of its rounds, in which all methods of a network take turns. MB is 10⁶ "
    "bytes. The first four are the same on every run; peak and time belong to the device."
)


def write_overhead(measured: Measured, folder: Path, about: Mapping[str, Any]) -> None:
    """Write overhead.csv (full precision), overhead.md (for reading) and overhead.json (rounds, conditions, `about`).

    Raises:
        CollabpipeError: the folder cannot be written.
    """
    held = measured.conditions
    write_text(folder / "overhead.csv", measured.table.to_csv(index=False))
    shown = _for_reading(measured.table).to_markdown(index=False, disable_numparse=True)
    threads = f"{held.threads} thread{'s' * (held.threads > 1)}"
    conditions = (
        f"Measured on {held.device}, {threads}, {held.precision}, batches of {held.batch_size} images of "
        f"{'×'.join(map(str, held.shape))}, {held.classes} classes."
    )
    write_text(folder / "overhead.md", f"{shown}\n\n{conditions}\n\n{NOTE}\n")
    record = {"rounds": measured.rounds, "conditions": asdict(held), "about": dict(about)}
    files = {name: file_digest(folder / name) for name in ("overhead.csv", "overhead.md")}
    write_json(folder / "overhead.json", sealed(record | {"files": files, "where": whereabouts(held.device)}))


def _for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each quantity and its ratio in one cell."""
    shown = table[["network", "method"]].copy()
    for name, (heading, factor, decimals) in SHOWN.items():
        shown[heading] = [
            f"{value * factor:.{decimals}f}" + (f" ×{ratio:.2f}" if ratio == ratio else "")
            for value, ratio in zip(table[name], table[f"{name}_ratio"], strict=True)
        ]
    return shown
