"""The report: a table a section, and the machine it was measured on, between two marks of a Markdown page."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.rounds import Row

HEAD = "| what | against | value | goal | reached | note |\n| --- | --- | --- | --- | --- | --- |"
PACKAGES = ("torch", "torchvision", "numpy", "pyarrow", "pydantic", "pandas", "snakemake")


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    return "\n".join([HEAD, *map(_line, rows)])


def _line(row: Row) -> str:
    value = "not measured" if row.value is None else f"{_number(row.value)} {row.unit}".strip()
    goal = "–" if row.goal is None else f"{row.goal.sign} {_number(row.goal.bound)}"
    reached = {None: "–", True: "yes", False: "**no**"}[row.reached]
    return f"| {row.what} | {row.against} | {value} | {goal} | {reached} | {row.note} |"


def _number(value: float) -> str:
    """Three decimals for what is small, none for what is large."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 0.01 else f"{value:.2g}"


def machine(device: str) -> str:
    """Processor or GPU, cores, how busy they are, system and versions, as sentences."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not here")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    busy = f" (load {os.getloadavg()[1]:.1f} over five minutes)" if hasattr(os, "getloadavg") else ""
    where = f"{_processor()}, {cpus} cores{busy}, {platform.system()}"
    if device == "cuda":
        import torch

        where = f"{torch.cuda.get_device_name(0)}, driver {driver()}, CUDA {torch.version.cuda}, beside {where}"
    return f"{where}. Python {platform.python_version()}, {', '.join(found)}."


def driver() -> str:
    """The NVIDIA driver's version, as nvidia-smi tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    return done.stdout.partition("\n")[0].strip() or "unknown"


def as_record(device: str, sections: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The same as the page, for programs."""
    rows = {title: [asdict(row) | {"reached": row.reached} for row in found] for title, found in sections.items()}
    return {"machine": machine(device), "sections": rows}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    names = re.findall(r"^model name\s*: (.+)$", text, re.MULTILINE)
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if re.search(rf"\b{flag}\b", text)]
    return (names[0] if names else platform.processor() or platform.machine()) + (
        f" ({', '.join(wide)})" if wide else ""
    )


def write(path: Path, device: str, sections: Mapping[str, Sequence[Row]], conditions: str) -> None:
    """Put the tables into the page at `path`, in the place of the device's earlier ones; the other text stays."""
    begin, end = f"<!-- measured: {device} -->", f"<!-- end: {device} -->"
    parts = [f"{conditions}\n\n{machine(device)}"]
    parts += [f"### {title}\n\n{table(rows)}" for title, rows in sections.items()]
    block = "\n\n".join([begin, *parts, end])
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    before, found, rest = old.partition(begin)
    page = before + block + rest.partition(end)[2] if found else f"{old}\n{block}\n".lstrip()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
