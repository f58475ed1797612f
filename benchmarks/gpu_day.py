"""A rented hour: `python -m benchmarks.gpu_day --minutes 60 --out FOLDER` tests, measures and trains what time allows.

It needs neither Snakemake nor DVC. Called again it goes on: what FOLDER and the results hold is not done twice. It
writes FOLDER/page.md, and of each study what the pipeline takes over elsewhere:
`python -m benchmarks.gpu_day --take-over FOLDER --configs config/evidence.yaml`, then `snakemake` as always.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.__main__ import SECTIONS
from benchmarks.by_hand import StudyByHand
from benchmarks.carrying import pack, take_over
from benchmarks.report import machine
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_json, write_json, write_text
from collabpipe.host.gpus import find_gpus
from collabpipe.plan.paths import OVERHEAD_MD
from collabpipe.plan.plan import Plan

CONFIGS = (Path("config/evidence.yaml"), Path("config/fashion_full.yaml"))
PARTS = ("tests", "benchmarks", "overhead", "studies", "prices")
GPU_BENCHMARKS = ("input", "step", "methods", "together")
SIZES = ("32", "96")


class Day:
    """What is done, and when to stop; `found` is kept in a file, so that the next call goes on."""

    def __init__(self, out: Path, minutes: float, device: str):
        self.out, self.device = out, device
        self.end = time.monotonic() + 60 * minutes
        out.mkdir(parents=True, exist_ok=True)
        self.file = out / "day.json"
        self.found: dict[str, Any] = read_json(self.file) if self.file.exists() else {}
        self.missing: dict[str, str] = self.found.setdefault("missing", {})

    def keep(self, name: str, value: Any) -> None:
        """Remember what was found, and write the page again."""
        self.found[name] = value
        self.missing.pop(name, None)
        write_json(self.file, self.found)
        write_text(self.out / "page.md", page(self.found))

    def miss(self, name: str, why: str) -> None:
        """Say on the page that a part has no result yet; the next call tries it again."""
        print(f"{name}: {why}", file=sys.stderr, flush=True)
        self.missing[name] = why
        self.keep("missing", self.missing)

    def is_over(self, name: str) -> bool:
        """Whether the time is up, so that the part of this name is not begun."""
        if over := time.monotonic() > self.end:
            self.miss(name, "the time was up before it began")
        return over

    def succeeds(self, name: str, *command: str | Path) -> bool:
        """Whether Python with `command` ends well before the time is up; if not, the page says why."""
        ended = self.run(name, *command)
        if ended is None:
            self.miss(name, "the time was up")
        elif ended != 0:
            said = (self.out / f"{name}.log").read_text(encoding="utf-8").split("\n")
            self.miss(name, next((line for line in reversed(said) if line.strip()), f"ended with {ended}"))
        else:
            self.missing.pop(name, None)
        return ended == 0

    def run(self, name: str, *command: str | Path) -> int | None:
        """Python with `command` until time is up; how it ended, or None where the time was up."""
        print(f"{name} …", file=sys.stderr, flush=True)
        log = self.out / f"{name}.log"
        left = max(1.0, self.end - time.monotonic())
        with log.open("w", encoding="utf-8") as file:
            try:
                done = subprocess.run(  # noqa: S603
                    [sys.executable, *map(str, command)], stdout=file, stderr=subprocess.STDOUT, timeout=left
                )
            except subprocess.TimeoutExpired:
                return None
        return done.returncode


def test(day: Day) -> None:
    """The tests for a GPU."""
    started = time.monotonic()
    # Most of a test is the host's work: several processes share the GPU where pytest-xdist is installed.
    workers = ["-n", str(min(6, os.cpu_count() or 1))] if importlib.util.find_spec("xdist") else []
    ended = day.run("tests", "-m", "pytest", "-m", "gpu", "tests/gpu", "-q", "-rfEs", *workers)
    if ended is None:
        return day.miss("tests", "the time was up")
    lines = (day.out / "tests.log").read_text(encoding="utf-8").splitlines() or ["no output"]
    day.keep("tests", {"passed": ended == 0, "said": lines[-1], "seconds": time.monotonic() - started})


def benchmark(day: Day) -> None:
    """The benchmarks that a GPU enters, against their goals."""
    target = day.out / "benchmarks.json"
    for section in GPU_BENCHMARKS:
        found = day.found.get("benchmarks", {})
        name = f"benchmarks-{section}"
        if SECTIONS[section] in found or day.is_over(name):
            continue
        options = ["--device", day.device, "--seconds", "3", "--only", section]
        files = ["--out", str(day.out / "benchmarks.md"), "--json", str(target)]
        if not day.succeeds(name, "-m", "benchmarks", *options, *files):
            continue
        rows = read_json(target)["sections"][SECTIONS[section]]
        if any(row["value"] is not None for row in rows):
            day.keep("benchmarks", found | {SECTIONS[section]: rows})
        else:
            day.miss(name, rows[0]["note"])


def overhead(day: Day) -> None:
    """The overhead table at both sizes of images."""
    for precision, size in itertools.product(("float32", "bfloat16"), SIZES):
        name = f"overhead-{precision}-{size}"
        found, table = day.found.get("overhead", []), f"{name}/{OVERHEAD_MD}"
        if table in found or day.is_over(name):
            continue
        options = ["--sizes", size, "--precision", precision, "--out", str(day.out / name)]
        if day.succeeds(name, "-m", "benchmarks.overhead", *options):
            day.keep("overhead", [*found, table])


def study(day: Day, config: Path, work: Path, folders: Mapping[str, Path], at_once: tuple[int, int]) -> None:
    """As much of a study as time allows, packed."""
    plan = Plan.from_files([config], work / config.stem)
    worked = StudyByHand(plan, day.end, folders, *at_once, keep=lambda: pack(plan, day.out, config.stem)).work()
    packed, without = pack(plan, day.out, config.stem)
    day.keep(
        f"study {config.stem}",
        {
            "trained": worked.trained,
            "an hour": worked.an_hour,
            "left": worked.left,
            "failed": worked.failed,
            "files": [path.name for path in packed],
            "without room": without,
        },
    )


def prices(day: Day, configs: Sequence[Path], work: Path, price: float) -> None:
    """Hours and price of each configuration on this device, from rates that are measured now."""
    from collabpipe.jobs.estimate import Estimator

    rows: dict[str, Any] = dict(day.found.get("prices", {}).get("of", {}))
    for config in configs:
        if config.stem in rows:
            continue
        if day.is_over("prices"):
            return
        try:
            estimator = Estimator(Plan.from_files([config], work / config.stem), None)
            found = [estimate for _, _, estimate in estimator.by_dataset()]
        except (CollabpipeError, RuntimeError) as error:
            rows[config.stem] = {"error": str(error)}
        else:
            hours = sum(estimate.seconds for estimate in found) / 3600
            rows[config.stem] = {"runs": sum(e.runs for e in found), "hours": hours, "price": price * hours}
        day.keep("prices", {"an hour": price, "of": rows})


def page(found: Mapping[str, Any]) -> str:
    """What was found, for reading."""
    parts = ["# A day on a GPU", found.get("machine", "")]
    if found.get("missing"):
        lines = [f"- {name}: {why}" for name, why in found["missing"].items()]
        parts += ["## Without a result", "The same command tries these again.", "\n".join(lines)]
    if "tests" in found:
        tests = found["tests"]
        parts.append(f"## Tests\n\n{'Passed' if tests['passed'] else '**Failed**'}: {tests['said']}")
    if "benchmarks" in found:
        rows = [
            row for section in found["benchmarks"].values() for row in section if row["goal"] or row["value"] is None
        ]
        lines = ["| what | against | value | goal | reached | note |", "| --- | --- | --- | --- | --- | --- |"]
        for row in rows:
            value = "not measured" if row["value"] is None else f"{row['value']:,.4g} {row['unit']}"
            goal = f"{row['goal']['sign']} {row['goal']['bound']:,.4g}" if row["goal"] else "–"
            reached = {None: "–", True: "yes", False: "**no**"}[row["reached"]]
            lines.append(f"| {row['what']} | {row['against']} | {value} | {goal} | {reached} | {row['note']} |")
        parts += ["## Benchmarks against their goals", "\n".join(lines)]
    if "overhead" in found:
        parts += ["## Overhead", "\n".join(f"- [{name}]({name})" for name in found["overhead"])]
    for name, about in found.items():
        if name.startswith("study "):
            text = (
                f"{about['trained']} trainings in the last call, {about['an hour']:,.0f} an hour with their "
                f"evaluation; {about['left']} are left. Packed into {', '.join(about['files'])}."
            )
            if about["without room"]:
                text += f" {about['without room']} results found no room there."
            if about["failed"]:
                text += "\n\nFailed:\n\n" + "\n".join(f"- {one}" for one in about["failed"])
            parts += [f"## {name.capitalize()}", text]
    if "prices" in found:
        priced = found["prices"]
        lines = ["| configuration | trainings | hours | price |", "| --- | --- | --- | --- |"]
        for name, row in priced["of"].items():
            cells = (
                f"{row['runs']:,} | {row['hours']:,.1f} | {row['price']:,.0f}"
                if "hours" in row
                else f"– | – | {row['error'].splitlines()[0]}"
            )
            lines.append(f"| {name} | {cells} |")
        about = f"One training after another, from rates measured on this device, at {priced['an hour']:g} an hour."
        parts += ["## Hours and price of each configuration", about, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_day", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="after these nothing more is begun")
    parser.add_argument(
        "--out", type=Path, default=Path("results/gpu_day"), help="a folder for page, tables and results"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("results/gpu_day_work"), help="a folder for results on the way"
    )
    parser.add_argument("--configs", type=Path, nargs="*", default=list(CONFIGS), help="the studies, in this order")
    parser.add_argument("--presets", type=Path, nargs="*", help="configurations to price (default: all in config/)")
    parser.add_argument("--data", action="append", default=[], metavar="SOURCE=FOLDER", help="a data set's own files")
    parser.add_argument("--processes", type=int, default=4, help="processes that share the GPU")
    parser.add_argument("--at-once", type=int, default=6, help="trainings that each process runs at the same time")
    parser.add_argument("--price", type=float, default=3.0, help="of an hour of this machine")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="cpu: to try the command")
    parser.add_argument("--take-over", type=Path, metavar="FOLDER", help="put what is packed there into --results")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where --take-over puts it")
    return parser.parse_args()


def main() -> None:
    """Work until the time is up, or take over."""
    asked = arguments()
    folders = {name: Path(folder) for name, _, folder in (pair.partition("=") for pair in asked.data)}
    try:
        if asked.take_over:
            for config in asked.configs:
                plan = Plan.from_files([config], asked.results)
                state = take_over(plan, asked.take_over, config.stem, folders)
                trained = f"{len(state.trained)} of {len(plan.trainings)} trainings"
                print(f"{config}: {trained}, {len(state.evaluated)} of {len(plan.runs)} evaluations")
            return
        if asked.device == "cuda" and not find_gpus():
            sys.exit("gpu_day: there is no GPU here. --device cpu tries the command.")
        day = Day(asked.out, asked.minutes, asked.device)
        day.keep("machine", machine(asked.device))
        if "tests" in asked.only and "tests" not in day.found:
            test(day)
        for part, work in (("benchmarks", benchmark), ("overhead", overhead)):
            if part in asked.only:
                work(day)
        if "prices" in asked.only:
            every = sorted(f for f in Path("config").glob("*.yaml") if not f.stem.endswith("claims"))
            prices(day, asked.presets if asked.presets is not None else every, asked.work, asked.price)
        if "studies" in asked.only:
            for config in asked.configs:
                if not day.is_over(f"study {config.stem}"):
                    study(day, config, asked.work, folders, (asked.processes, asked.at_once))
    except CollabpipeError as error:
        sys.exit(f"gpu_day: {error}")
    print((asked.out / "page.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
