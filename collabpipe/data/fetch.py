"""Brings a source's files to the results folder, or finds them where the user has them; all are verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from collabpipe.catalogue.sources import IMAGE_FOLDER, OWN, SOURCES, SourceFile
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import write_json
from collabpipe.data.download import download
from collabpipe.data.groups import image_groups
from collabpipe.data.own import Sum, Sums, made_from, md5_of, note_sums, own_files, read_sums, stamp, stamps
from collabpipe.data.raw import (
    WrongSum,
    addresses,
    check_accept,
    check_reachable,
    lacking,
    locate,
    verify,
    wanted_files,
)
from collabpipe.host.folder_lock import locked
from collabpipe.plan.paths import FETCHED
from collabpipe.plan.recipes import DataRecipe
from collabpipe.plan.record_types import FetchedRecord


def fetch(
    recipe: DataRecipe, folder: Path, data_dir: Path | None = None, mirrors: Sequence[str] = (), offline: bool = False
) -> None:
    """Verify the files that `recipe` asks for and write `folder`/fetched.json: where they lie, and their sums.

    Args:
        recipe: names the source and what is wanted of it.
        folder: where downloads go; a verified file that is already there is kept.
        data_dir: the user's own copies, which are used where they lie and never copied; None: download.
        mirrors: folders on web servers, tried before the source's own.
        offline: ask nothing of any network.

    Raises:
        CollabpipeError: a file is missing, unreachable or of another sum; no such file is left under its name.
    """
    check_accept(recipe)
    with locked(folder, "fetches into"):
        used: str | None = None
        if recipe.source in OWN and data_dir is None:
            where = "the folder that holds train/ and test/" if recipe.source == IMAGE_FOLDER else "the npz file"
            raise CollabpipeError(
                f"an {recipe.source} needs data_dir: {where}. Set that key of {recipe.dataset}; if you call collabpipe "
                "fetch yourself, add --data-dir PATH."
            )
        if data_dir is not None and (recipe.source in OWN or SOURCES[recipe.source].files):
            sums = _own(recipe, data_dir.resolve())
            note_sums(folder, sums)
            used, origin = str(data_dir.resolve()), made_from(recipe, md5_of(sums))
        else:
            origin = made_from(recipe, _downloaded(recipe, folder, mirrors, offline))
        md5 = origin["md5"]
        files = [file for file in SOURCES[recipe.source].all_files if file.name in md5]
        accepted = {file.name: md5[file.name] for file in files if not file.accepts(md5[file.name])}
        record: FetchedRecord = {
            "recipe": recipe.digest,
            "source": recipe.source,
            "folder": used,
            "accepted": accepted,
            **origin,
        }
        write_json(folder / FETCHED, record)


def _own(recipe: DataRecipe, data_dir: Path) -> Sums:
    """The sums of the user's own files, which are all looked at before any fault is told."""
    if recipe.source in OWN:
        own = own_files(recipe, data_dir)
        if recipe.source == IMAGE_FOLDER:
            image_groups(recipe, own)
        return read_sums(own, stamps(own), {})
    sums, faults = {}, []
    for file in wanted_files(recipe, data_dir):
        if path := locate(data_dir, file.name):
            try:
                sums[file.name] = Sum(*stamp(path), verify(path, file, recipe.accept, path))
            except WrongSum as error:
                faults.append(str(error))
    if told := lacking(recipe, data_dir):
        faults.append(told)
    if faults:
        raise CollabpipeError("\n".join(faults))
    return sums


def _downloaded(recipe: DataRecipe, folder: Path, mirrors: Sequence[str], offline: bool) -> dict[str, str]:
    """The sums of the files in `folder`, after those that it lacks were downloaded."""
    files = wanted_files(recipe, folder)
    kept = {file.name: _kept(recipe, folder, file) for file in files}
    missing = [file for file in files if not kept[file.name]]
    check_reachable(recipe, folder, missing, mirrors, offline)
    for file in missing:
        download(file, addresses(recipe, file, mirrors), recipe.accept, folder / file.name)
        kept[file.name] = _kept(recipe, folder, file)
    return {name: md5 for name, md5 in kept.items() if md5}


def _kept(recipe: DataRecipe, folder: Path, file: SourceFile) -> str | None:
    """The sum of a verified file in `folder`; None if there is none."""
    path = locate(folder, file.name)
    try:
        return verify(path, file, recipe.accept, path) if path else None
    except WrongSum:
        return None
