"""The files that a data set is prepared from: which they are, where they lie, whether they are the ones asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from collabpipe.catalogue.sources import NPZ, OWN, SOURCES, SourceFile
from collabpipe.common.errors import CollabpipeError, nearest, unreadable
from collabpipe.common.files import file_digest, read_record
from collabpipe.data.image_files import image_files, list_digest
from collabpipe.plan.paths import FETCHED
from collabpipe.plan.recipes import DataRecipe
from collabpipe.plan.record_types import FetchedRecord
from collabpipe.settings.data import SPLITS, SplitName

FETCH = "Run Snakemake, or fetch the data set by hand: collabpipe fetch RECIPE."
AGAIN = (
    "Run Snakemake again: it takes the files as they are now. Or by hand: collabpipe fetch RECIPE --data-dir {folder}, "
    "then collabpipe prepare RECIPE."
)


class WrongSum(CollabpipeError):
    """A file that is whole but is not the one that was asked for."""


def check_accept(recipe: DataRecipe) -> None:
    """Hold the recipe's `accept` to the names of its source's files.

    Raises:
        CollabpipeError: a name that is no file of the source.
    """
    names = [file.name for file in SOURCES[recipe.source].all_files]
    for name in recipe.accept:
        if name not in names:
            allowed = ", ".join(names) or "nothing: it has no files with published sums"
            raise CollabpipeError(
                f"accept: {name} is no file of {recipe.source}. Allowed: {allowed}.{nearest(name, names)}"
            )


def wanted_files(recipe: DataRecipe, folder: Path | None) -> tuple[SourceFile, ...]:
    """The files that `recipe` asks for, in the packaging that lies in `folder` where the source has two."""
    source = SOURCES[recipe.source]
    human = source.human if recipe.human_labels else ()
    if source.instead and folder is not None and not _any(folder, source.files) and _any(folder, source.instead):
        return (*source.instead, *human)
    return (*source.files, *human)


def _any(folder: Path, files: tuple[SourceFile, ...]) -> bool:
    return any(locate(folder, file.name) for file in files)


def located(recipe: DataRecipe, folder: Path) -> dict[str, Path]:
    """Those of the files that `recipe` asks for that lie in `folder`, by name."""
    found = {file.name: locate(folder, file.name) for file in wanted_files(recipe, folder)}
    return {name: path for name, path in found.items() if path}


def lacking(recipe: DataRecipe, data_dir: Path) -> str:
    """What a user is told whose data_dir lacks files; nothing if it lacks none."""
    there = located(recipe, data_dir)
    missing = [file for file in wanted_files(recipe, data_dir) if file.name not in there]
    if not missing:
        return ""
    unpacked = [path for file in missing if (path := locate(data_dir, file.name.removesuffix(".gz")))]
    remark = "".join(
        f"\n{path} is the unpacked file, of which no sum is published: pack it (gzip --keep {path}), and accept the "
        "sum that you are told then."
        for path in unpacked
    )
    return (
        f"data_dir {data_dir}: is missing, or lacks files of {recipe.source}:\n{listing(recipe, missing)}\n"
        f"Put them there or one folder down, or leave out data_dir to download what can be downloaded.{remark}"
    )


def check_reachable(
    recipe: DataRecipe, folder: Path, missing: Iterable[SourceFile], mirrors: Sequence[str], offline: bool
) -> None:
    """Hold the files that `folder` lacks to what can be downloaded.

    Raises:
        CollabpipeError: some cannot.
    """
    files = [file for file in missing if offline or not addresses(recipe, file, mirrors)]
    if files:
        why = "offline: nothing is downloaded, and" if offline else f"{recipe.source} cannot be downloaded, and"
        raise CollabpipeError(
            f"{why} {folder} lacks files:\n{listing(recipe, files)}\n"
            "Put them there, or name the folder that holds them in data_dir."
        )


def splits_of(recipe: DataRecipe) -> tuple[SplitName, ...]:
    """The splits of a source of the user's own that are read."""
    return ("test",) if recipe.test_only else SPLITS


def unlisted_files(recipe: DataRecipe, data_dir: Path) -> dict[str, Path]:
    """The files of a source of the user's own, by name: of an image folder relative to data_dir.

    Raises:
        CollabpipeError: some are missing, or an image folder is not laid out as one.
    """
    if recipe.source == NPZ:
        if not data_dir.is_file():
            raise CollabpipeError(f"{data_dir}: is no file. The data_dir of an npz source is the npz file itself.")
        return {NPZ: data_dir}
    files = image_files(data_dir, recipe.quality, splits_of(recipe))
    if recipe.group_file is not None:
        path = data_dir / recipe.group_file
        if not path.is_file():
            raise CollabpipeError(f"{path}: is missing. Put it there: group_file names a CSV file in data_dir.")
        files[recipe.group_file] = path
    return files


def addresses(recipe: DataRecipe, file: SourceFile, mirrors: Iterable[str] = ()) -> tuple[str, ...]:
    """Where a file can be downloaded, in the order in which the addresses are tried."""
    return (*mirrors, *(file.addresses or SOURCES[recipe.source].addresses))


def listing(recipe: DataRecipe, files: Iterable[SourceFile]) -> str:
    """Names, sums, sizes and addresses for someone who will get the files by hand."""
    lines = []
    for file in files:
        size = f"  {file.size} bytes" if file.size and file.name not in recipe.accept else ""
        # A server has the archive, not the files in it.
        found = () if file in SOURCES[recipe.source].instead else addresses(recipe, file)[:1]
        address = "".join(f"  {address}{file.name}" for address in found)
        lines.append(f"  {file.name}  md5 {recipe.accept.get(file.name, file.md5)}{size}{address}")
    remark = SOURCES[recipe.source].remark
    return "\n".join(lines + [remark] * bool(remark))


def locate(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder` or one folder down (Imagenet32_train/, Imagenet32_val/); None if it is in neither.

    Raises:
        CollabpipeError: the folder cannot be read.
    """
    try:
        own = folder / name
        if own.is_file():
            return own
        return next((path for path in sorted(folder.glob(f"*/{name}")) if path.is_file()), None)
    except OSError as error:
        raise unreadable(f"data_dir {folder}", error) from error


def verify(path: Path, file: SourceFile, accept: Mapping[str, str], origin: object) -> str:
    """The MD5 sum of the file at `path`, which came from `origin`, if it is the one asked for.

    Raises:
        WrongSum: its size or sum is neither the published one nor the one that `accept` names.
        CollabpipeError: it cannot be read.
    """
    try:
        size, found = path.stat().st_size, file_digest(path, "md5")
    except OSError as error:
        raise unreadable(path, error) from error
    named = accept.get(file.name)
    if found == named or (named is None and file.accepts(found)):
        return found
    bytes_expected = "" if named or file.size is None else f" ({file.size} bytes)"
    third_party = "" if named or file.published else " This sum comes from a third party: the source publishes none."
    remark = f" {file.remark}" if file.remark else ""
    raise WrongSum(
        f"{origin}: wrong sum. Expected md5 {named or file.md5}{bytes_expected}, found {found} ({size} bytes). The "
        f"file is damaged or a different one; it was not opened.{third_party}{remark} Download it again, or, if you "
        f"trust this one, accept its sum: accept: {{{file.name}: {found}}}."
    )


def md5_sums(files: Mapping[str, Path]) -> dict[str, str]:
    """The MD5 sum (hex) of each file.

    Raises:
        CollabpipeError: a file cannot be read.
    """
    try:
        return {name: file_digest(path, "md5") for name, path in files.items()}
    except OSError as error:
        raise unreadable(error.filename, error) from error


def verified_files(recipe: DataRecipe, raw: Path) -> dict[str, Path]:
    """The files that `raw/fetched.json` tells of, by name, each checked again: since then it may have changed.

    Of an image folder the names are relative to data_dir.

    Raises:
        CollabpipeError: not fetched, or no longer the file that was.
    """
    if not SOURCES[recipe.source].files and recipe.source not in OWN:
        return {}
    check_accept(recipe)
    record: FetchedRecord = read_record(raw / FETCHED, FETCH)
    if record.get("source") != recipe.source:
        raise CollabpipeError(f"{raw}: holds {record.get('source')!r}, not {recipe.source!r}. {FETCH}")
    folder = Path(record.get("folder") or raw)
    again = AGAIN.format(folder=folder) if record.get("folder") else FETCH
    if recipe.source in OWN:
        files = unlisted_files(recipe, folder)
        if list_digest(md5_sums(files)) != record.get("images"):
            raise CollabpipeError(f"{folder}: its images were changed since they were fetched. {again}")
        return files
    found = {}
    for file in wanted_files(recipe, folder):
        path = locate(folder, file.name)
        if path is None:
            raise CollabpipeError(f"{folder}: {file.name} is missing. {again}")
        if verify(path, file, recipe.accept, path) != record["md5"].get(file.name):
            raise CollabpipeError(f"{path}: was changed since it was fetched. {again}")
        found[file.name] = path
    return found
