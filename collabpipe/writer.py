"""One writer: a folder of the store is written by one process, whichever of the hosts that share it that runs on.

A lock (flock) keeps processes of one host apart, and those of several where the file system passes locks on; the kernel
frees it on any death. Not every shared file system passes them on (NFS with local_lock, Lustre with -o localflock), so
the writer also leaves a claim: a file that names it, made by a link, which is atomic on NFS too, and touched every few
seconds. A claim of this host whose lock is free is a dead process's. One of another host is dead once nobody has
touched it for a minute by this host's own clock; whoever held it finds out before it writes again.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from collabpipe.errors import CollabpipeError

CLAIM = "writer.json"
BEAT_SECONDS = 5.0
SILENT_SECONDS = 60.0
"""More than the time that a busy file server may take to show a touch to another host."""
POLL_SECONDS = 0.2
REMIND_SECONDS = 300.0


def _this_kernel() -> str:
    """What processes have in common between which flock always holds: containers of one host too."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return platform.node()


class Writer:
    """The process that may write `folder`, as long as `check` does not say otherwise."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.claim = folder / CLAIM
        self.token = uuid.uuid4().hex
        self._ended = threading.Event()

    def check(self) -> None:
        """Make sure that nobody has taken over, as after this process was suspended for a minute.

        Raises:
            CollabpipeError: somebody has; nothing more may be written.
        """
        owner = _read(self.claim)
        if owner.get("token") != self.token:
            raise CollabpipeError(
                f"{self.folder}: was taken over by {described(owner)} while this process did not answer. It goes on "
                "there; nothing was lost, and nothing is to be done here."
            )

    def try_claim(self) -> bool:
        """Make the claim; False if there is one already."""
        about = {
            "token": self.token,
            "kernel": _this_kernel(),
            "host": platform.node(),
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        draft = self.folder / f".{CLAIM}.{self.token}.part"
        draft.write_text(json.dumps(about), encoding="utf-8")
        try:
            os.link(draft, self.claim)
        except (FileExistsError, FileNotFoundError):  # the writer tidies away what looks left over, this draft too
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    def remove(self, dead: str | None) -> None:
        """Take a dead writer's claim away, by its token; another's that has come into its place stays."""
        grave = self.folder / f".{CLAIM}.{self.token}.dead"
        with suppress(FileNotFoundError):  # another waiting process was faster
            self.claim.rename(grave)
            if _read(grave).get("token") != dead:
                with suppress(FileExistsError):
                    os.link(grave, self.claim)
            grave.unlink()

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Touch the claim until the work is done, then drop it."""
        heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        heart.start()
        try:
            yield
        finally:
            self._ended.set()
            heart.join()
            if _read(self.claim).get("token") == self.token:
                self.claim.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # a file server that is away for a moment
                if _read(self.claim).get("token") == self.token:
                    os.utime(self.claim)


@contextmanager
def writing(folder: Path) -> Iterator[Writer]:
    """Be the one writer of `folder`; whoever comes second waits, and says for whom.

    Raises:
        CollabpipeError: the folder cannot be written.
    """
    writer, lock = Writer(folder), FileLock(folder / "lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _wait(writer, lock)
    except OSError as error:
        lock.release()
        raise CollabpipeError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        with writer.alive():
            yield writer
    finally:
        lock.release()


def claimed_elsewhere(folder: Path) -> bool:
    """Whether a process of another host says that it writes `folder`, for who holds its lock here."""
    return bool(_read(folder / CLAIM).get("kernel", _this_kernel()) != _this_kernel())


def _wait(writer: Writer, lock: FileLock) -> None:
    """Return with the lock held and the claim made."""
    started = time.monotonic()
    remind = 0.0
    seen: tuple[Any, float] = (None, started)
    while True:
        with suppress(Timeout):
            if not lock.is_locked:
                lock.acquire(blocking=False)
        if lock.is_locked and writer.try_claim():
            return
        other = _read(writer.claim)
        now = time.monotonic()
        if (sign := _sign_of_life(writer.claim)) != seen[0]:
            seen = sign, now
        # Its lock is free: on this host the writer is dead.
        here: bool = other.get("kernel") == _this_kernel()
        if lock.is_locked and seen[0] and (here or now - seen[1] >= SILENT_SECONDS):
            _say(f"takes over from {described(other)}, which is gone", writer)
            writer.remove(other.get("token"))
            continue
        if now - started >= remind:
            _say(f"waiting for {described(other)}, at work on the same", writer)
            remind += REMIND_SECONDS
        time.sleep(POLL_SECONDS)


def _say(text: str, writer: Writer) -> None:
    print(f"{writer.folder}: {text}", file=sys.stderr, flush=True)


def described(owner: dict[str, Any]) -> str:
    """A writer by its claim, for a person."""
    if not owner:
        return "another process"
    job = f" (SLURM job {owner['job']})" if owner.get("job") else ""
    return f"process {owner.get('pid')} on {owner.get('host')}{job} since {owner.get('since')}"


def _sign_of_life(claim: Path) -> tuple[int, int] | None:
    try:
        # Opened, so that NFS asks the server and not its memory of some seconds ago.
        with claim.open("rb") as file:
            about = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns


def _read(claim: Path) -> dict[str, Any]:
    try:
        owner = json.loads(claim.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # gone; or no claim of ours, which says nothing of anybody
        return {}
    return owner if isinstance(owner, dict) else {}
