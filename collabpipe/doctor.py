"""What this machine offers a study and what stands in its way: findings, each with its mend."""

from __future__ import annotations

import fcntl
import io
import json
import locale
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from collabpipe.errors import CollabpipeError
from collabpipe.provenance import commit
from collabpipe.settings import load_settings
from collabpipe.storage import SITE_CACHE
from collabpipe.training.gpus import MASK, SIMULATED, find_gpus, hides_all, visible_devices
from collabpipe.training.lease import NETWORK, lease_holders

COMMAND_SECONDS = 7.0
ALL_SECONDS = 8.5
"""What has no answer by then is left, as on a network disk that hangs."""

PYTHONS = ((3, 11), (3, 14))
LOCK = Path(__file__).parent.parent / "requirements.lock"
PACKAGES = ("snakemake", "dvc", "numpy", "pyarrow")

DRIVER_FILE = Path("/dev/nvidiactl")
"""Is there where NVIDIA's driver is loaded."""
QUERY = "uuid,name,driver_version,memory.used,memory.total"
BUSY_MIB = 1024.0

LOW_BYTES, LOW_INODES = 10e9, 100_000
NONE_BYTES, NONE_INODES = 1e9, 1_000
FICLONE = 0x40049409

Level = Literal["ok", "warning", "failure"]
COLOURS = {"ok": "green", "warning": "yellow", "failure": "bold red"}


@dataclass(frozen=True)
class Finding:
    """What was found, whether it is well, and what to do if it is not."""

    level: Level
    found: str
    mend: str = ""


def _ok(found: str) -> Finding:
    return Finding("ok", found)


def _warning(found: str, mend: str = "") -> Finding:
    return Finding("warning", found, mend)


def _failure(found: str, mend: str = "") -> Finding:
    return Finding("failure", found, mend)


@dataclass(frozen=True)
class Build:
    """A build of torch that the project has a requirements file for, and what it runs on."""

    cuda: str
    driver: int
    """The oldest driver, as CUDA's minor version compatibility has it."""
    oldest: float
    newest: float
    """Compute capabilities: from the oldest to below the newest."""
    mend: str

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
        mend="pip uninstall --yes torch torchvision && "
        "pip install --no-deps --require-hashes -r requirements.lock -r requirements-cuda.lock",
    ),
    Build(
        cuda="12.6",
        driver=525,
        oldest=5.0,
        newest=10.0,
        mend="pip uninstall --yes -r requirements-cuda.lock && pip install -r requirements-cu126.lock, with "
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


@dataclass(frozen=True)
class Answer:
    """What a command said, both streams together, and its exit status: None if it was stopped for taking too long."""

    status: int | None
    text: str

    @property
    def last_line(self) -> str:
        """What a failure mostly ends with."""
        return self.text.strip().rpartition("\n")[2] or f"exit status {self.status}"


def diagnose(config: Sequence[Path], results: Path) -> Iterator[tuple[str, Finding]]:
    """All findings, each with its topic; in less than ten seconds, whatever hangs."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "python": check_python,
        "locale": check_locale,
        "packages": check_packages,
        "torch": check_torch,
        "gpus": check_gpus,
        "threads": partial(check_threads, config),
        "disk": partial(check_disk, results),
        "results": partial(check_results, results),
        "dvc": check_dvc,
        "slurm": check_slurm,
        "git": check_git,
    }
    findings: dict[str, list[Finding]] = {}

    def find(topic: str, check: Callable[[], list[Finding]]) -> None:
        findings[topic] = _guarded(check)

    end = time.monotonic() + ALL_SECONDS
    threads = {topic: Thread(target=find, args=(topic, check), daemon=True) for topic, check in checks.items()}
    for thread in threads.values():
        thread.start()
    for topic, thread in threads.items():
        thread.join(max(0.0, end - time.monotonic()))
        for finding in findings.get(topic, [_warning(f"no answer in {ALL_SECONDS:g} s: unknown")]):
            yield topic, finding


def _guarded(check: Callable[[], list[Finding]]) -> list[Finding]:
    """A check's findings; what it stumbles over is one as well."""
    try:
        return check()
    except CollabpipeError as error:
        return [_failure(str(error))]
    except Exception as error:
        return [_warning(f"could not be checked: {type(error).__name__}: {error}")]


def show_findings(findings: Iterable[tuple[str, Finding]]) -> None:
    """A line each as they come, mends below them.

    Raises:
        CollabpipeError: there is a failure.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a path need not fit a terminal that is not UTF-8
    console = Console(highlight=False)
    counts: Counter[str] = Counter()
    for topic, finding in findings:
        counts[finding.level] += 1
        line = Text.assemble((f"{finding.level:<8}", COLOURS[finding.level]), f"{topic:<9}{finding.found}")
        console.print(line, soft_wrap=True)
        if finding.mend:
            console.print(Text(f"{'':<17}mend: {finding.mend}"), soft_wrap=True)
    console.print(f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failure']} failures")
    if counts["failure"]:
        raise CollabpipeError("what is marked as a failure keeps a study from being made, or made well, here.")


def check_python(found: tuple[int, int] = sys.version_info[:2]) -> list[Finding]:
    """Python's version."""
    oldest, newest = ("{}.{}".format(*pair) for pair in PYTHONS)
    text = f"{found[0]}.{found[1]} ({sys.executable})"
    if found < PYTHONS[0]:
        return [_failure(f"{text} is older than {oldest}", f"make PYTHON=python{oldest}")]
    if found > PYTHONS[1]:
        mend = f"rm -rf .venv && make PYTHON=python{oldest}"
        return [_warning(f"{text} is newer than {newest}, the newest that the packages are locked for", mend)]
    return [_ok(text)]


def check_locale() -> list[Finding]:
    """Whether text files and the terminal speak UTF-8."""
    found = {
        "file names": sys.getfilesystemencoding(),
        "text": locale.getpreferredencoding(False),
        "output": getattr(sys.stdout, "encoding", None) or "utf-8",
    }
    text = ", ".join(f"{encoding} for {what}" for what, encoding in found.items())
    if all(encoding.lower().replace("-", "") == "utf8" for encoding in found.values()):
        return [_ok("UTF-8")]
    return [_warning(text, "export LC_ALL=C.UTF-8 PYTHONUTF8=1")]


def check_packages() -> list[Finding]:
    """The packages that results depend on, against requirements.lock."""
    return [_against_lock(name) for name in PACKAGES]


def _against_lock(name: str) -> Finding:
    mend = "pip install --no-deps --require-hashes -r requirements.lock"
    try:
        found = version(name)
    except PackageNotFoundError:
        return _failure(f"{name} is not installed", mend)
    text = f"{name} {found}"
    if not LOCK.exists():
        return _ok(f"{text} (there is no {LOCK.name} to compare with)")
    locked = re.findall(rf"^{name}==([^\s;]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if found.split("+")[0] not in locked:  # of 2.13.0+cpu, the build
        return _warning(f"{text}, where {LOCK.name} has {' or '.join(locked)}: other results are possible", mend)
    return _ok(text)


def check_torch() -> list[Finding]:
    """Whether torch is there, in the locked version, and can be imported."""
    pinned = _against_lock("torch")
    if pinned.level == "failure":
        return [pinned]
    build = cuda_of_torch()
    built = f"built for CUDA {build}" if build else "built for the CPU alone"
    findings = [Finding(pinned.level, f"{pinned.found}, {built}", pinned.mend)]
    code = "import torch; print(torch.cuda.is_available())"
    answer = _ask(sys.executable, "-P", "-W", "ignore", "-c", code)
    if answer.status is None:
        mend = "an environment on a local disk starts faster; every training waits for this"
        findings.append(_warning(f"its import took more than {COMMAND_SECONDS:g} s", mend))
    elif answer.status:
        mend = f"{BUILDS[0].mend.removesuffix(' -r requirements-cuda.lock')} (with CUDA: -r requirements-cuda.lock too)"
        findings.append(_failure(f"cannot be imported: {answer.last_line}", mend))
    elif build and answer.last_line != "True" and DRIVER_FILE.exists() and not hides_all(os.environ.get(MASK)):
        findings.append(_failure("finds no GPU, though the driver is loaded", "see gpus below"))
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
            mend = f"have the host looked after; {MASK}= (empty) trains on the CPU"
            return [_failure(f"nvidia-smi has not answered in {COMMAND_SECONDS:g} s: a GPU hangs", mend)]
        if answer.status and "No devices" not in answer.text:
            level: Level = "failure" if DRIVER_FILE.exists() else "warning"
            mend = "load the driver: after its update, by restarting the host"
            return [Finding(level, f"nvidia-smi: {' '.join(answer.text.split())}", mend)]
        cards = read_cards(answer.text)
    gpus = find_gpus()  # after nvidia-smi has answered: it waits for two minutes
    mask = os.environ.get(MASK)
    visible = visible_devices(mask, gpus)
    if not visible:
        why = f"{len(gpus)} here, none of which {MASK}={mask} names" if gpus else "none here"
        return [_ok(f"{why}: trainings use the CPU")]
    shown = [cards[gpu] for gpu, parts in gpus.items() if gpu in cards and not {gpu, *parts}.isdisjoint(visible)]
    return [*_build_for(shown), *_devices(gpus, visible, cards)]


def _ask_for_cards() -> Answer:
    """Ask nvidia-smi for all cards; old drivers do not know of compute_cap."""
    started = time.monotonic()
    answer = _ask("nvidia-smi", f"--query-gpu={QUERY},compute_cap", "--format=csv,noheader,nounits")
    if answer.status and "compute_cap" in answer.text:
        left = COMMAND_SECONDS - (time.monotonic() - started)
        answer = _ask("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", seconds=left)
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
    mend = next((build.mend for build in BUILDS if not build.misfit(cards)), None)
    if mend is None:
        mend = f"a driver of version {BUILDS[0].driver} or newer; or leave out through {MASK} the cards that do not fit"
    cuda, driver = cuda_of_torch(), cards[0].driver
    if cuda is None:
        idle = f"torch is built for the CPU alone, so {len(cards)} GPUs stay idle"
        return [_failure(idle, f"{mend}; or {MASK}= (empty) if that is meant")]
    build = next((build for build in BUILDS if build.cuda == cuda), None)
    if build is None:
        return [_warning(f"torch for CUDA {cuda}, driver {driver}: no requirements file has this build", mend)]
    if wrong := build.misfit(cards):
        return [_failure(wrong, mend)]
    return [_ok(f"driver {driver} suits torch for CUDA {cuda}, which needs {build.driver} or newer")]


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
                yield _ok(f"{name}: leased: {'; '.join(holders[device])}")
            elif card and not parts and card.used > BUSY_MIB:
                mend = f"nvidia-smi says who; leave it out through {MASK}, or wait"
                yield _warning(f"{name}: leased to nobody, but in use, and trainings would share it", mend)
            else:
                yield _ok(f"{name}: free")


def check_threads(config: Sequence[Path]) -> list[Finding]:
    """The cores that this process may use, against what trainings and Snakemake would use."""
    settings = load_settings(config)
    threads = max(settings.training_of(dataset).threads for dataset in settings.datasets)
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    usable = max(1, int(min(cores, quota)))
    text = f"{usable} of {os.cpu_count()} cores usable; training.threads: {threads}"
    if threads > usable:
        findings = [_warning(f"{text}, which is more", "more cores; or fewer threads, and all is trained anew")]
    else:
        findings = [_ok(text)]
    if usable < cores:
        found = f"a cgroup grants {quota:g} cores, but snakemake --cores all would count {cores}"
        findings.append(_warning(found, f"snakemake --cores {usable}"))
    omp = os.environ.get("OMP_NUM_THREADS")
    if omp and not (omp.isdecimal() and 1 <= int(omp) <= usable):
        findings.append(_warning(f"OMP_NUM_THREADS={omp} does not suit {usable} cores", "unset OMP_NUM_THREADS"))
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
        mend = "collabpipe prune lists what nobody asks for" if what == "results" else "set TMPDIR to another disk"
        if free < NONE_BYTES or (counted and inodes < NONE_INODES):
            findings.append(_failure(text, mend))
        elif free < LOW_BYTES or (counted and inodes < LOW_INODES):
            findings.append(_warning(text, f"{mend}; collabpipe plan --estimate says what a study needs"))
        else:
            findings.append(_ok(text))
    return findings


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def check_results(results: Path) -> list[Finding]:
    """Whether files can be written where the results lie, locked and shared between copies."""
    folder = _existing(results)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"collabpipe")
            file.flush()
            shares = _shares_blocks(file.fileno(), folder)
            locks = _locks(Path(file.name))
    except OSError as error:
        mend = f"chown or chmod {folder}, or choose another folder with --results"
        return [_failure(f"{folder} cannot be written: {error.strerror}", mend)]
    kind = file_system(folder)
    where = f"{folder} on {kind or 'an unknown file system'}"
    far = ", shared between hosts: whether another host's locks hold is not tried" if kind in NETWORK else ""
    mend = "put the results on a disk with flock (NFS: version 4, or with its lock service; Lustre: mount with flock)"
    lock = _ok(f"{where}: can be written, locks hold{far}")
    if not locks:
        lock = _failure(f"{where}: can be written, but locks do not hold", mend)
    copies = (
        "copies share their blocks" if shares else "copies share no blocks: what DVC takes lies there twice or more"
    )
    return [lock, _ok(f"reflinks: {copies}")]


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


def file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on; empty where the kernel does not tell."""
    mounts = Path("/proc/self/mountinfo")
    kinds: dict[Path, str] = {}
    if mounts.exists():
        for line in mounts.read_text(encoding="utf-8").splitlines():
            mount, _, source = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount.split()[4])
            kinds[Path(point)] = source.split()[0]
    resolved = folder.resolve()
    return next((kinds[path] for path in (resolved, *resolved.parents) if path in kinds), "")


def check_dvc() -> list[Finding]:
    """How DVC links its cache, and whether it has a remote that answers."""
    code = "from collabpipe.doctor import tell_of_dvc; tell_of_dvc()"
    answer = _ask(sys.executable, "-c", code, DVC_SITE_CACHE_DIR=str(SITE_CACHE.resolve()))
    told: dict[str, Any] = {}
    for line in answer.text.splitlines():
        if line.startswith('{"'):
            told |= json.loads(line)
    if "types" not in told and answer.status is None:
        return [_warning(f"DVC has not answered in {COMMAND_SECONDS:g} s", "try: dvc doctor")]
    if "types" not in told:
        why = told.get("error") or answer.last_line
        return [_warning(f"no project of DVC here: {why}", "run collabpipe in the checkout's folder")]
    return [_links(told["types"]), *_remote(told)]


def tell_of_dvc() -> None:
    """Print what DVC has configured and whether its remote answers, as lines of JSON; in a process of its own."""
    from dvc.repo import Repo

    def tell(**what: object) -> None:
        print(json.dumps(what), flush=True)

    try:
        repo = Repo()
        name = repo.config["core"].get("remote")
        tell(types=repo.config["cache"].get("type") or [], remote=name)
        if name:
            remote = repo.cloud.get_remote(name)
            tell(url=repo.config["remote"][name]["url"], verify=repo.config["remote"][name]["verify"])
            # A bucket has to be there, a folder is made by the first push.
            tell(there=remote.fs.exists(remote.path.split("/")[0] if remote.fs.protocol == "s3" else remote.path))
    except Exception as error:
        tell(error=f"{type(error).__name__}: {error}")


def _links(types: Sequence[str]) -> Finding:
    text = f"cache.type {','.join(types) or 'is not set: reflink,copy'}"
    if linked := [kind for kind in types if kind in ("hardlink", "symlink")]:
        mend = "dvc config --local cache.type reflink,copy && dvc checkout --relink"
        return _failure(f"{text}: with {linked[0]} DVC write-protects results, which cannot be made anew", mend)
    return _ok(text)


def _remote(told: Mapping[str, Any]) -> Iterator[Finding]:
    name = told["remote"]
    if name is None:
        mend = "dvc remote add --default NAME URL (docs/storage.md)"
        yield _warning("no default remote: collabpipe share and restore need one", mend)
        return
    if not told.get("verify", True):
        text = f"remote {name}: verify is off, so a damaged object would be restored"
        yield _warning(text, f"dvc remote modify {name} verify true")
    where = f"remote {name} ({told.get('url', '?')})"
    if "there" in told:
        if told["there"]:
            yield _ok(f"{where} answers")
        elif told["url"].startswith("s3://"):
            yield _failure(f"{where}: there is no such bucket, or not for you", "make it; or see your rights")
        else:
            mend = "mount it; without more, the first collabpipe share makes the folder"
            yield _warning(f"{where}: the folder is not there", mend)
    else:
        why = told.get("error", f"no answer in {COMMAND_SECONDS:g} s")
        mend = "address, network and credentials (docs/storage.md); runs need no remote"
        yield _failure(f"{where} cannot be reached: {why}", mend)


def check_slurm() -> list[Finding]:
    """Whether SLURM's controller answers, which partitions it has, and whether it keeps accounts."""
    if not shutil.which("sbatch") or not shutil.which("scontrol"):
        return [_ok("not installed: jobs run on this machine")]
    answer = _ask("scontrol", "ping")
    if " UP" not in answer.text:
        down = [line for line in answer.text.splitlines() if line.endswith(" DOWN")]
        why = f"no answer in {COMMAND_SECONDS:g} s" if answer.status is None else ", ".join(down) or answer.last_line
        mend = "ask who runs the cluster (slurm.conf, munge, slurmctld); on this machine alone jobs run without it"
        # Without a configuration, nobody means to use it: a machine on its own.
        level: Level = "failure" if down or answer.status is None else "warning"
        return [Finding(level, f"the controller does not answer: {why}", mend)]
    findings = [_ok(answer.text.strip().splitlines()[0])]
    partitions = _ask("sinfo", "--noheader", "--format=%P|%a|%D|%G")
    rows = [line.split("|") for line in partitions.text.splitlines() if line.count("|") == 3]
    if partitions.status != 0 or not rows:
        findings.append(_warning(f"no partitions: {partitions.last_line}", "sinfo should list some"))
    else:
        text = ", ".join(f"{name} ({state}, {nodes} nodes, {gres})" for name, state, nodes, gres in rows)
        findings.append(_ok(f"partitions: {text}"))
        if not any(re.match(r"(.*,)?gpu\b", row[3]) for row in rows):
            mend = "trainings ask for gpu=1: name a partition that has Gres=gpu:N (slurm.conf) in profiles/slurm"
            findings.append(_warning("no partition has GPUs (GRES gpu)", mend))
    settings = _ask("scontrol", "show", "config")
    kept = re.search(r"^AccountingStorageType\s*=\s*(\S+)", settings.text, re.MULTILINE)
    if kept is None or "slurmdbd" not in kept[1]:
        found = f"no accounting ({kept[1] if kept else settings.last_line}), so sacct knows of no job"
        findings.append(_warning(found, "slurm-status-command: squeue (in the profile, or as an option)"))
    else:
        findings.append(_ok("accounting is on"))
    return findings


def check_git() -> list[Finding]:
    """Whether results can be traced to a commit."""
    found = commit()
    if found is None:
        return [_warning("no git checkout: records will name no commit", "clone the repository with git")]
    if found.endswith("+"):
        text = f"{found[:12]}, with changes that no commit has: records will name it with +"
        return [_warning(text, "git commit")]
    return [_ok(found[:12])]


def _ask(*command: str, seconds: float | None = None, **environment: str) -> Answer:
    """Run a command that changes nothing; it and what it started are killed when its time is over."""
    with subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | environment,
        start_new_session=True,
    ) as process:
        try:
            text, _ = process.communicate(timeout=COMMAND_SECONDS if seconds is None else seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Answer(None, process.communicate()[0])
    return Answer(process.returncode, text)
