"""What a study may use beyond the machine: DVC with its remote, and SLURM."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collabpipe.cli.doctor import asking
from collabpipe.cli.doctor.asking import ask
from collabpipe.cli.doctor.findings import Finding, Level, failure, ok, warning


def check_dvc() -> list[Finding]:
    """How DVC links its cache, and whether it has a remote that answers."""
    from collabpipe.audit.dvc import SITE_CACHE

    code = "from collabpipe.cli.doctor.services import tell_of_dvc; tell_of_dvc()"
    answer = ask(sys.executable, "-c", code, DVC_SITE_CACHE_DIR=str(SITE_CACHE.resolve()))
    told: dict[str, Any] = {}
    for line in answer.text.splitlines():
        if line.startswith('{"'):
            told |= json.loads(line)
    if "types" not in told and answer.status is None:
        return [warning(f"DVC has not answered in {asking.COMMAND_SECONDS:g} s", "try: dvc doctor")]
    if "types" not in told:
        why = told.get("error") or answer.last_line
        return [warning(f"no project of DVC here: {why}", "run collabpipe in the checkout's folder")]
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
        fix = "dvc config --local cache.type reflink,copy && dvc checkout --relink"
        return failure(f"{text}: with {linked[0]} DVC write-protects results, so they cannot be made again", fix)
    return ok(text)


def _remote(told: Mapping[str, Any]) -> Iterator[Finding]:
    name = told["remote"]
    if name is None:
        fix = "dvc remote add --default NAME URL (docs/storage.md)"
        yield warning("no default remote: collabpipe share and restore need one", fix)
        return
    if not told.get("verify", True):
        text = f"remote {name}: verify is off, so a damaged object would be restored"
        yield warning(text, f"dvc remote modify {name} verify true")
    where = f"remote {name} ({told.get('url', '?')})"
    if "there" in told:
        if told["there"]:
            yield ok(f"{where} answers")
        elif told["url"].startswith("s3://"):
            yield failure(f"{where}: there is no such bucket, or you may not use it", "create it, or check your rights")
        else:
            fix = "mount it; if it is an ordinary folder, the first collabpipe share makes it"
            yield warning(f"{where}: the folder is not there", fix)
    else:
        why = told.get("error", f"no answer in {asking.COMMAND_SECONDS:g} s")
        fix = "address, network and credentials (docs/storage.md); runs need no remote"
        yield failure(f"{where} cannot be reached: {why}", fix)


def check_slurm() -> list[Finding]:
    """Whether SLURM's controller answers, which partitions it has, and whether it keeps accounts."""
    if not shutil.which("sbatch") or not shutil.which("scontrol"):
        return [ok("not installed: jobs run on this machine")]
    answer = ask("scontrol", "ping")
    if " UP" not in answer.text:
        down = [line for line in answer.text.splitlines() if line.endswith(" DOWN")]
        why = (
            f"no answer in {asking.COMMAND_SECONDS:g} s"
            if answer.status is None
            else ", ".join(down) or answer.last_line
        )
        fix = "ask who runs the cluster (slurm.conf, munge, slurmctld); on this machine alone jobs run without it"
        # Without a configuration, nobody means to use it: a machine on its own.
        level: Level = "failure" if down or answer.status is None else "warning"
        return [Finding(level, f"the controller does not answer: {why}", fix)]
    findings = [ok(answer.text.strip().splitlines()[0])]
    partitions = ask("sinfo", "--noheader", "--format=%P|%a|%D|%G")
    rows = [line.split("|") for line in partitions.text.splitlines() if line.count("|") == 3]
    if partitions.status != 0 or not rows:
        findings.append(warning(f"no partitions: {partitions.last_line}", "sinfo should list some"))
    else:
        text = ", ".join(f"{name} ({state}, {nodes} nodes, {gres})" for name, state, nodes, gres in rows)
        findings.append(ok(f"partitions: {text}"))
        if not any(re.match(r"(.*,)?gpu\b", row[3]) for row in rows):
            fix = "trainings ask for gpu=1: name a partition that has Gres=gpu:N (slurm.conf) in profiles/slurm"
            findings.append(warning("no partition has GPUs (GRES gpu)", fix))
    settings = ask("scontrol", "show", "config")
    kept = re.search(r"^AccountingStorageType\s*=\s*(\S+)", settings.text, re.MULTILINE)
    if kept is None or "slurmdbd" not in kept[1]:
        found = f"no accounting ({kept[1] if kept else settings.last_line}), so sacct knows of no job"
        findings.append(warning(found, "slurm-status-command: squeue (in the profile, or as an option)"))
    else:
        findings.append(ok("accounting is on"))
    return findings
