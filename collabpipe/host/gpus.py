"""The GPUs of the host and those that CUDA_VISIBLE_DEVICES leaves, found without torch."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from collabpipe.common.errors import CollabpipeError

MASK = "CUDA_VISIBLE_DEVICES"
SIMULATED = "COLLABPIPE_DEVICES"
"""For tests: the host's devices in place of those that nvidia-smi lists, as in ``0,1,2,3``; empty for none."""

DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
LISTED = re.compile(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)")
KNOWN = re.compile(r"GPU UUID:\s*(GPU-[0-9a-f-]+)\s")


def find_gpus() -> dict[str, list[str]]:
    """The host's GPUs by UUID, in the order of their indices; with each the devices that MIG divides it into.

    Raises:
        CollabpipeError: nvidia-smi does not answer, or is missing where the driver does not know the UUIDs.
    """
    if SIMULATED in os.environ:
        return {name.strip(): [] for name in os.environ[SIMULATED].split(",") if name.strip()}
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=120, check=False)  # noqa: S607
    except FileNotFoundError:
        return {uuid: [] for uuid in known_to_driver(DRIVER_FOLDER)}
    except subprocess.TimeoutExpired as error:
        raise CollabpipeError(
            "nvidia-smi has not answered for two minutes: a GPU of this host hangs. Reset it or use another host; "
            f"to train on the CPU, set {MASK} to nothing."
        ) from error
    return read_listing(done.stdout)


def read_listing(text: str) -> dict[str, list[str]]:
    """The UUIDs that ``nvidia-smi -L`` prints: those of the GPUs, and below each those of its MIG devices."""
    gpus: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not (found := LISTED.search(line)):
            continue
        if line.startswith("GPU "):
            gpus[found[1]] = []
        elif gpus:
            gpus[list(gpus)[-1]].append(found[1])
    return gpus


def known_to_driver(folder: Path) -> list[str]:
    """The GPUs' UUIDs in the order of their PCI addresses, where there is no nvidia-smi, as in some containers.

    Raises:
        CollabpipeError: the driver does not know them, as it may until a GPU is used.
    """
    found = [KNOWN.search(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/information"))]
    if None in found:
        raise CollabpipeError(
            "nvidia-smi is missing, and without it the GPUs cannot be told apart. Install it (in a container: "
            f"NVIDIA_DRIVER_CAPABILITIES=compute,utility), or set {MASK} to nothing to train on the CPU."
        )
    return [match[1] for match in found if match]


def visible_devices(mask: str | None, gpus: Mapping[str, Sequence[str]]) -> list[str]:
    """The devices that CUDA_VISIBLE_DEVICES leaves, by UUID, in its order.

    CUDA's rules: indices, and UUIDs or their beginnings; the first entry that names no device ends the list; a device
    that is named twice leaves none. Indices are nvidia-smi's. A GPU divided by MIG stands for all its devices.
    """
    if mask is None:
        return [device for gpu, parts in gpus.items() for device in parts or [gpu]]
    devices: list[str] = []
    for entry in mask.split(","):
        named = _named(entry.strip(), gpus)
        if not named:
            break
        if not set(named).isdisjoint(devices):
            return []
        devices += named
    return devices


def hides_all(mask: str | None) -> bool:
    """Whether CUDA_VISIBLE_DEVICES names no device on any host: nothing, -1, SLURM's NoDevFiles."""
    return mask is not None and not re.match(r"\s*([0-9]|GPU-|MIG-)", mask)


def given_by_slurm() -> bool:
    """Whether SLURM chose one device for this job; of several in an allocation its processes still have to choose."""
    names = (MASK, "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
    given = next((os.environ[name] for name in names if name in os.environ), "")
    return "SLURM_JOB_ID" in os.environ and re.fullmatch(r"[0-9]+|(GPU|MIG)-[^,]+", given) is not None


def _named(entry: str, gpus: Mapping[str, Sequence[str]]) -> list[str]:
    """The devices that one entry of a mask names."""
    if re.fullmatch("[0-9]{1,4}", entry):
        chosen = list(gpus)[int(entry) :][:1]
    elif entry.startswith(("GPU-", "MIG-")):
        uuids = [uuid for gpu, parts in gpus.items() for uuid in (gpu, *parts)]
        chosen = [uuid for uuid in uuids if uuid.startswith(entry)]
    else:
        chosen = []
    if len(chosen) != 1:
        return []
    return list(gpus.get(chosen[0], ())) or chosen
