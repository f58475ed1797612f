"""Measures what docs/performance.md states: `python -m benchmarks --device cpu|cuda`, or `make bench`.

Each section is a module with `measure(context) -> list[Row]`. One whose libraries are not here says so in its row.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
import traceback
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.report import as_record, table, write
from benchmarks.rounds import Context, Row
from collabpipe.common.files import read_json, write_json

SECTIONS = {
    "input": "Input pipeline",
    "step": "Training step",
    "methods": "What a method's step costs",
    "together": "Small trainings at once",
    "planning": "Planning",
    "tables": "Tables and claims",
    "status": "Status",
    "opening": "Opening a large set",
    "demo": "The default study",
}
"""Modules in order, with their headings."""


def measure(name: str, context: Context) -> list[Row]:
    """The rows of a section."""
    try:
        rows: list[Row] = importlib.import_module(f"benchmarks.{name}").measure(context)
    except ModuleNotFoundError as error:
        missing = (error.name or "a library").partition(".")[0]
        if missing in ("benchmarks", "collabpipe"):
            raise
        rows = [Row(SECTIONS[name], "", None, note=f"not measured: {missing} is not here")]
    except RuntimeError as error:  # of the device: what the other sections find is kept
        traceback.print_exc()
        rows = [Row(SECTIONS[name], "", None, note=f"not measured: {str(error).splitlines()[0]}")]
    return rows


ASKED = ("device", "seconds", "batch_size", "width")
"""What two calls must have in common to share a file."""


def earlier(asked: argparse.Namespace) -> tuple[dict[str, list[Row]], float]:
    """The sections that the file for programs holds already, measured as `asked`, and the minutes that they took."""
    found = read_json(asked.json) if asked.json and asked.json.exists() else {}
    if any(found.get(name) != getattr(asked, name) for name in ASKED):
        return {}, 0.0
    return TypeAdapter(dict[str, list[Row]]).validate_python(found["sections"]), found["minutes"]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=20.0, help="for the rounds of each comparison, five at least")
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    parser.add_argument("--json", type=Path, help="a file for the same rows, for programs")
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), default=tuple(SECTIONS), metavar="SECTION")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=int, default=64, help="channels of the networks' first stage")
    asked = parser.parse_args()
    if asked.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            sys.exit("--device cuda: torch sees no GPU here. Use --device cpu.")
    sections, minutes = earlier(asked)
    for name in asked.only:
        print(f"{SECTIONS[name]} …", file=sys.stderr, flush=True)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            context = Context(asked.device, asked.seconds, Path(folder), asked.batch_size, asked.width)
            sections[SECTIONS[name]] = measure(name, context)
        minutes += (time.perf_counter() - started) / 60
        print(table(sections[SECTIONS[name]]), file=sys.stderr, flush=True)
        if asked.json:  # after each: a machine that is taken back leaves what it measured
            about = {name: getattr(asked, name) for name in ASKED} | {"minutes": minutes}
            write_json(asked.json, about | as_record(asked.device, sections))
    command = f"python -m benchmarks --device {asked.device} --seconds {asked.seconds:g}"
    sized = f"batches of {asked.batch_size}, networks of width {asked.width}"
    conditions = f"Measured by `{command}` in {minutes:.1f} minutes: {sized}; medians of rounds taken in turns."
    write(asked.out, asked.device, sections, conditions)


if __name__ == "__main__":
    main()
