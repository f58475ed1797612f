"""GPUs, and whether torch's build suits them and their driver."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from collabpipe.cli.doctor import asking
from collabpipe.cli.doctor.asking import Answer, ask
from collabpipe.cli.doctor.findings import Finding, Level, failure, ok, warning
from collabpipe.cli.doctor.machine import against_lock
from collabpipe.common.counts import counted
from collabpipe.host.gpu_lease import lease_holders
from collabpipe.host.gpus import MASK, SIMULATED, find_gpus, hides_all, visible_devices

DRIVER_FILE = Path("/dev/nvidiactl")
"""Is there where NVIDIA's driver is loaded."""
QUERY = "uuid,name,driver_version,memory.used,memory.total"
BUSY_MIB = 1024.0


@dataclass(frozen=True)
class Build:
    """A build of torch that the project has a requirements file for, and what it runs on."""

    cuda: str
    driver: int
    """The oldest driver, as CUDA's minor version compatibility has it."""
    oldest: float
    newest: float
    """Compute capabilities: from the oldest to below the newest."""
    fix: str

    def misfit(self, cards: Iterable[Card]) -> str:
        """Why it cannot run on all of these cards; empty if it can."""
        for card in cards:
            if int(card.driver.split(".")[0]) < self.driver:
                return f"the driver, {card.driver}, is older than {self.driver}, which CUDA {self.cuda} needs"
            if card.capability is not None and not self.oldest <= card.capability < self.newest:
                return f"torch for CUDA {self.cuda} has no code for {card.name} (compute capability {card.capability})"
        return ""


BUILDS = (
    Build(
        cuda="13.0",
        driver=580,
        oldest=7.5,
        newest=13.0,
        fix="pip uninstall --yes torch torchvision && "
        "pip install --no-deps --require-hashes -r requirements.lock -r requirements-cuda.lock",
    ),
    Build(
        cuda="12.6",
        driver=525,
        oldest=5.0,
        newest=10.0,
        fix="pip uninstall --yes -r requirements-cuda.lock && pip install -r requirements-cu126.lock, with "
        "PIP_EXTRA_INDEX_URL set as its first lines say",
    ),
)


@dataclass(frozen=True)
class Card:
    """A GPU as nvidia-smi tells of it."""

    name: str
    driver: str
    used: float
    """Of its memory (MiB)."""
    total: float
    capability: float | None
    """Compute capability; drivers that are too old for any build do not tell it."""


def check_torch() -> list[Finding]:
    """Whether torch is there, in the locked version, and can be imported."""
    pinned = against_lock("torch")
    if pinned.level == "failure":
        return [pinned]
    build = cuda_of_torch()
    built = f"built for CUDA {build}" if build else "built for the CPU alone"
    findings = [Finding(pinned.level, f"{pinned.found}, {built}", pinned.fix)]
    code = "import torch; print(torch.cuda.is_available())"
    answer = ask(sys.executable, "-P", "-W", "ignore", "-c", code)
    if answer.status is None:
        fix = "an environment on a local disk starts faster; every training waits for this"
        findings.append(warning(f"its import took more than {asking.COMMAND_SECONDS:g} s", fix))
    elif answer.status:
        fix = f"{BUILDS[0].fix.removesuffix(' -r requirements-cuda.lock')} (with CUDA: -r requirements-cuda.lock too)"
        findings.append(failure(f"cannot be imported: {answer.last_line}", fix))
    elif build and answer.last_line != "True" and DRIVER_FILE.exists() and not hides_all(os.environ.get(MASK)):
        findings.append(failure("finds no GPU, though the driver is loaded", "see gpus below"))
    return findings


def cuda_of_torch() -> str | None:
    """The version of CUDA that the installed torch is built for, without importing it; None for a CPU build."""
    text = Path(str(distribution("torch").locate_file("torch/version.py"))).read_text(encoding="utf-8")
    found = re.search(r"^cuda\b[^=]*= *'([\d.]+)'", text, re.MULTILINE)
    return found[1] if found else None


def check_gpus() -> list[Finding]:
    """The GPUs, who holds them, and whether torch's build suits them and their driver."""
    cards: dict[str, Card] = {}
    if SIMULATED not in os.environ and shutil.which("nvidia-smi"):
        answer = _ask_for_cards()
        if answer.status is None:
            fix = f"ask the host's administrator; {MASK}= (empty) trains on the CPU"
            return [failure(f"nvidia-smi has not answered in {asking.COMMAND_SECONDS:g} s: a GPU hangs", fix)]
        if answer.status and "No devices" not in answer.text:
            level: Level = "failure" if DRIVER_FILE.exists() else "warning"
            fix = "load the driver: after its update, by restarting the host"
            return [Finding(level, f"nvidia-smi: {' '.join(answer.text.split())}", fix)]
        cards = read_cards(answer.text)
    gpus = find_gpus()  # after nvidia-smi has answered: it waits for two minutes
    mask = os.environ.get(MASK)
    visible = visible_devices(mask, gpus)
    if not visible:
        why = f"{len(gpus)} here, none of which {MASK}={mask} names" if gpus else "none here"
        return [ok(f"{why}: trainings use the CPU")]
    shown = [cards[gpu] for gpu, parts in gpus.items() if gpu in cards and not {gpu, *parts}.isdisjoint(visible)]
    return [*_build_for(shown), *_devices(gpus, visible, cards)]


def _ask_for_cards() -> Answer:
    """Ask nvidia-smi for all cards; old drivers do not know of compute_cap."""
    started = time.monotonic()
    answer = ask("nvidia-smi", f"--query-gpu={QUERY},compute_cap", "--format=csv,noheader,nounits")
    if answer.status and "compute_cap" in answer.text:
        left = asking.COMMAND_SECONDS - (time.monotonic() - started)
        answer = ask("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", seconds=left)
    return answer


def read_cards(text: str) -> dict[str, Card]:
    """The cards by UUID, from what nvidia-smi prints for `QUERY` and compute_cap."""

    def number(cell: str) -> float | None:
        return float(cell) if re.fullmatch(r"\d+(\.\d+)?", cell) else None  # [N/A] where MIG divides a card

    cards = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) >= 5 and cells[0].startswith("GPU-"):
            uuid, name, driver, used, total = cells[:5]
            capability = number(cells[5]) if len(cells) > 5 else None
            cards[uuid] = Card(name, driver, number(used) or 0.0, number(total) or 0.0, capability)
    return cards


def _build_for(cards: Sequence[Card]) -> list[Finding]:
    """Whether torch's build suits the visible cards."""
    if not cards:
        return []
    fix = next((build.fix for build in BUILDS if not build.misfit(cards)), None)
    if fix is None:
        fix = f"a driver of version {BUILDS[0].driver} or newer; or leave out through {MASK} the cards that do not fit"
    cuda, driver = cuda_of_torch(), cards[0].driver
    if cuda is None:
        idle = f"torch is built for the CPU alone, so {counted(len(cards), 'GPU stays', 'GPUs stay')} idle"
        return [failure(idle, f"{fix}; or {MASK}= (empty) if that is meant")]
    build = next((build for build in BUILDS if build.cuda == cuda), None)
    if build is None:
        return [warning(f"torch for CUDA {cuda}, driver {driver}: no requirements file has this build", fix)]
    if wrong := build.misfit(cards):
        return [failure(wrong, fix)]
    return [ok(f"driver {driver} suits torch for CUDA {cuda}, which needs {build.driver} or newer")]


def _devices(gpus: Mapping[str, Sequence[str]], visible: Sequence[str], cards: Mapping[str, Card]) -> Iterator[Finding]:
    """A line each device: its name and who holds it."""
    holders = lease_holders(gpus)
    for gpu, parts in gpus.items():
        card = cards.get(gpu)
        for device in parts or [gpu]:
            name = (
                f"{device} {card.name}, {card.used / 1024:.0f} of {card.total / 1024:.0f} GiB used" if card else device
            )
            name += "" if device in visible else f" (hidden by {MASK})"
            if holders[device]:
                yield ok(f"{name}: leased: {'; '.join(holders[device])}")
            elif card and not parts and card.used > BUSY_MIB:
                fix = f"nvidia-smi says who; leave it out through {MASK}, or wait"
                yield warning(f"{name}: leased to nobody, but in use, and trainings would share it", fix)
            else:
                yield ok(f"{name}: free")
