"""Removes or halves the weights of finished runs: checkpoints of thousands of runs would fill a disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from collabpipe.common.files import file_digest, link_or_copy, read_json, save_tensors, sealed, write_json
from collabpipe.plan.paths import RECORD, WEIGHTS, Paths
from collabpipe.plan.recipes import RunName
from collabpipe.plan.record_types import Keep, TrainingRecord
from collabpipe.results.store import Store

WEIGHT_FILES = tuple(WEIGHTS.values())
ORDER: tuple[Keep, ...] = ("none", "half", "all")


def thin(run: RunName, paths: Paths, keep: Keep) -> None:
    """Keep of a finished run's weights those of the last epoch in half precision ("half") or nothing ("none").

    Its record, history, predictions and metrics stay, and so do all times: nothing has to be made again.
    """
    folder = paths.run(run)
    record: TrainingRecord = read_json(folder / RECORD)
    if not record.pop("unfinished", False) and ORDER.index(record.get("kept", "all")) <= ORDER.index(keep):
        return
    store = Store(paths.store)
    with store.writing(record["key"]) as writer:
        kept = writer.folder
        # Until all files are replaced, result.json accepts old and new ones, so this process may die at any moment.
        spare = {name: _thinned(folder / name, kept / f".{name}.part", keep, record["key"]) for name in WEIGHT_FILES}
        times = {name: (folder / name).stat() for name in (*WEIGHT_FILES, RECORD)}
        writer.check()
        store.exchange(record["key"], spare, {"kept": keep})
        for name in WEIGHT_FILES:
            link_or_copy(kept / name, folder / name)
        files = record["files"] | {name: file_digest(folder / name) for name in WEIGHT_FILES}
        write_json(folder / RECORD, sealed({**record, "kept": keep, "files": files}))
        for name, before in times.items():
            os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))


def _thinned(weights: Path, target: Path, keep: Keep, key: str) -> Path:
    from safetensors.torch import load_file

    kept: dict[str, Any] = load_file(weights) if keep == "half" and weights.name == WEIGHTS["last"] else {}
    halved = {name: value.half() if value.is_floating_point() else value for name, value in kept.items()}
    save_tensors(target, halved, {"collabpipe": json.dumps({"kept": keep, "key": key})})
    return target
