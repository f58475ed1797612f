"""The prepared form of a data set: two Arrow files that are memory-mapped and never copied, labels, a record."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collabpipe.catalogue.sources import SOURCES
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, file_digest, read_record, sealed, write_json
from collabpipe.data.formats import READERS
from collabpipe.data.raw import verified_files
from collabpipe.data.split import Split, channel_statistics
from collabpipe.host.folder_lock import locked
from collabpipe.plan.paths import ANNOTATIONS, FETCHED, RECORD, TEST, TRAIN
from collabpipe.plan.recipes import DataRecipe
from collabpipe.plan.record_types import DataFile, DataRecord, FetchedRecord, Origin, Pixels

TEXTS = ("split", "file", "group")
"""Columns of the annotations that are no labels."""
GROUP, OWN_VALIDATION = "group", "own_validation"
"""What the annotations of training images say besides labels: the group's number; 1 in the data set's own validation
set."""
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
    """Turn the verified files that `raw` tells of into the prepared form in `folder`.

    That is train.arrow, test.arrow, annotations.parquet and record.json. A second process that prepares into `folder`
    waits for the first.

    Raises:
        CollabpipeError: files missing, changed or broken.
    """
    files = verified_files(recipe, raw)
    source = SOURCES[recipe.source]
    read = source.read or READERS[recipe.source]
    # The prepared form has training images: those of a set that is only tested on are its test images.
    names = ("test",) if recipe.test_only else ("train", "test", "val")
    splits = dict(zip(names, read(recipe, files), strict=False))
    splits.setdefault("train", splits["test"])
    if recipe.image_size is not None:
        splits = {name: split.shrunk(recipe.image_size) for name, split in splits.items()}
    classes = source.classes or splits["train"].classes
    for name, split in splits.items():
        _check_labels(split.labels, len(classes), f"{recipe.source} ({name})")
    shape, mean, std = channel_statistics(splits["train"])
    about: Pixels = {"classes": list(classes), "shape": list(shape), "mean": mean, "std": std}
    made_from: Origin = {"md5": None, "images": None}
    if files:
        fetched: FetchedRecord = read_record(raw / FETCHED)
        made_from = {"md5": fetched.get("md5"), "images": fetched.get("images")}
    with locked(folder, "prepares"):
        for left in folder.glob(".*.part"):  # by a process that was killed: gigabytes that nobody would ever use
            left.unlink()
        (folder / RECORD).unlink(missing_ok=True)  # an old one would vouch for what is about to be replaced
        written = write_files(folder, splits, shape, about)
        record: DataRecord = {
            "recipe": recipe.digest,
            "dataset": recipe.dataset,
            "classes": about["classes"],
            "shape": about["shape"],
            "mean": about["mean"],
            "std": about["std"],
            "files": written,
            "made_from": made_from,
        }
        if source.coarse:
            record["coarse_classes"] = list(source.coarse)
        write_json(folder / RECORD, sealed(record))


def write_files(folder: Path, splits: dict[str, Split], shape: tuple[int, ...], about: Pixels) -> dict[str, DataFile]:
    """Write the prepared form of `splits` but for the record, which is to say of the files what is returned.

    A validation set of its own follows the training set in train.arrow.
    """
    train, own = splits["train"], splits.get("val")
    written: dict[str, DataFile] = {}
    for name, split in ((TRAIN, train.followed_by(own) if own else train), (TEST, splits["test"])):
        _write_images(folder / name, split, shape, about)
        written[name] = {**_file_record(folder / name), "images": len(split.labels)}
    if own:
        written[TRAIN]["validation"] = len(own.labels)
    table = _annotations(splits)
    with atomic_path(folder / ANNOTATIONS) as temporary:
        pq.write_table(table, temporary)
    written[ANNOTATIONS] = {**_file_record(folder / ANNOTATIONS), "columns": table.column_names}
    return written


def _annotations(splits: dict[str, Split]) -> pa.Table:
    """One row per training image; of a source of the user's own, one row per image of every split."""
    if not splits["train"].classes:
        return pa.table({"label": splits["train"].labels, **splits["train"].annotations})
    tables = []
    for name in (name for name in ("train", "val", "test") if name in splits):
        split = splits[name]
        texts = {column: values for column, values in (("file", split.files), ("group", split.groups)) if values}
        tables.append(pa.table({"split": [name] * len(split.labels), **texts, "label": split.labels}))
    return pa.concat_tables(tables)


def _check_labels(labels: NDArray[np.int64], classes: int, origin: str) -> None:
    if not len(labels) or labels.min() < 0 or labels.max() >= classes:
        found = f"{labels.min()} to {labels.max()}" if len(labels) else "none"
        raise CollabpipeError(
            f"{origin}: has labels {found} where 0 to {classes - 1} belong. Fetch the data set again."
        )


def _file_record(path: Path) -> DataFile:
    return {"sha256": file_digest(path), "bytes": path.stat().st_size}


def _write_images(path: Path, split: Split, shape: tuple[int, ...], about: Pixels) -> None:
    """One record batch, so that it is mapped in one piece, without ever holding its pixels together.

    The file is laid out with pixels of zero, which take no memory: nobody touches the pages that np.zeros stands for.
    Then the parts are written over them.
    """
    number = len(split.labels)
    flat = pa.array(np.zeros(number * math.prod(shape), dtype=np.uint8))
    columns = [pa.FixedSizeListArray.from_arrays(flat, math.prod(shape)), pa.array(split.labels)]
    schema = pa.schema(
        [pa.field("image", columns[0].type), pa.field("label", columns[1].type)],
        metadata={"collabpipe": json.dumps(about, sort_keys=True)},
    )
    large = pa.ipc.IpcWriteOptions(allow_64bit=True)  # ImageNet32 has more than 2**31 pixels
    with atomic_path(path) as temporary:
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema, options=large) as writer:
            writer.write_batch(pa.record_batch(columns, schema=schema))
        misfit = CollabpipeError(
            f"{path}: the source does not have {number} images of shape {shape}, one per label. "
            "Fetch the data set again."
        )
        written = 0
        with temporary.open("r+b") as file:
            file.seek(_pixel_offset(temporary))
            for part in split.parts():
                written += len(part)
                if part.shape[1:] != shape or written > number:
                    raise misfit
                file.write(np.ascontiguousarray(part).data)
        if written != number:
            raise misfit


def _pixel_offset(path: Path) -> int:
    """Where in an Arrow file the pixels begin, in bytes."""
    with pa.memory_map(str(path)) as source:
        base = source.read_buffer(1).address
        pixels = pa.ipc.open_file(source).get_batch(0).column("image").flatten().buffers()[1]
        return int(pixels.address - base)


def data_record(recipe: DataRecipe, folder: Path) -> DataRecord:
    """The record of the prepared data set in `folder`.

    Raises:
        CollabpipeError: missing, or prepared from another recipe.
    """
    record: DataRecord = read_record(folder / RECORD, "Prepare the data set: collabpipe prepare RECIPE.")
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


def read_annotations(recipe: DataRecipe, folder: Path) -> dict[str, NDArray[np.int64]]:
    """What is known of the images in train.arrow by column, (N,) int64 each.

    `label` always; `coarse` (CIFAR-100); `human_aggre`, `human_random1` to 3, `human_worst` (CIFAR-10) and `human_fine`
    (CIFAR-100) where the recipe has `human_labels`; `group` and `own_validation` where the data set has them.

    Raises:
        CollabpipeError: missing, changed, or prepared from another recipe.
    """
    table = _rows(_read_annotations(recipe, folder), "train")
    found = {name: table.column(name).to_numpy() for name in table.column_names if name not in TEXTS}
    if GROUP in table.column_names:
        found[GROUP] = np.unique(table.column(GROUP).to_numpy(), return_inverse=True)[1]
    if "split" in table.column_names and (own := table.column("split").to_numpy() == "val").any():
        found[OWN_VALIDATION] = own.astype(np.int64)
    return found


def file_names(recipe: DataRecipe, folder: Path, split: str) -> list[str] | None:
    """The file of each image of `split` ("train" or "test"), relative to data_dir; None if the source has none."""
    return _texts(recipe, folder, split, "file")


def group_names(recipe: DataRecipe, folder: Path, split: str) -> list[str] | None:
    """The group of each image of `split` ("train" or "test"); None if the images have none."""
    return _texts(recipe, folder, split, GROUP)


def _texts(recipe: DataRecipe, folder: Path, split: str, column: str) -> list[str] | None:
    table = _read_annotations(recipe, folder)
    return _rows(table, split).column(column).to_pylist() if column in table.column_names else None


def _rows(table: pa.Table, split: str) -> pa.Table:
    """The rows of the images in the Arrow file of `split`. Without a column `split` all rows are training images."""
    if "split" not in table.column_names:
        return table
    test = pc.equal(table["split"], "test")
    return table.filter(test if split == "test" else pc.invert(test))


def _read_annotations(recipe: DataRecipe, folder: Path) -> pa.Table:
    path = folder / ANNOTATIONS
    record = data_record(recipe, folder)
    try:
        if file_digest(path) != record["files"][ANNOTATIONS]["sha256"]:
            raise pa.ArrowInvalid("its content was changed after it was prepared")
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CollabpipeError(f"{path}: cannot be read: {error}. Remove it and prepare the data set again.") from error
