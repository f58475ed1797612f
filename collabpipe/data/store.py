"""The prepared form of a data set: two Arrow files that are memory-mapped and never copied, and their record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collabpipe.data.formats import READERS, Split, shrink
from collabpipe.data.sources import SOURCES
from collabpipe.errors import CollabpipeError
from collabpipe.files import atomic_path, file_digest, read_record, write_json
from collabpipe.recipe import DataRecipe

VERIFY_BYTES = 1 << 29
"""Files up to this size are checked by content before every training; reading larger ones whole would take seconds."""


@dataclass(frozen=True)
class Images:
    """A split of a prepared data set, mapped into memory.

    images: (N, C, H, W) uint8, read-only; labels: (N,) int64, read-only; mean, std: (C,) of the training pixels
    scaled to [0, 1].
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def prepare(recipe: DataRecipe, raw: Path, folder: Path) -> None:
    """Turn the verified files in `raw` into train.arrow, test.arrow and record.json in `folder`.

    Raises:
        CollabpipeError: files missing or broken.
    """
    train, test = READERS[recipe.source](raw)
    if recipe.image_size is not None:
        train, test = ((shrink(images, recipe.image_size), labels) for images, labels in (train, test))
    pixels = train[0]
    about = {
        "classes": list(SOURCES[recipe.source].classes),
        "shape": list(pixels.shape[1:]),
        "mean": [float(pixels[:, c].mean(dtype=np.float64) / 255.0) for c in range(pixels.shape[1])],
        "std": [float(pixels[:, c].std(dtype=np.float64) / 255.0) for c in range(pixels.shape[1])],
    }
    files = {}
    for name, split in (("train.arrow", train), ("test.arrow", test)):
        _write(folder / name, split, about)
        path = folder / name
        files[name] = {"sha256": file_digest(path), "bytes": path.stat().st_size, "images": len(split[1])}
    write_json(
        folder / "record.json",
        {"recipe": recipe.digest, "dataset": recipe.dataset, "files": files, **about},
    )


def _write(path: Path, split: Split, about: dict[str, Any]) -> None:
    images, labels = split
    flat = pa.array(np.ascontiguousarray(images).reshape(-1))
    columns = [pa.FixedSizeListArray.from_arrays(flat, int(np.prod(images.shape[1:]))), pa.array(labels)]
    schema = pa.schema(
        [pa.field("image", columns[0].type), pa.field("label", columns[1].type)],
        metadata={"collabpipe": json.dumps(about, sort_keys=True)},
    )
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        writer.write_batch(pa.record_batch(columns, schema=schema))


def data_record(recipe: DataRecipe, folder: Path) -> dict[str, Any]:
    """The record of the prepared data set in `folder`.

    Raises:
        CollabpipeError: missing, or prepared from another recipe.
    """
    record = read_record(folder / "record.json", "Prepare the data set: collabpipe prepare RECIPE.")
    if record.get("recipe") != recipe.digest:
        raise CollabpipeError(
            f"{folder}: was prepared from recipe {str(record.get('recipe'))[:12]}, not {recipe.digest[:12]}. "
            f"Prepare it again: collabpipe prepare RECIPE."
        )
    return record


def open_images(recipe: DataRecipe, folder: Path, split: str) -> Images:
    """Map `split` ("train" or "test") of the data set in `folder` into memory.

    Raises:
        CollabpipeError: missing, cut short, or prepared from another recipe.
    """
    name = f"{split}.arrow"
    path = folder / name
    record = data_record(recipe, folder)
    try:
        size = path.stat().st_size
        if size != record["files"][name]["bytes"]:
            raise pa.ArrowInvalid(f"{size} bytes where {record['files'][name]['bytes']} belong")
        if size <= VERIFY_BYTES and file_digest(path) != record["files"][name]["sha256"]:
            raise pa.ArrowInvalid("its content was changed after it was prepared")
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise CollabpipeError(f"{path}: cannot be read: {error}. Remove it and prepare the data set again.") from error
    about = json.loads(table.schema.metadata[b"collabpipe"])
    image = table.column("image").chunk(0)
    return Images(
        images=image.flatten().to_numpy(zero_copy_only=True).reshape(-1, *about["shape"]),
        labels=table.column("label").chunk(0).to_numpy(zero_copy_only=True),
        classes=tuple(about["classes"]),
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
    )
