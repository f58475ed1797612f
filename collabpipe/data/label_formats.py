"""Label files of other code bases: what is written where, in CSV, JSON, npy and Parquet.

DivideMix and its descendants keep a JSON list of labels in the order of torchvision, one per training image.
Co-teaching has labels as an array (N, 1), which its descendants save with numpy.save. ELR writes none itself. Other
files hold an index beside each label.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, write_text
from collabpipe.data.labels import LabelFile

INDEX = ("index", "idx")
CLEAN = ("clean", "clean_label", "clean_labels", "clean_label_train", "true_label")
LABEL = ("label", "labels", "noisy", "noisy_label", "noisy_labels", "noise_label", "noise_labels", "noise_label_train")
NAMES = {*INDEX, *CLEAN, *LABEL}
CONVERT = (
    "Save its labels as plain numbers in the order of the training images, for example with "
    "json.dump([int(label) for label in labels], open('labels.json', 'w')), and name that file."
)
CIFAR_N = (
    "is named as CIFAR-N's own file, which is read from the data set's files: set human_labels: true for the data set "
    "and noise: [human-worst] (human-fine for CIFAR-100), and put CIFAR-10_human.pt (CIFAR-100_human.pt) into "
    "data_dir. The files *.npy of CIFAR-N are for TensorFlow: their images are in another order."
)


@dataclass(frozen=True)
class Written:
    """The columns of a label file, each value as it is written; `row` says where in the file a row is."""

    label: Sequence[Any]
    index: Sequence[Any] | None = None
    clean: Sequence[Any] | None = None
    row: Callable[[int], str] = "entry {}".format

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]], row: Callable[[int], str]) -> Written:
        """From columns by name.

        Raises:
            ValueError: no label, several of one meaning, or columns of different lengths.
        """
        found: dict[str, Sequence[Any]] = {}
        for meaning, names in {"index": INDEX, "clean": CLEAN, "label": LABEL}.items():
            there = [name for name in columns if name in names]
            if len(there) > 1:
                raise ValueError(f"it has the columns {' and '.join(there)}. Leave one")
            for name in there:
                found[meaning] = columns[name]
        if "label" not in found:
            raise ValueError(f"it has the columns {', '.join(columns)}. Name that of the labels 'label'")
        if len({len(column) for column in found.values()}) > 1:
            raise ValueError("its columns differ in length. Give each label its index")
        return cls(**found, row=row)


def _pairs(rows: Sequence[Sequence[Any]], row: Callable[[int], str]) -> Written:
    """Rows (n, 1) of labels, or (n, 2) of an index and a label."""
    widths = {len(one) for one in rows}
    if widths == {1}:
        return Written([label for (label,) in rows], row=row)
    if widths == {2}:
        return Written([label for _, label in rows], [index for index, _ in rows], row=row)
    raise ValueError(f"its rows have {min(widths)} to {max(widths)} values. A row is a label, or an index and a label")


def _read_csv(path: Path) -> Written:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        numbered = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    if not numbered:
        raise ValueError("it is empty")
    lines, rows = [number for number, _ in numbered], [row for _, row in numbered]
    header = rows[0]
    for separator in (";", "\t"):
        cells = {cell.strip() for cell in header[0].split(separator)}
        if len(header) == 1 and len(cells) > 1 and NAMES & cells:
            raise ValueError(f"line {lines[0]} is separated by {separator!r}. Separate the columns by commas")
    if not NAMES & set(header):
        return _pairs(rows, lambda one: f"line {lines[one]}")
    for number, row in numbered:
        if len(row) != len(header):
            raise ValueError(f"line {number} has {len(row)} values, and the first line names {len(header)}")
    columns = dict(zip(header, zip(*rows[1:], strict=True), strict=True)) if rows[1:] else dict.fromkeys(header, ())
    return Written.of(columns, lambda one: f"line {lines[one + 1]}")


def _each_key_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of which Python would keep the last value of a key that occurs twice.

    Raises:
        ValueError: a key occurs twice.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} occurs twice. Leave one")
        found[key] = value
    return found


def _read_json(path: Path) -> Written:
    value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_key_once)
    row = "entry {}".format
    if isinstance(value, dict) and any(isinstance(part, list) for part in value.values()):
        return Written.of({name: part for name, part in value.items() if isinstance(part, list)}, row)
    if isinstance(value, dict):
        names = list(value)
        return Written(list(value.values()), names, row=lambda one: f"key {names[one]!r}")
    if not isinstance(value, list):
        raise ValueError("it is no list of labels")
    if value and all(isinstance(part, dict) for part in value):
        return Written.of({name: [part.get(name) for part in value] for name in value[0]}, row)
    return _pairs(value, row) if value and all(isinstance(part, list) for part in value) else Written(value, row=row)


def _read_npy(path: Path) -> Written:
    array = np.load(path, allow_pickle=False)
    row = "entry {}".format
    if array.ndim == 1:
        return Written(array.tolist(), row=row)
    if array.ndim != 2:
        raise ValueError(f"it is an array of shape {array.shape}. Labels are (N,), (N, 1), or (N, 2) with an index")
    return _pairs(array.tolist(), row)


def _read_parquet(path: Path) -> Written:
    table = pq.read_table(path)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    if len(columns) == 1:
        return Written(next(iter(columns.values())), row="row {}".format)
    return Written.of(columns, "row {}".format)


READERS: dict[str, Callable[[Path], Written]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".npy": _read_npy,
    ".parquet": _read_parquet,
}


def read_written(path: Path) -> Written:
    """The columns of a label file, whose name says its format.

    Raises:
        CollabpipeError: of another format, damaged, or without labels; a pickle is never opened.
    """
    if path.stem.lower().startswith(("cifar-10_human", "cifar-100_human")):
        raise CollabpipeError(f"{path}: {CIFAR_N}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise CollabpipeError(
            f"{path}: is of no format that is read: {', '.join(READERS)}. Pickles and files of torch.save can run code "
            f"when they are read, so they are refused. {CONVERT}"
        )
    try:
        return reader(path)
    except (OSError, ValueError, RecursionError, MemoryError, csv.Error, pa.ArrowException) as error:
        remedy = f" {CONVERT}" if path.suffix.lower() == ".npy" else ""
        raise CollabpipeError(f"{path}: cannot be read as labels: {str(error).rstrip('.')}.{remedy}") from error


def is_plain(labels: LabelFile) -> bool:
    """Whether labels are those of the training images from the first on, so that a list of them needs no index."""
    return bool((labels.index == np.arange(len(labels.index))).all())


def _write_csv(path: Path, labels: LabelFile) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("index", "clean", "label", "validation"))
        columns = (labels.index, labels.clean, labels.noisy, labels.validation.astype(int))
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))


def _write_json(path: Path, labels: LabelFile) -> None:
    columns = {"index": labels.index, "clean": labels.clean, "label": labels.noisy}
    plain: Any = {name: column.tolist() for name, column in columns.items()}
    write_text(path, json.dumps(plain["label"] if is_plain(labels) else plain))


def _write_npy(path: Path, labels: LabelFile) -> None:
    array = labels.noisy if is_plain(labels) else np.stack([labels.index, labels.noisy], axis=1)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _write_parquet(path: Path, labels: LabelFile) -> None:
    columns = {"index": labels.index, "clean": labels.clean, "label": labels.noisy, "validation": labels.validation}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


WRITERS: dict[str, Callable[[Path, LabelFile], None]] = {
    "csv": _write_csv,
    "json": _write_json,
    "npy": _write_npy,
    "parquet": _write_parquet,
}
"""By format. CSV and Parquet also hold the clean labels and which images are for validation."""
