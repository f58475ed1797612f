"""One GPU of the host for this process: a lease by flock, which the kernel frees however the process ends.

Every user's jobs meet in one folder of the host. A device is known there by its UUID, whatever a job's
CUDA_VISIBLE_DEVICES calls it, and has a lock file for each job that it runs at once.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import secrets
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.host.filesystem import NETWORK, file_system
from collabpipe.host.gpus import MASK, find_gpus, given_by_slurm, hides_all, visible_devices

FOLDER = "COLLABPIPE_LEASES"
"""Another folder for the lock files; all jobs of the host have to agree on it."""

# Not tempfile.gettempdir(): TMPDIR is often a user's or a job's own, and jobs that do not meet share devices.
DEFAULT_FOLDER = "/tmp/collabpipe-leases"  # noqa: S108

POLL_SECONDS = 0.5
QUIET_SECONDS = 2.0
REMIND_SECONDS = 300.0

HOLDER = re.compile(r"pid \d+ of [!-~]+ since [\d :-]+, at most (\d+) per GPU")

_outcome: list[str | None] = []
_choosing = threading.Lock()
"""One lease serves all threads of a process."""


def lease_device(jobs_per_gpu: int = 1) -> str | None:
    """Lease a visible GPU until this process and its forks end, and let CUDA_VISIBLE_DEVICES name it alone.

    To be called before torch starts CUDA, which then stays on the device: further calls return the same lease. Waits
    while no visible device admits another job, and says for whom. Of `jobs_per_gpu` on a device the smallest counts,
    so that nobody shares one who did not ask for it; 0 hides all devices.

    Returns:
        The device's UUID; None if nothing was leased, as SLURM gave this job a device of its own or no GPU is visible.

    Raises:
        CollabpipeError: the folder of the leases cannot be used; the GPUs cannot be told apart.
    """
    with _choosing:
        if not _outcome:
            if jobs_per_gpu == 0:
                _say("none is asked for; computing on the CPU")
                os.environ[MASK] = ""
            _outcome.append(None if jobs_per_gpu == 0 or given_by_slurm() else _lease(jobs_per_gpu))
        return _outcome[0]


def lease_holders(gpus: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Who holds a lease of each device: a line for each, with the process, its user and the time.

    Raises:
        CollabpipeError: the folder of the leases cannot be used.
    """
    with _folder() as folder:
        return {device: [h for h in _slots(device, folder) if h] for device in visible_devices(None, gpus)}


def _say(text: str) -> None:
    print(f"gpu: {text}", file=sys.stderr, flush=True)


def _lease(jobs_per_gpu: int) -> str | None:
    mask = os.environ.get(MASK)
    gpus = {} if hides_all(mask) else find_gpus()
    if devices := visible_devices(mask, gpus):
        os.environ[MASK] = _wait(devices, jobs_per_gpu)
        return os.environ[MASK]
    why = "this host has none" if mask is None else f"{MASK}={mask} names none"
    _say(f"{why}; computing on the CPU")
    os.environ[MASK] = ""  # so it is true, also of devices that nobody could lease
    return None


def _wait(devices: Sequence[str], jobs: int) -> str:
    """Lease one of the devices as soon as it is free."""
    started = time.monotonic()
    speak = started + QUIET_SECONDS
    while not isinstance(taken := _take(devices, jobs), str):
        if time.monotonic() >= speak:
            _say("\n  ".join([f"waiting for one of {len(devices)}, after {time.monotonic() - started:.0f} s:", *taken]))
            speak = time.monotonic() + REMIND_SECONDS
        time.sleep(POLL_SECONDS * secrets.SystemRandom().uniform(0.5, 1.5))
    _say(f"leased {taken}")
    return taken


def _take(devices: Sequence[str], jobs: int) -> str | list[str]:
    """Lease the least loaded of the devices that admit another job; else the list of who is in the way."""
    with _folder() as folder, _opened("turn", folder) as turn:
        # Only one process at a time may choose. Otherwise two that start together would pick the same device, and
        # counts would be outdated.
        # No one waits in the kernel for his turn: a stopped process that has it could not be named.
        if not _lock(turn):
            return [f"{_signature(turn)}, who is choosing"]
        _sign(turn, jobs)
        slots = {device: _slots(device, folder) for device in devices}
        load = {device: len(held) - held.count(None) for device, held in slots.items()}
        for device in sorted(devices, key=lambda d: load[d]):
            held = slots[device]
            number = held.index(None) if None in held else len(held)
            if load[device] < min([jobs, *map(_admitted, held)]) and _keep(_slot(device, number), folder, jobs):
                return device
        return [f"{device}: {holder}" for device, held in slots.items() for holder in held if holder]


def _keep(name: str, folder: int, jobs: int) -> bool:
    """Lock a free slot; its descriptor stays open, here and in forks, until the last of them ends."""
    slot = _open(name, folder)
    if not _lock(slot):  # somebody looks just now who holds it
        os.close(slot)
        return False
    _sign(slot, jobs)
    # A locked folder is left alone by systemd-tmpfiles, which otherwise removes old files from /tmp.
    with suppress(BlockingIOError):
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.dup(folder)
    return True


def _slot(device: str, number: int) -> str:
    return f"{re.sub('[^A-Za-z0-9-]', '_', device)}.{number}"


def _slots(device: str, folder: int) -> list[str | None]:
    """Who holds each slot of a device that was ever used; None for a free one."""
    present = set(os.listdir(folder))
    held: list[str | None] = []
    while (name := _slot(device, len(held))) in present:
        with _opened(name, folder) as slot:
            held.append(None if _lock(slot) else _signature(slot))
    return held


def _sign(file: int, jobs: int) -> None:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        user = str(os.getuid())
    text = f"pid {os.getpid()} of {user} since {time.strftime('%Y-%m-%d %H:%M:%S')}, at most {jobs} per GPU\n"
    # In this order: who reads in between finds the new text, and never an empty file.
    os.pwrite(file, text.encode(), 0)
    os.ftruncate(file, len(text.encode()))


def _signature(file: int) -> str:
    """Who signed a lock file; another user's file may hold anything."""
    found = HOLDER.match(os.pread(file, 200, 0).decode(errors="replace"))
    return found[0] if found else "a process that did not sign"


def _admitted(holder: str | None) -> int:
    """How many jobs a holder allows on its device, itself included."""
    if holder is None:
        return sys.maxsize
    found = HOLDER.match(holder)
    return int(found[1]) if found else 1


def _lock(file: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@contextmanager
def _folder() -> Iterator[int]:
    """The folder of all leases, open; what goes wrong within is told as the folder's."""
    path = Path(os.environ.get(FOLDER, DEFAULT_FOLDER))
    try:
        with _for_everyone():
            path.mkdir(0o1777, exist_ok=True)  # as /tmp: everyone makes files, nobody removes another's
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if (kind := file_system(path)) in NETWORK:
                raise CollabpipeError(
                    f"{path} is on a network file system ({kind}), where other hosts' leases would count as this "
                    f"host's. Set {FOLDER} to a folder on a local disk, the same for all jobs of this host."
                )
            yield folder
        finally:
            os.close(folder)
    except OSError as error:
        where = path / str(error.filename) if error.filename else path
        raise CollabpipeError(
            f"{where}: no GPU can be leased ({error.strerror}). All users of this host lease through that folder: it "
            f"needs mode 1777, and plain files of mode 666 in it. Or set {FOLDER} to another one for all of them."
        ) from error


@contextmanager
def _opened(name: str, folder: int) -> Iterator[int]:
    file = _open(name, folder)
    try:
        yield file
    finally:
        os.close(file)


def _open(name: str, folder: int) -> int:
    """Open a lock file, made if need be. Links are refused: another user may have laid one to a file of this user."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        # Without O_CREAT, with which Linux refuses files of other users in such a folder (fs.protected_regular).
        file = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        try:
            with _for_everyone():
                file = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
        except FileExistsError:
            return _open(name, folder)
    about = os.fstat(file)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
        os.close(file)
        raise OSError(0, "it is not a plain file with a single name", name)
    return file


@contextmanager
def _for_everyone() -> Iterator[None]:
    umask = os.umask(0)
    try:
        yield
    finally:
        os.umask(umask)
