"""Which images a folder holds: train/, test/ and maybe val/, in them quality levels if any are named, then classes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from collabpipe.common.errors import CollabpipeError, listed, unreadable
from collabpipe.common.files import json_digest
from collabpipe.settings.data import SPLITS, Quality, SplitName

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
LEFT_BY_SYSTEMS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"} | {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
}
"""What archivers, file managers and servers leave in folders, in lower case; hidden names begin with a dot."""


OTHER_NAMES = ("valid", "validation", "dev")
"""What others call a folder of validation images."""


def image_files(folder: Path, quality: Quality | None, splits: Sequence[SplitName] = SPLITS) -> dict[str, Path]:
    """The images of {train,test,val}/[QUALITY/]CLASS/**/FILE below `folder`, by their names relative to it, sorted.

    The folder val/ may be missing. Only the folders of `splits` are read.

    Names are in Unicode's composed form (NFC), in which one name has one spelling.

    Raises:
        CollabpipeError: a folder is missing, empty or unreadable, holds something else, or the classes of the splits
            differ; all faults are listed.
    """
    walk = _Walk(folder, quality)
    try:
        for split in splits:
            if split != "val" or walk.has_validation():
                walk.split(split)
    except OSError as error:
        raise unreadable(error.filename or folder, error) from error
    walk.compare()
    if walk.faults:
        raise CollabpipeError(listed(walk.faults))
    return dict(sorted(walk.images.items(), key=lambda image: image[0].split("/")))


def levels_of(quality: Quality | None, split: SplitName) -> tuple[str | None, ...]:
    """The quality levels that a split is made of; (None,) if its folder holds the classes."""
    if not isinstance(quality, Mapping):
        return (quality,)
    return quality.get(split, quality["train"])


def below_quality(name: str, quality: Quality | None) -> str:
    """The part CLASS/**/FILE of the name of an image."""
    return name.split("/", 1 if quality is None else 2)[-1]


def list_digest(sums: Mapping[str, str]) -> str:
    """SHA-256 (hex) over the sorted names and MD5 sums of images: one changed, added or renamed changes it."""
    return json_digest([[name, md5] for name, md5 in sorted(sums.items())])


class _Walk:
    """Goes through a folder once and keeps what it finds, faults too."""

    def __init__(self, folder: Path, quality: Quality | None):
        self.folder, self.quality = folder, quality
        self.images: dict[str, Path] = {}
        self.faults: list[str] = []
        self.classes: dict[str, set[str]] = {}
        """The classes by folder: of a split, or of a quality level in it."""
        self.inner: list[set[str]] = []
        """The folders in each class folder; of one that holds images itself, none."""

    def has_validation(self) -> bool:
        """Whether there is a folder val; one that only seems to be it is a fault."""
        for name in OTHER_NAMES:
            if (self.folder / name).is_dir():
                self.faults.append(
                    f"{self.folder / name}: is not read. If it holds validation images, rename it to val; if not, "
                    "move it away."
                )
        return (self.folder / "val").is_dir()

    def split(self, split: SplitName) -> None:
        """Take in train, test or val."""
        place = self.folder / split
        if not place.is_dir():
            self.faults.append(
                f"{place}: is missing. data_dir must hold train/ and test/ (of one of test_sets only test/), in them a "
                "folder per class."
            )
            return
        for level in levels_of(self.quality, split):
            if level is None:
                self._classes(split, place)
                continue
            levels = {_composed(entry.name): entry for entry in _visible(place) if entry.is_dir()}
            if (name := _composed(level)) in levels:
                self._classes(f"{split}/{name}", Path(levels[name].path))
            else:
                there = ", ".join(levels) or "none"
                self.faults.append(f"{place}: has no quality {level!r}. There are: {there}.")

    def _classes(self, prefix: str, place: Path) -> None:
        classes = self.classes.setdefault(prefix, set())
        known = len(self.faults)
        for entry in _visible(place):
            if not entry.is_dir():
                self.faults.append(f"{entry.path}: lies beside the classes' folders. Move it away or into one of them.")
            elif not _is_text(entry.name):
                self.faults.append(f"{place}: {entry.name!r} cannot name a class: it is not UTF-8. Rename the folder.")
            else:
                name = _composed(entry.name)
                classes.add(name)
                self._class(entry, f"{prefix}/{name}")
        if len(classes) < 2 and len(self.faults) == known:
            one = next(iter(classes), "")
            hint = f" If {one} is a quality level, name it: quality: {one}." if one else ""
            self.faults.append(
                f"{place}: holds {len(classes)} folders of classes; at least two are needed. Give each class one.{hint}"
            )

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
        places = [place for place, classes in self.classes.items() if classes]
        if len(places) < 2:
            return
        first = places[0]
        for other in places[1:]:
            if differing := self.classes[first] ^ self.classes[other]:
                self.faults.append(
                    f"{self.folder}: {first} and {other} have not the same classes; in one only: "
                    f"{', '.join(sorted(differing))}. Give each class a folder in both."
                )
        common = set.intersection(*self.inner)
        if self.quality is None and len(common) > 1 and "" not in common:
            outer, inner = sorted(set().union(*self.classes.values())), ", ".join(sorted(common)[:5])
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
