"""Which images a folder holds: train/ and test/, in them a quality level if one is named, then a folder per class."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from collabpipe.common.errors import CollabpipeError, listed
from collabpipe.common.files import json_digest

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
LEFT_BY_SYSTEMS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"} | {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
}
"""What archivers, file managers and servers leave in folders, in lower case; hidden names begin with a dot."""


def image_files(folder: Path, quality: str | None) -> dict[str, Path]:
    """The images of {train,test}/[QUALITY/]CLASS/**/FILE below `folder`, by their names relative to it, sorted.

    Names are in Unicode's composed form (NFC), in which one name has one spelling.

    Raises:
        CollabpipeError: a folder is missing, empty or unreadable, holds something else, or the classes of train and
            test differ; all faults are listed.
    """
    walk = _Walk(folder, quality)
    try:
        for split in ("train", "test"):
            walk.split(split)
    except OSError as error:
        raise CollabpipeError(f"{error.filename or folder}: cannot be read: {error.strerror}.") from error
    walk.compare()
    if walk.faults:
        raise CollabpipeError(listed(walk.faults))
    return dict(sorted(walk.images.items(), key=lambda image: image[0].split("/")))


def class_of(name: str, quality: str | None) -> str:
    """The class of the image `name`, relative to data_dir."""
    return name.split("/")[1 if quality is None else 2]


def class_names(names: Iterable[str], quality: str | None) -> tuple[str, ...]:
    """The classes of the images `names`, sorted."""
    return tuple(sorted({class_of(name, quality) for name in names}))


def list_digest(sums: Mapping[str, str]) -> str:
    """SHA-256 (hex) over the sorted names and MD5 sums of images: one changed, added or renamed changes it."""
    return json_digest([[name, md5] for name, md5 in sorted(sums.items())])


class _Walk:
    """Goes through a folder once and keeps what it finds, faults too."""

    def __init__(self, folder: Path, quality: str | None):
        self.folder, self.quality = folder, quality and _composed(quality)
        self.images: dict[str, Path] = {}
        self.faults: list[str] = []
        self.classes: dict[str, set[str]] = {}
        """The classes by split."""
        self.inner: list[set[str]] = []
        """The folders in each class folder; of one that holds images itself, none."""

    def split(self, split: str) -> None:
        """Take in train or test."""
        place = self.folder / split
        if not place.is_dir():
            self.faults.append(f"{place}: is missing. data_dir must hold train/ and test/, in them a folder per class.")
            return
        if self.quality is not None:
            levels = {_composed(entry.name): entry for entry in _visible(place) if entry.is_dir()}
            if self.quality not in levels:
                there = ", ".join(levels) or "none"
                self.faults.append(f"{place}: has no quality {self.quality!r}. There are: {there}.")
                return
            place = Path(levels[self.quality].path)
        self._classes(split, place)

    def _classes(self, split: str, place: Path) -> None:
        classes = self.classes.setdefault(split, set())
        known = len(self.faults)
        for entry in _visible(place):
            if not entry.is_dir():
                self.faults.append(f"{entry.path}: lies beside the classes' folders. Move it away or into one of them.")
            elif not _is_text(entry.name):
                self.faults.append(
                    f"{place}: {entry.name!r} is no name of a class: it is not UTF-8. Rename the folder."
                )
            else:
                name = _composed(entry.name)
                classes.add(name)
                self._class(entry, "/".join(filter(None, (split, self.quality, name))))
        if len(classes) < 2 and len(self.faults) == known:
            one = next(iter(classes), "")
            hint = f" If {one} is a quality level, name it: quality: {one}." if one else ""
            self.faults.append(f"{place}: holds {len(classes)} folders of classes; at least two are needed.{hint}")

    def _class(self, entry: os.DirEntry[str], name: str) -> None:
        before, known = len(self.images), len(self.faults)
        self.inner.append(set())
        for inner, path in self._below(entry.path, "", (os.path.realpath(entry.path),)):
            key = f"{name}/{_composed(inner)}"
            if key in self.images:
                self.faults.append(
                    f"{path}: has the name of {self.images[key]} in another of Unicode's spellings. Rename one."
                )
            self.images[key] = Path(path)
            self.inner[-1].add(inner.rpartition("/")[0].partition("/")[0])
        if len(self.images) == before and len(self.faults) == known:
            self.faults.append(f"{entry.path}: holds no images. Put images there or remove the folder.")

    def _below(self, place: str, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """The images in and below `place`: name below the class folder, and path."""
        for entry in _visible(place):
            if entry.is_dir():
                real = os.path.realpath(entry.path)
                if real in above:
                    self.faults.append(f"{entry.path}: leads back to a folder that it lies in. Remove the link.")
                else:
                    yield from self._below(entry.path, f"{prefix}{entry.name}/", (*above, real))
            elif not entry.is_file():
                self.faults.append(f"{entry.path}: is no file, or a link to nothing. Remove it or put the image there.")
            elif not entry.name.lower().endswith(SUFFIXES):
                self.faults.append(
                    f"{entry.path}: is none of the kinds that are read: {', '.join(SUFFIXES)}. Move it away."
                )
            else:
                yield prefix + entry.name, entry.path

    def compare(self) -> None:
        """Hold the splits against each other, and the folders of classes against quality levels that nobody named."""
        train, test = self.classes.get("train"), self.classes.get("test")
        if not train or not test:
            return
        if train != test:
            self.faults.append(
                f"{self.folder}: train and test have not the same classes; in one only: "
                f"{', '.join(sorted(train ^ test))}. Give each class a folder in both."
            )
        common = set.intersection(*self.inner)
        if self.quality is None and len(common) > 1 and "" not in common:
            outer, inner = sorted(train | test), ", ".join(sorted(common)[:5])
            self.faults.append(
                f"{self.folder}: every folder in train and test ({', '.join(outer)}) holds the folders {inner}: which "
                f"are the classes? If {outer[0]} is a quality level, name it: quality: {outer[0]}. If {outer[0]} is a "
                f"class, put a level of your own above, as in train/all/{outer[0]} and test/all/{outer[0]}, "
                "and name that one: quality: all."
            )


def _visible(place: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(place) as entries:
        found = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in LEFT_BY_SYSTEMS]
    return sorted(found, key=lambda entry: entry.name)


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8: Python puts surrogates where it is none."""
    return name.isascii() or name.encode(errors="ignore").decode() == name
