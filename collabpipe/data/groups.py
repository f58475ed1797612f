"""Which images belong together, such as the frames of a video: the splits must not separate them."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from collabpipe.common.errors import CollabpipeError, listed
from collabpipe.data.image_files import below_quality, levels_of
from collabpipe.plan.recipes import DataRecipe
from collabpipe.settings.data import SPLITS

COLUMNS = ("file", "group")


def images_of(files: Iterable[str]) -> list[str]:
    """The images among the files of an image folder: the file of its groups may lie beside them."""
    return [name for name in files if name.split("/")[0] in SPLITS]


def image_groups(recipe: DataRecipe, files: Mapping[str, Path]) -> dict[str, str]:
    """The group of each image of an image folder, by the image's name; empty if each image stands for itself.

    If several quality levels are mixed and nothing else is said, the versions of an image are a group.

    Raises:
        CollabpipeError: an image without a group, or a group that is in two splits; all faults are listed.
    """
    names = images_of(files)
    if recipe.group_file is not None:
        groups, faults = _from_file(files[recipe.group_file], names)
    elif recipe.group_pattern is not None:
        groups, faults = _from_pattern(recipe, names)
    elif len(levels_of(recipe.quality, "train")) > 1:
        split_and_rest = ((name, name.split("/")[0], below_quality(name, recipe.quality)) for name in names)
        return {name: str(PurePosixPath(split, rest).with_suffix("")) for name, split, rest in split_and_rest}
    else:
        return {}
    faults += _in_two_splits(groups, "group_file" if recipe.group_file else "group_pattern")
    if faults:
        raise CollabpipeError(listed(faults))
    return groups


def _from_pattern(recipe: DataRecipe, names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    groups, faults = {}, []
    pattern = re.compile(recipe.group_pattern or "")
    for name in names:
        part = below_quality(name, recipe.quality)
        if found := pattern.search(part):
            groups[name] = "/".join(filter(None, found.groups())) or found[0]
        else:
            faults.append(
                f"{name}: group_pattern {pattern.pattern!r} finds nothing in {part!r}. Change the pattern so that it "
                "finds the group of every image."
            )
    return groups, faults


def _from_file(path: Path, names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    given: dict[str, str] = {}
    faults = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := [column for column in COLUMNS if column not in (rows.fieldnames or ())]:
                raise CollabpipeError(f"{path}:1: has no column {' and '.join(missing)}. Begin it with: file,group")
            for row in rows:
                name, group = (unicodedata.normalize("NFC", row[column] or "") for column in COLUMNS)
                if not name or not group:
                    faults.append(f"{path}:{rows.line_num}: lacks a file or a group. Fill it in or remove the line.")
                elif name in given:
                    faults.append(f"{path}:{rows.line_num}: names {name} again. Remove one of the lines.")
                given[name] = group
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CollabpipeError(f"{path}: cannot be read as a CSV file in UTF-8: {error}. Save it as one.") from error
    lacking = [name for name in names if name not in given]
    faults += [f"{path}: gives no group to {name}. Add a line: {name},GROUP" for name in lacking]
    return {name: given[name] for name in names if name in given}, faults


def _in_two_splits(groups: Mapping[str, str], key: str) -> list[str]:
    """Groups whose images are in more than one split."""
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for name, group in groups.items():
        places[group].setdefault(name.split("/")[0], name)
    return [
        f"group {group!r} is in {' and '.join(found)}: {', '.join(found.values())}. Move all its images into one "
        f"split, or, if these are different groups, give them different names ({key})."
        for group, found in places.items()
        if len(found) > 1
    ]
