"""The overhead command: what a step of each method costs, for programs, for readers, and every round of the timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pandas as pd

from collabpipe.common.files import file_digest, json_digest, sealed, write_json, write_text
from collabpipe.common.whereabouts import whereabouts
from collabpipe.data.prepared import data_record
from collabpipe.jobs.choose import decide
from collabpipe.plan.paths import OVERHEAD_CSV, OVERHEAD_FILES, OVERHEAD_MD, OVERHEAD_RECORD, Paths
from collabpipe.plan.record_types import MeasuredFor, OverheadRecord
from collabpipe.plan.study_recipes import OverheadRecipe
from collabpipe.results.store import Store
from collabpipe.training.device import choose_device
from collabpipe.training.step_cost import Entry, StepCosts, device_name, measure_overhead

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


def measure_study(recipe: OverheadRecipe, paths: Paths, seconds: float, capture: bool) -> None:
    """Write the overhead table of a study's methods, as they were chosen, measured on images of its first data set.

    What was measured before, on a device of this name, is taken from the store.

    Raises:
        CollabpipeError: the data set is not prepared, or a choice is missing.
    """
    record = data_record(recipe.data, paths.dataset(recipe.data.dataset))
    decided = [decide(method, recipe.data.dataset, method.network_name, paths) for method in recipe.methods]
    choices = [of_one for _, of_one in decided]
    key = json_digest({"recipe": recipe.digest, "choices": choices, "device": device_name(choose_device())})
    store = Store(paths.store)
    with store.writing(key) as writer:
        result = store.find(key)
        if result is None:
            entries = [Entry(m.network_name, m.network, m.method, m.composition) for m, _ in decided]
            channels, height, width = record["shape"]
            shape, classes = (channels, height, width), len(record["classes"])
            measured = measure_overhead(entries, shape, classes, recipe.training, seconds=seconds, capture=capture)
            about: MeasuredFor = {"recipe": recipe.digest, "data": recipe.data.dataset, "choices": choices}
            write_overhead(measured, writer.folder, about)
            writer.check()
            result = store.finish(key, OVERHEAD_FILES, {})
        store.place(key, result, paths.overhead)


def write_overhead(measured: StepCosts, folder: Path, about: Mapping[str, Any]) -> None:
    """Write overhead.csv (full precision), overhead.md (for reading) and overhead.json (rounds, conditions, `about`).

    Raises:
        CollabpipeError: the folder cannot be written.
    """
    held = measured.conditions
    write_text(folder / OVERHEAD_CSV, measured.table.to_csv(index=False))
    shown = _for_reading(measured.table).to_markdown(index=False, disable_numparse=True)
    threads = f"{held.threads} thread{'s' * (held.threads > 1)}"
    conditions = (
        f"Measured on {held.device}, {threads}, {held.precision}, batches of {held.batch_size} images of "
        f"{'×'.join(map(str, held.shape))}, {held.classes} classes."
    )
    if measured.not_captured:
        conditions += (
            f" Timed as they are written, not as CUDA graphs, so maybe with the host's time: "
            f"{', '.join(measured.not_captured)}."
        )
    write_text(folder / OVERHEAD_MD, f"{shown}\n\n{conditions}\n\n{NOTE}\n")
    record: OverheadRecord = {
        "rounds": measured.rounds,
        "conditions": asdict(held),
        "about": cast(MeasuredFor, about),
        "files": {name: file_digest(folder / name) for name in (OVERHEAD_CSV, OVERHEAD_MD)},
        "where": whereabouts(held.device),
    }
    if measured.not_captured:
        record["not_captured"] = measured.not_captured
    write_json(folder / OVERHEAD_RECORD, sealed(record))


def _for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each quantity and its ratio in one cell."""
    shown = table[["network", "method"]].copy()
    for name, (heading, factor, decimals) in SHOWN.items():
        shown[heading] = [
            f"{value * factor:.{decimals}f}" + (f" ×{ratio:.2f}" if ratio == ratio else "")
            for value, ratio in zip(table[name], table[f"{name}_ratio"], strict=True)
        ]
    return shown
