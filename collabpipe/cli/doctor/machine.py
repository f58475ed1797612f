"""The machine itself: Python and its packages, cores, disks, and the checkout."""

from __future__ import annotations

import fcntl
import locale
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from collabpipe.cli.doctor.findings import Finding, failure, ok, warning
from collabpipe.common.counts import counted
from collabpipe.common.whereabouts import commit
from collabpipe.host.filesystem import NETWORK, file_system
from collabpipe.host.results_lock import linked
from collabpipe.settings.study import load_settings

PYTHONS = ((3, 11), (3, 14))
LOCK = Path(__file__).parents[3] / "requirements.lock"
PACKAGES = ("snakemake", "dvc", "numpy", "pyarrow")

LOW_BYTES, LOW_INODES = 10e9, 100_000
NONE_BYTES, NONE_INODES = 1e9, 1_000
FICLONE = 0x40049409


def check_python(found: tuple[int, int] = sys.version_info[:2]) -> list[Finding]:
    """Python's version."""
    oldest, newest = ("{}.{}".format(*pair) for pair in PYTHONS)
    text = f"{found[0]}.{found[1]} ({sys.executable})"
    if found < PYTHONS[0]:
        return [failure(f"{text} is older than {oldest}", f"make PYTHON=python{oldest}")]
    if found > PYTHONS[1]:
        fix = f"rm -rf .venv && make PYTHON=python{oldest}"
        return [warning(f"{text} is newer than {newest}, the newest that the packages are locked for", fix)]
    return [ok(text)]


def check_locale() -> list[Finding]:
    """Whether text files and the terminal speak UTF-8."""
    found = {
        "file names": sys.getfilesystemencoding(),
        "text": locale.getpreferredencoding(False),
        "output": getattr(sys.stdout, "encoding", None) or "utf-8",
    }
    text = ", ".join(f"{encoding} for {what}" for what, encoding in found.items())
    if all(encoding.lower().replace("-", "") == "utf8" for encoding in found.values()):
        return [ok("UTF-8")]
    return [warning(text, "export LC_ALL=C.UTF-8 PYTHONUTF8=1")]


def check_packages() -> list[Finding]:
    """The packages that results depend on, against requirements.lock."""
    return [against_lock(name) for name in PACKAGES]


def against_lock(name: str) -> Finding:
    """A package's installed version, against those that requirements.lock pins."""
    fix = "pip install --no-deps --require-hashes -r requirements.lock"
    try:
        found = version(name)
    except PackageNotFoundError:
        return failure(f"{name} is not installed", fix)
    text = f"{name} {found}"
    if not LOCK.exists():
        return ok(f"{text} (there is no {LOCK.name} to compare with)")
    locked = re.findall(rf"^{name}==([^\s;]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if found.split("+")[0] not in locked:  # of 2.13.0+cpu, the build
        return warning(f"{text}, where {LOCK.name} has {' or '.join(locked)}: other results are possible", fix)
    return ok(text)


def check_threads(config: Sequence[Path]) -> list[Finding]:
    """The cores that this process may use, against what trainings and Snakemake would use."""
    settings = load_settings(config)
    threads = max(settings.training_of(dataset).threads for dataset in settings.datasets)
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    usable = max(1, int(min(cores, quota)))
    text = f"{usable} of {counted(os.cpu_count() or 1, 'core', 'cores')} usable; training.threads: {threads}"
    if threads > usable:
        findings = [
            warning(f"{text}, which is more", "use more cores, or set fewer threads (everything is then trained again)")
        ]
    else:
        findings = [ok(text)]
    if usable < cores:
        found = f"a cgroup grants {quota:g} cores, but snakemake --cores all would count {cores}"
        findings.append(warning(found, f"snakemake --cores {usable}"))
    omp = os.environ.get("OMP_NUM_THREADS")
    if omp and not (omp.isdecimal() and 1 <= int(omp) <= usable):
        found = f"OMP_NUM_THREADS={omp} does not suit {counted(usable, 'core', 'cores')}"
        findings.append(warning(found, "unset OMP_NUM_THREADS"))
    return findings


def cpu_quota(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """How many cores' time the process's control groups grant it (either version of cgroups); infinite without any."""
    quotas = [float("inf")]
    if membership.exists():
        for line in membership.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            own = Path(path.lstrip("/"))
            for folder in (own, *own.parents):
                quotas += _quota_in(root / "cpu" / folder if controllers else root / folder)
    return min(quotas)


def _quota_in(folder: Path) -> list[float]:
    new, old = folder / "cpu.max", folder / "cpu.cfs_quota_us"
    if new.exists():
        quota, period = new.read_text(encoding="utf-8").split()
    elif old.exists():
        quota = old.read_text(encoding="utf-8").strip()
        period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
    else:
        return []
    return [] if quota in ("max", "-1") else [int(quota) / int(period)]


def check_disk(results: Path) -> list[Finding]:
    """Free bytes and inodes of the results folder and of the temporary one."""
    findings = []
    for what, folder in (("results", _existing(results)), ("temporary files", Path(tempfile.gettempdir()))):
        about = os.statvfs(folder)
        free, inodes = about.f_bavail * about.f_frsize, about.f_favail
        counted = about.f_files > 0  # Btrfs counts none
        text = f"{what}, in {folder.resolve()}: {free / 1e9:,.1f} GB free" + (f", {inodes:,} inodes" if counted else "")
        fix = "collabpipe prune lists what no study needs" if what == "results" else "set TMPDIR to another disk"
        if free < NONE_BYTES or (counted and inodes < NONE_INODES):
            findings.append(failure(text, fix))
        elif free < LOW_BYTES or (counted and inodes < LOW_INODES):
            findings.append(warning(text, f"{fix}; collabpipe plan --estimate says what a study needs"))
        else:
            findings.append(ok(text))
    return findings


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def check_results(results: Path) -> list[Finding]:
    """Whether files can be written where the results lie, locked and shared between copies."""
    if results.is_symlink() and not results.exists():
        fix = f"mount its disk, or: mkdir -p {shlex.quote(str(results.resolve()))}"
        return [failure(f"{results} is a symbolic link to {results.resolve()}, which is not there", fix)]
    link = linked(results)
    return [*([warning(*link)] if link else []), *_can_be_used(_existing(results))]


def _can_be_used(folder: Path) -> list[Finding]:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"collabpipe")
            file.flush()
            shares = _shares_blocks(file.fileno(), folder)
            locks = _locks(Path(file.name))
    except OSError as error:
        fix = f"chown or chmod {folder}, or choose another folder with --results"
        return [failure(f"{folder} cannot be written: {error.strerror}", fix)]
    kind = file_system(folder)
    where = f"{folder} on {kind or 'an unknown file system'}"
    far = ", shared between hosts: locks between hosts were not tested" if kind in NETWORK else ""
    fix = "put the results on a disk with flock (NFS: version 4, or with its lock service; Lustre: mount with flock)"
    lock = ok(f"{where}: can be written, locks hold{far}")
    if not locks:
        lock = failure(f"{where}: can be written, but locks do not hold", fix)
    copies = (
        "copies share their blocks"
        if shares
        else "copies share no blocks: what DVC keeps takes its space twice or more"
    )
    return [lock, ok(f"reflinks: {copies}")]


def _locks(path: Path) -> bool:
    """Whether a lock keeps out another."""
    with path.open("rb") as first, path.open("rb") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _shares_blocks(source: int, folder: Path) -> bool:
    with tempfile.TemporaryFile(dir=folder) as target:
        try:
            fcntl.ioctl(target, FICLONE, source)
        except OSError:
            return False
        return True


def check_git() -> list[Finding]:
    """Whether results can be traced to a commit."""
    found = commit()
    if found.name is None:
        return [warning(f"{found.reason}: records will name no commit", found.remedy)]
    if found.name.endswith("+"):
        text = f"{found.name[:12]}, with changes that no commit has: records will name it with +"
        return [warning(text, "git commit")]
    return [ok(found.name[:12])]
