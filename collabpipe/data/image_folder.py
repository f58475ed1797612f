"""A folder of images: train/ and test/, in them the quality level if there are several, then a folder per class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collabpipe.data.split import Split
from collabpipe.errors import CollabpipeError
from collabpipe.files import file_digest, json_digest

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}
PORTION = 256
"""Images that are decoded together."""


def image_files(folder: Path, quality: str | None) -> dict[str, Path]:
    """The images of {train,test}/[QUALITY/]CLASS/FILE below `folder`, by their names relative to it, sorted.

    Raises:
        CollabpipeError: a folder is missing, empty or unreadable, holds something else, or the classes of train and
            test differ.
    """
    try:
        found = {split: _classes(folder, split, quality) for split in ("train", "test")}
    except OSError as error:
        raise CollabpipeError(f"{error.filename or folder}: cannot be read: {error.strerror}.") from error
    if found["train"].keys() != found["test"].keys():
        differing = ", ".join(sorted(found["train"].keys() ^ found["test"].keys()))
        raise CollabpipeError(
            f"{folder}: train and test have not the same classes; in one only: {differing}. Give each class a folder "
            "in both."
        )
    paths = [path for split in found.values() for images in split.values() for path in images]
    return {path.relative_to(folder).as_posix(): path for path in sorted(paths)}


def _classes(folder: Path, split: str, quality: str | None) -> dict[str, list[Path]]:
    """The images of a split by class."""
    place = folder / split
    if not place.is_dir():
        raise CollabpipeError(f"{place}: is missing. data_dir is to hold train/ and test/, in them a folder per class.")
    if quality is not None:
        levels = [level.name for level in _visible(place) if level.is_dir()]
        if quality not in levels:
            raise CollabpipeError(f"{place}: has no quality {quality!r}. There are: {', '.join(levels) or 'none'}.")
        place /= quality
    classes = {}
    for entry in _visible(place):
        if not entry.is_dir():
            raise CollabpipeError(f"{entry}: lies beside the classes' folders. Move it away or into one of them.")
        if entry.name.encode(errors="ignore").decode() != entry.name:  # Python puts surrogates where it is none
            raise CollabpipeError(f"{place}: {entry.name!r} is no name of a class: it is not UTF-8. Rename the folder.")
        classes[entry.name] = _images(entry)
    if len(classes) < 2:
        raise CollabpipeError(f"{place}: holds {len(classes)} folders of classes; at least two are needed.")
    return classes


def _images(place: Path) -> list[Path]:
    """The images of a class."""
    images = _visible(place)
    for image in images:
        if image.is_dir():
            raise CollabpipeError(
                f"{image}: is a folder where images belong. If {place.name} is a quality level, name it: "
                f"quality: {place.name}."
            )
        if not image.is_file():
            raise CollabpipeError(f"{image}: is no file, or a link to nothing. Remove it or put the image there.")
        if image.suffix.lower() not in SUFFIXES:
            raise CollabpipeError(f"{image}: is none of the kinds that are read: {', '.join(SUFFIXES)}. Move it away.")
    if not images:
        raise CollabpipeError(f"{place}: holds no images.")
    return images


def _visible(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if not path.name.startswith("."))


def list_digest(images: dict[str, Path]) -> str:
    """SHA-256 (hex) over the sorted names and MD5 sums of the images: one changed, added or renamed changes it.

    Raises:
        CollabpipeError: an image cannot be read.
    """
    try:
        return json_digest([[name, file_digest(path, "md5")] for name, path in sorted(images.items())])
    except OSError as error:
        raise CollabpipeError(f"{error.filename}: cannot be read: {error.strerror}.") from error


def class_names(images: dict[str, Path]) -> tuple[str, ...]:
    """The classes: the sorted names of the images' own folders."""
    return tuple(sorted({path.parent.name for path in images.values()}))


def read_image_folder(images: dict[str, Path], size: int | None) -> tuple[Split, Split]:
    """Training and test set as RGB images of `size` pixels a side; labels count the sorted classes."""
    if size is None:
        raise CollabpipeError("an image_folder needs image_size: the pixels a side that its images are scaled to.")
    classes = class_names(images)
    splits = []
    for split in ("train/", "test/"):
        paths = [path for name, path in images.items() if name.startswith(split)]
        labels = np.array([classes.index(path.parent.name) for path in paths], dtype=np.int64)
        splits.append(Split(labels, partial(_decoded, paths, size)))
    return splits[0], splits[1]


def _decoded(paths: Sequence[Path], size: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(paths), PORTION):
        yield np.stack([decode(path, size) for path in paths[start : start + PORTION]])


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """The image in `path` as (3, size, size), averaged over areas if it is larger, interpolated if it is smaller.

    It is turned as its EXIF data say, and laid on black where it is transparent.

    Raises:
        CollabpipeError: no image of its kind, damaged, of more than 8 bits, or so large that it must be hostile.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=[SUFFIXES[path.suffix.lower()]]) as file:
            if file.mode.startswith(("I", "F")):  # Pillow would clip what is above 255
                raise ValueError(f"it has more than 8 bits a channel ({file.mode}), and images of 8 are read")
            image = ImageOps.exif_transpose(file)
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
            image = image.convert("RGB")
    except Exception as error:  # damaged bytes, of EXIF data too, raise errors of all kinds
        raise CollabpipeError(f"{path}: cannot be read as an image: {error}. Remove or replace it.") from error
    if image.size != (size, size):
        smaller = size <= min(image.size)
        image = image.resize((size, size), Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)
