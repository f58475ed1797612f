"""One writer: a folder of the store is written by one process, whichever of the hosts that share it that runs on.

A lock (flock) keeps processes of one host apart, and those of several where the file system passes locks on; the kernel
frees it on any death. Not every shared file system passes them on (NFS with local_lock, Lustre with -o localflock), so
the writer also leaves a claim: a file that names it, made by a link, which is atomic on NFS too, and touched every few
seconds. A claim of this host whose lock is free is a dead process's. One of another host is a dead one's once it was
looked at for a minute and nobody touched it; whoever held it finds out before it saves or finishes.
"""

from __future__ import annotations

import errno
import fcntl
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

from collabpipe.common.errors import CollabpipeError, unwritable

CLAIM, LOCK = "writer.json", "lock"
DRAFTS = ".*.part"
"""What a process that was killed while it wrote has left. The next writer removes it."""
BEAT_SECONDS = 5.0
SILENT_SECONDS = 60.0
"""More than the time that a busy file server may take to show a touch to another host."""
POLL_SECONDS = 0.2
MOST_POLL_SECONDS = 2.0
REMIND_SECONDS = 300.0
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


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
        # A missing claim is not lost yet: another process may have taken it for a dead writer's and be about to restore
        # it.
        owner = _read(self.claim)
        if not owner and not self.try_claim():
            owner = _read(self.claim)
        if owner and owner.get("token") != self.token:
            raise CollabpipeError(
                f"{self.folder}: was taken over by {described(owner)} while this process did not answer. It continues "
                "there; nothing was lost, and there is nothing to do here."
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
        try:
            draft.write_text(json.dumps(about), encoding="utf-8")
            return self._put(draft)
        finally:
            draft.unlink(missing_ok=True)

    def _put(self, draft: Path) -> bool:
        """Let a file be the claim, if there is none."""
        try:
            os.link(draft, self.claim)
        except (FileExistsError, FileNotFoundError):  # the writer tidies away what looks left over, this draft too
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            try:
                with self.claim.open("x", encoding="utf-8") as file:
                    file.write(draft.read_text(encoding="utf-8"))
            except (FileExistsError, FileNotFoundError):
                return False
        return True

    def remove(self, dead: str | None) -> None:
        """Take a dead writer's claim away, by its token; another's that has come into its place stays."""
        removed = self.folder / f".{CLAIM}.{self.token}.dead.part"
        with suppress(FileNotFoundError):  # another waiting process was faster
            self.claim.rename(removed)
            if _read(removed).get("token") != dead:
                self._put(removed)
            removed.unlink()

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Touch the claim until the work is done."""
        heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        heart.start()
        try:
            yield
        finally:
            self._ended.set()
            heart.join()

    def drop(self) -> None:
        """Leave the folder to others."""
        with suppress(OSError):
            if _read(self.claim).get("token") == self.token:
                self.claim.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # a file server that is away for a moment
                if _read(self.claim).get("token") == self.token:
                    os.utime(self.claim)


@contextmanager
def writing(folder: Path) -> Iterator[Writer]:
    """Lock `folder` for writing. A second process waits, and says for whom.

    Raises:
        CollabpipeError: the folder cannot be written.
    """
    writer, lock = Writer(folder), FileLock(folder / LOCK)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _wait(writer, lock)
        except OSError as error:
            raise unwritable(folder, error) from error
        with writer.alive():
            yield writer
    finally:
        writer.drop()
        lock.release()


def claimed_elsewhere(folder: Path) -> bool:
    """Whether a process of another host says that it writes `folder`, for who holds its lock here."""
    return bool(_read(folder / CLAIM).get("kernel", _this_kernel()) != _this_kernel())


def is_unwritten(folder: Path) -> bool:
    """Whether writers have left nothing in `folder` but locks and drafts, as a job that failed at its start."""
    return folder.is_dir() and all(file.name in (CLAIM, LOCK) or file.match(DRAFTS) for file in folder.iterdir())


def at_work(folder: Path) -> str | None:
    """Who writes `folder` now, for a person; None if nobody does."""
    owner, claim = _read(folder / CLAIM), folder / CLAIM
    if not owner:
        return None
    try:
        if owner.get("kernel") != _this_kernel():
            return described(owner) if time.time() - claim.stat().st_mtime < SILENT_SECONDS else None
        # A shared lock, as who may only read can take it too; closing the file gives it back.
        with (folder / LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return described(owner)
    except FileNotFoundError:  # it has ended meanwhile
        pass
    return None


def _wait(writer: Writer, lock: FileLock) -> None:
    """Return with the lock held and the claim made."""
    pause, slept, waited, remind = POLL_SECONDS, 0.0, 0.0, 0.0
    sign: tuple[int, int] | None = None
    silence = 0.0
    while True:
        with suppress(Timeout):
            if not lock.is_locked:
                lock.acquire(blocking=False)
        before, sign = sign, _sign_of_life(writer.claim)
        if lock.is_locked and sign is None and writer.try_claim():
            return
        other = _read(writer.claim)
        # In looks, not by the clock: that goes on where this process is suspended, or hangs with the file server.
        silence = silence + slept if sign == before else 0.0
        # Its lock is free: on this host the writer is dead.
        here: bool = other.get("kernel") == _this_kernel()
        if lock.is_locked and sign and (here or silence >= SILENT_SECONDS):
            _say(f"takes over from {described(other)}, which is gone", writer)
            writer.remove(other.get("token"))
            continue
        if waited >= remind:
            _say(f"waiting for {described(other)}, at work on the same", writer)
            remind += REMIND_SECONDS
        time.sleep(slept := pause)
        waited += slept
        pause = min(1.2 * pause, max(MOST_POLL_SECONDS, POLL_SECONDS))


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
    """Who claims; nothing where nobody does, or where a power failure left the file empty."""
    try:
        owner = json.loads(claim.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}
