"""Brings a source's files to the results folder, or finds them where the user has them; all are verified."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from collabpipe.data.download import download
from collabpipe.data.image_folder import image_files, list_digest
from collabpipe.data.lock import alone
from collabpipe.data.raw import WrongSum, check_accept, locate, verify, wanted_files
from collabpipe.data.sources import IMAGE_FOLDER, SOURCES, SourceFile
from collabpipe.errors import CollabpipeError
from collabpipe.files import write_json
from collabpipe.recipe import DataRecipe


def fetch(
    recipe: DataRecipe, folder: Path, data_dir: Path | None = None, mirrors: Sequence[str] = (), offline: bool = False
) -> None:
    """Verify the files that `recipe` asks for and write `folder`/fetched.json: where they lie, and their sums.

    Args:
        recipe: names the source and what is wanted of it.
        folder: where downloads go; a verified file that lies there is kept.
        data_dir: the user's own copies, which are used where they lie and never copied; None: download.
        mirrors: folders on web servers, tried before the source's own.
        offline: ask nothing of any network.

    Raises:
        CollabpipeError: a file is missing, unreachable or of another sum; no such file is left under its name.
    """
    check_accept(recipe)
    with alone(folder, "fetches into"):
        record: dict[str, Any] = {"source": recipe.source, "folder": None, "md5": {}, "accepted": {}}
        if recipe.source == IMAGE_FOLDER:
            if data_dir is None:
                raise CollabpipeError("an image_folder needs data_dir: the folder that holds train/ and test/.")
            images = image_files(data_dir.resolve(), recipe.quality)
            record |= {"folder": str(data_dir.resolve()), "images": list_digest(images)}
        elif data_dir is not None and SOURCES[recipe.source].files:
            record |= {"folder": str(data_dir.resolve()), "md5": _own(recipe, data_dir.resolve())}
        else:
            record["md5"] = _downloaded(recipe, folder, mirrors, offline)
        for file in SOURCES[recipe.source].all_files:
            if file.name in record["md5"] and not file.accepts(record["md5"][file.name]):
                record["accepted"][file.name] = record["md5"][file.name]
        write_json(folder / "fetched.json", record)


def _own(recipe: DataRecipe, data_dir: Path) -> dict[str, str]:
    """The sums of the user's own files, which are all looked at before any fault is told."""
    sums, missing, faults = {}, [], []
    for file in wanted_files(recipe, data_dir):
        path = locate(data_dir, file.name)
        if path is None:
            missing.append(file)
            continue
        try:
            sums[file.name] = verify(path, file, recipe.accept, path)
        except WrongSum as error:
            faults.append(str(error))
    if missing:
        faults.append(
            f"data_dir {data_dir}: is missing, or lacks files of {recipe.source}:\n{_listing(recipe, missing)}\n"
            "Put them there or one folder down, or leave out data_dir to download what can be downloaded."
        )
    if faults:
        raise CollabpipeError("\n".join(faults))
    return sums


def _downloaded(recipe: DataRecipe, folder: Path, mirrors: Sequence[str], offline: bool) -> dict[str, str]:
    """The sums of the files in `folder`, after those that it lacks were downloaded."""
    files = wanted_files(recipe, folder)
    kept = {file.name: _kept(recipe, folder, file) for file in files}
    missing = [file for file in files if not kept[file.name]]
    unreachable = [file for file in missing if offline or not _addresses(recipe, file, mirrors)]
    if unreachable:
        why = "offline: nothing is downloaded, and" if offline else f"{recipe.source} cannot be downloaded, and"
        raise CollabpipeError(
            f"{why} {folder} lacks files:\n{_listing(recipe, unreachable)}\n"
            "Put them there, or name the folder that holds them in data_dir."
        )
    for file in missing:
        download(file, _addresses(recipe, file, mirrors), recipe.accept, folder / file.name)
        kept[file.name] = _kept(recipe, folder, file)
    return {name: md5 for name, md5 in kept.items() if md5}


def _kept(recipe: DataRecipe, folder: Path, file: SourceFile) -> str | None:
    """The sum of a verified file in `folder`; None if there is none."""
    path = locate(folder, file.name)
    try:
        return verify(path, file, recipe.accept, path) if path else None
    except WrongSum:
        return None


def _addresses(recipe: DataRecipe, file: SourceFile, mirrors: Sequence[str]) -> tuple[str, ...]:
    return (*mirrors, *(file.addresses or SOURCES[recipe.source].addresses))


def _listing(recipe: DataRecipe, files: Iterable[SourceFile]) -> str:
    """Names, sums, sizes and addresses for someone who will get the files by hand."""
    lines = []
    for file in files:
        size = f"  {file.size} bytes" if file.size and file.name not in recipe.accept else ""
        address = "".join(f"  {address}{file.name}" for address in _addresses(recipe, file, ())[:1])
        lines.append(f"  {file.name}  md5 {recipe.accept.get(file.name, file.md5)}{size}{address}")
    remark = SOURCES[recipe.source].remark
    return "\n".join(lines + [remark] * bool(remark))
