"""Images from outside a data set, brought into the form of its own images: their channels and their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collabpipe.catalogue.sources import IMAGE_FOLDER
from collabpipe.common.errors import CollabpipeError, listed
from collabpipe.data.image_folder import opened, squared
from collabpipe.data.split import shrink
from collabpipe.plan.recipes import DataRecipe

GREY_OR_RGB = (1, 3)
AS_UINT8 = "np.save(FILE, (255 * array).round().astype('uint8')) if its values are from 0 to 1"


@dataclass(frozen=True)
class Picture:
    """An image as a network of the data set takes it.

    name: its file, with its position if the file holds several; pixels: (C, H, W) uint8; changes: what was done to it.
    """

    name: str
    pixels: NDArray[np.uint8]
    changes: tuple[str, ...]


def read_pictures(paths: Sequence[Path], data: DataRecipe, shape: Sequence[int]) -> list[Picture]:
    """The images in `paths` in the form of a data set's images.

    Args:
        paths: of PNG, JPEG, BMP or WebP files, or of .npy files with one image or many.
        data: the data set, which says how its own images were scaled.
        shape: (C, H, W) of its images.

    Raises:
        CollabpipeError: files that hold no image, or one that cannot be brought into that form; all are named.
    """
    found: list[Picture] = []
    faults = []
    for path in paths:
        try:
            arrays = _arrays(path) if path.suffix.lower() == ".npy" else {str(path): _pixels(path)}
            for name, array in arrays.items():
                pixels, changes = _fitted(name, array, data, shape)
                found.append(Picture(name, pixels, changes))
        except CollabpipeError as error:
            faults.append(str(error))
    if faults:
        raise CollabpipeError(listed(faults))
    return found


def _pixels(path: Path) -> NDArray[np.uint8]:
    """The image in `path`, (H, W, 1) or (H, W, 3)."""
    pixels = np.asarray(opened(path))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _arrays(path: Path) -> dict[str, NDArray[np.uint8]]:
    """The images (H, W, C) in a .npy file by name: one of (H, W) or (H, W, C), or many of (N, H, W) or (N, H, W, C)."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CollabpipeError(f"{path}: cannot be read as an array: {error}. Write it with numpy.save.") from error
    if array.dtype != np.uint8:
        raise CollabpipeError(
            f"{path}: holds {array.dtype}, and images are read as uint8 from 0 to 255. Save them so: {AS_UINT8}."
        )
    if array.ndim == 2:
        return {str(path): array[:, :, None]}
    if array.ndim == 3 and array.shape[2] in GREY_OR_RGB:
        return {str(path): array}
    images = array[..., None] if array.ndim == 3 else array
    if images.ndim != 4 or images.shape[3] not in GREY_OR_RGB or not images.size:
        raise CollabpipeError(
            f"{path}: has shape {array.shape}, where (H, W), (H, W, C), (N, H, W) or (N, H, W, C) is read with C = 1 "
            "or 3. If channels come first, save array.transpose(0, 2, 3, 1)."
        )
    return {f"{path}[{number}]": image for number, image in enumerate(images)}


def _fitted(
    name: str, image: NDArray[np.uint8], data: DataRecipe, shape: Sequence[int]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """An image (h, w, c) as (C, H, W), and what was done to it."""
    from PIL import Image

    channels, height, width = shape
    changes = []
    if image.shape[2] == 1 and channels == 3:
        image = image.repeat(3, axis=2)
        changes.append("grey made RGB")
    elif image.shape[2] == 3 and channels == 1:
        if not (image == image[:, :, :1]).all():
            changes.append("colour made grey")
        image = np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
    if image.shape[:2] != (height, width):
        before = f"{image.shape[1]}×{image.shape[0]}"
        if height != width:
            raise CollabpipeError(
                f"{name}: has {before} pixels, and the data set's images have {width}×{height}. Scale it to that size."
            )
        changes.append(f"{before} made {width}×{height}")
        if data.source != IMAGE_FOLDER and height <= min(image.shape[:2]):
            return shrink(image.transpose(2, 0, 1)[None], height)[0], tuple(changes)  # as its own images are prepared
        scaled = np.asarray(squared(Image.fromarray(image[:, :, 0] if channels == 1 else image), height))
        image = scaled.reshape(height, width, channels)
    return image.transpose(2, 0, 1), tuple(changes)
