"""The studies whose results lie in a folder: each is recorded when it is planned. A study is known by its name.

A record holds the configuration as it was merged, so that what a study asks for is known wherever its files lie, what
`--config` put into their place, and after the files are gone.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import file_digest, record_of, write_text
from collabpipe.common.validation import Place
from collabpipe.plan.paths import RECORD, Paths
from collabpipe.plan.plan import Plan
from collabpipe.plan.record_types import PlannedStudy
from collabpipe.settings.study import check_settings

CONFIGS = Path("config")
DEFAULT = CONFIGS / "config.yaml"


@dataclass(frozen=True)
class Study:
    """A study, and how to name it for a person."""

    plan: Plan
    label: str
    options: tuple[str, ...] = ()
    """The arguments of `snakemake --cores all` that name it."""
    note: str = ""
    """What the command needs beforehand, in words."""

    @property
    def name(self) -> str:
        """The study's own name."""
        return self.plan.settings.study

    def command(self, *targets: str) -> str:
        """The command that makes what is missing or out of date: all of it, or that of `targets`."""
        return shlex.join(["snakemake", "--cores", "all", *self.options, *(("--", *targets) if targets else ())])

    def remedy(self, *targets: str) -> str:
        """The command for a message, with what it needs beforehand."""
        return f"{self.command(*targets)} ({self.note})" if self.note else self.command(*targets)

    @classmethod
    def of_files(cls, plan: Plan) -> Study:
        """A study by its files as they are now."""
        return cls(plan, ", ".join(map(str, plan.files)), _options(plan.files))


@dataclass(frozen=True)
class Recorded:
    """A study as it was planned here last."""

    path: Path
    about: PlannedStudy
    results: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of its configuration, as they are named from here."""
        return tuple(_from_here(self.results.resolve().parent / file) for file in self.about["files"])

    @property
    def is_gone(self) -> bool:
        """Whether a file of its configuration is missing, or another workflow gave it."""
        return not self.files or not all(file.is_file() for file in self.files)

    @cached_property
    def study(self) -> Study:
        """By its files as they are now, if they still describe it; else as it is recorded.

        Raises:
            CollabpipeError: its configuration is not valid, or not any more.
        """
        if not self.is_gone and self.about["files"] != _files(self.files, self.results):
            now = Study.of_files(Plan.from_files(self.files, self.results))
            if now.name == self.about["study"]:
                return now
        try:
            places: dict[Place, str] = {(): f"{self.path}: config"}
            settings = check_settings(self.about["config"], places)
        except CollabpipeError as error:
            raise CollabpipeError(
                f"{error}\nThis study was planned here. To give it up, remove {self.path}."
            ) from error
        plan = Plan(settings, self.results, places, self.files, self.about["config"])
        if not self.files:
            return Study(plan, str(self.path))
        files, options = ", ".join(map(str, self.files)), _options(self.files)
        again = f"with its configuration in {files} again"
        if self.is_gone:
            return Study(plan, f"{self.path}, as its files ({files}) are gone", options, again)
        of_files = Study.of_files(Plan.from_files(self.files, self.results))
        if of_files.name != self.about["study"]:
            return Study(plan, f"{self.path}, as {files} is study {of_files.name} now", options, again)
        # Equal configurations need no digests of thousands of recipes to be known as one study.
        if _with_paths(of_files.plan) == self.about["config"] or of_files.plan.study.digest == plan.study.digest:
            return of_files
        with_config = "with --config and the values that it was started with"
        return Study(plan, f"{self.path}, which is {of_files.label} with other values", options, with_config)


def _options(files: tuple[Path, ...]) -> tuple[str, ...]:
    """The arguments of Snakemake that name the study in these files."""
    return () if files == (DEFAULT,) else ("--configfile", *map(str, files))


def _plain(value: Any) -> Any:
    """A value of YAML as one of JSON; the key `on`, which YAML reads as true, is a word again."""
    if isinstance(value, Mapping):
        return {"on" if key is True else str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _with_paths(plan: Plan) -> dict[str, Any]:
    """The configuration, with its paths as they are named from the working folder and not from its files."""
    config: dict[str, Any] = _plain(plan.config)
    if plan.settings.claims:
        config["claims"] = plan.settings.claims
    if plan.settings.plugins:
        config["plugins"] = list(plan.settings.plugins)
    for section, sets in (("datasets", plan.settings.datasets), ("test_sets", plan.settings.test_sets)):
        for name, one in sets.items():
            if one.data_dir:
                config[section][name]["data_dir"] = one.data_dir
    if plan.settings.noise_files:
        config["noise_files"] = plan.settings.noise_files
    return config


def _from_here(path: Path) -> Path:
    """The same path, relative if it is below the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _files(files: tuple[Path, ...], results: Path) -> dict[str, str]:
    """The sum of each regular file, by its path from the folder that holds the results."""
    base = results.resolve().parent
    found = [file.absolute() for file in files if file.is_file()]
    return {str(f.relative_to(base) if f.is_relative_to(base) else f): file_digest(f) for f in found}


def note_study(plan: Plan) -> None:
    """Record the study as the one planned last."""
    if not plan.config:
        return
    about: PlannedStudy = {
        "study": plan.settings.study,
        "files": _files(plan.files, plan.results),
        "config": _with_paths(plan),
    }
    text = json.dumps(about, indent=2) + "\n"  # in the order of the configuration, which is that of its runs
    path = plan.paths.study_record
    others = [other for other in plan.paths.studies.glob("*.json") if other != path]
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_text(path, text)  # durable: without it, pruning would not know what the study needs
    # A clock of a few milliseconds may give two records one time.
    newest = max((other.stat().st_mtime_ns for other in others), default=-1)
    if path.stat().st_mtime_ns <= newest:
        os.utime(path, ns=(newest + 1, newest + 1))
    for other in others:  # the records of earlier versions have names of their own
        if record_of(other).get("study") == plan.settings.study:
            other.unlink()


def recorded(paths: Paths) -> list[Recorded]:
    """The studies that were planned here, the last one first.

    Raises:
        CollabpipeError: a record cannot be read: nobody knows what it asks for.
    """
    files = sorted(paths.studies.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    found = [Recorded(path, record_of(path), paths.root) for path in files]
    for one in found:
        if not one.about.keys() >= {"study", "files", "config"}:
            raise CollabpipeError(
                f"{one.path}: is damaged, so it is not known which results study {one.path.stem} needs. Start that "
                "study again with snakemake -n and its configuration: that writes the record. Do not prune before."
            )
    return found


def study_here(paths: Paths, name: str | None = None) -> Study:
    """The study with that name or folder; without one the study that was planned last, or else the default one.

    Raises:
        CollabpipeError: no study of that name is known here.
    """
    found = recorded(paths)
    for one in found:
        if name in (None, one.about["study"], one.path.stem):
            made = record_of(one.study.plan.paths.tables / RECORD).get("study")
            if made is not None and not one.is_gone and made != one.study.plan.study.digest:
                by_files = Study.of_files(Plan.from_files(one.files, paths.root))
                if made == by_files.plan.study.digest:
                    return by_files  # the values of --config were those of a dry run, say
            return one.study
    default = Study.of_files(Plan.from_files([DEFAULT], paths.root)) if name is None or DEFAULT.exists() else None
    if default is None or name not in (None, default.name, default.plan.paths.study):
        known = ", ".join(one.about["study"] for one in found) or "none"
        raise CollabpipeError(f"{paths.root}: no study {name} was planned here. Known: {known}.")
    return default


def study_asked_for(paths: Paths, asked: Sequence[Path], name: str | None = None) -> Study:
    """The study in the files `asked`, or the one that `study_here` finds; one name may be given instead of files.

    Raises:
        CollabpipeError: no such study is known here, or a file cannot be read.
    """
    if len(asked) == 1 and not asked[0].exists():
        word = str(asked[0])
        name = next((word for one in recorded(paths) if word in (one.about["study"], one.path.stem)), name)
    if asked and name is None:
        return Study.of_files(Plan.from_files(asked, paths.root))
    return study_here(paths, name)


def command_for(paths: Paths, command: str, *words: str | Path) -> str:
    """A command of collabpipe's for these results, to be typed."""
    where = [] if paths.root == Paths.root else ["--results", str(paths.root)]
    return shlex.join(["collabpipe", command, *where, *map(str, words)])


def studies_in(folder: Path) -> list[Path]:
    """The YAML files in `folder` that describe a study.

    Raises:
        CollabpipeError: a file cannot be read: what it asks for would be removed.
    """
    found = []
    for file in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        try:
            value = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise CollabpipeError(
                f"{file}: cannot be read, so it is not known which results it needs: {error}. Correct or remove it."
            ) from error
        if not isinstance(value, dict | None):
            raise CollabpipeError(
                f"{file}: holds no keys, so it is not known which results it needs. Remove or fix it."
            )
        if value and "study" in value:
            found.append(file)
    return found


def known_studies(paths: Paths) -> list[Study]:
    """The studies in config/, and those that were planned here from elsewhere or with other values.

    Raises:
        CollabpipeError: there is no study, or one cannot be read. Pruning would then remove the results that it needs.
    """
    merged = {file for one in recorded(paths) if len(one.files) > 1 for file in one.files}
    studies = []
    for file in studies_in(CONFIGS):
        try:
            studies.append(Study.of_files(Plan.from_files([file], paths.root)))
        except CollabpipeError as error:
            if file not in merged:  # else its study is known by its record
                raise CollabpipeError(
                    f"{error}\nIs {file} merged over another file? Then start that study once (snakemake -n), so that "
                    f"it is known. Else correct the file, or move it out of {CONFIGS}."
                ) from error
    studies += _from_elsewhere(studies, paths)
    if not studies:
        raise CollabpipeError(f"{CONFIGS}: holds no study, so everything would be removed. Name your configurations.")
    return studies


def _from_elsewhere(studies: list[Study], paths: Paths) -> Iterator[Study]:
    names, digests = {study.name for study in studies}, {study.plan.study.digest for study in studies}
    for one in recorded(paths):
        if one.is_gone and one.about["study"] in names:
            continue  # its file was renamed
        # What was planned last with other values (--config) keeps nothing of the files themselves.
        by_files = [] if one.is_gone else [Study.of_files(Plan.from_files(one.files, paths.root))]
        for study in (one.study, *by_files):
            if study.plan.study.digest not in digests:
                digests.add(study.plan.study.digest)
                yield study
