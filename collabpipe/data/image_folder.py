"""Decodes the images of an image folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from collabpipe.common.errors import CollabpipeError, listed
from collabpipe.data.groups import image_groups, images_of
from collabpipe.data.image_files import below_quality
from collabpipe.data.split import Split
from collabpipe.plan.recipes import DataRecipe
from collabpipe.settings.data import SPLITS

if TYPE_CHECKING:
    from PIL import Image

KINDS = ("PNG", "JPEG", "BMP", "WEBP")
"""The kinds that are read, by content: many files are not of the kind that their names say."""
PORTION = 256
"""Images that are decoded together."""


def read_image_folder(recipe: DataRecipe, files: Mapping[str, Path]) -> tuple[Split, ...]:
    """Training and test set and, if there is one, the validation set: RGB images of `image_size` pixels a side.

    Labels count the sorted classes.
    """
    if recipe.image_size is None:
        raise CollabpipeError("an image_folder needs image_size. Set the pixels per side to scale its images to.")
    groups = image_groups(recipe, files)
    images = {name: files[name] for name in images_of(files)}
    class_of = {name: below_quality(name, recipe.quality).split("/")[0] for name in images}
    classes = tuple(sorted(set(class_of.values())))
    splits = []
    for split in SPLITS:
        names = tuple(name for name in images if name.startswith(f"{split}/"))
        labels = np.array([classes.index(class_of[name]) for name in names], dtype=np.int64)
        parts = partial(_decoded, [images[name] for name in names], images, recipe.image_size)
        of_group = tuple(groups[name] for name in names) if groups else ()
        splits.append(Split(labels, parts, classes=classes, files=names, groups=of_group))
    return tuple(split for split in splits if split.files)


def _decoded(paths: Sequence[Path], images: Mapping[str, Path], size: int) -> Iterator[NDArray[np.uint8]]:
    """The images in `paths`, some of `images`, which are all looked at before any fault is told."""
    for start in range(0, len(paths), PORTION):
        try:
            part = np.stack([decode(path, size) for path in paths[start : start + PORTION]])
        except CollabpipeError:
            raise CollabpipeError(listed(list(_faults(images.values(), size)))) from None
        yield part


def _faults(paths: Iterable[Path], size: int) -> Iterator[str]:
    for path in paths:
        try:
            decode(path, size)
        except CollabpipeError as error:
            yield str(error)


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """The image in `path` as (3, size, size), averaged over areas if it is larger, interpolated if it is smaller.

    Raises:
        CollabpipeError: it cannot be read.
    """
    return np.asarray(squared(opened(path).convert("RGB"), size)).transpose(2, 0, 1)


def opened(path: Path) -> Image.Image:
    """The image in `path`, of mode L (grey) or RGB, turned as its EXIF data say, and laid on black where transparent.

    Raises:
        CollabpipeError: no image of its kind, damaged, of more than 8 bits, or so large that it must be hostile.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=KINDS) as file:
            if file.mode.startswith(("I", "F")):  # Pillow would clip what is above 255
                raise ValueError(
                    f"it has more than 8 bits per channel ({file.mode}), and only images of 8 bits are read"
                )
            image = ImageOps.exif_transpose(file)
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
            return image.copy() if image.mode == "L" else image.convert("RGB")
    except Exception as error:  # damaged bytes, of EXIF data too, raise errors of all kinds
        raise CollabpipeError(f"{path}: cannot be read as an image: {error}. Remove or replace it.") from error


def squared(image: Image.Image, size: int) -> Image.Image:
    """`image` scaled to `size` pixels a side: averaged over areas if it is larger, interpolated if it is smaller."""
    from PIL import Image

    if image.size == (size, size):
        return image
    smaller = size <= min(image.size)
    return image.resize((size, size), Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR)
