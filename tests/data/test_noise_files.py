"""Label files of other code bases: what is read from each format, what is refused and how, and the way back out."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.seeds import numpy_generator
from collabpipe.data import noise_files
from collabpipe.data.fetch import fetch
from collabpipe.data.formats import READERS
from collabpipe.data.image_files import image_files
from collabpipe.data.label_formats import WRITERS, read_written
from collabpipe.data.labels import LabelFile
from collabpipe.data.noise_files import fitted
from collabpipe.model.networks.torchvision_models import torchvision_models
from tests.archives import Small, cifar10, cifar100, fashion_mnist, md5, stl10

CLASSES = ("cat", "dog", "owl", "yak")
CLEAN = np.arange(80) % 4
LABELS = CLEAN.copy()
LABELS[::5] = (LABELS[::5] + 1) % 4


def saved(path: Path, value: Any) -> Path:
    """`value` as its file's name says: text and JSON, arrays by numpy, columns as Parquet."""
    if path.suffix == ".json":
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    elif path.suffix == ".npy":
        np.save(path, value)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(value), path)
    else:
        path.write_text(value)
    return path


def read(path: Path, clean: np.ndarray = CLEAN) -> np.ndarray:
    return fitted(read_written(path), path, "toy", clean, CLASSES)


def savetxt(labels: np.ndarray) -> str:
    out = io.StringIO()
    np.savetxt(out, labels)
    return out.getvalue()


ORDER = numpy_generator(1).permutation(80)
SHUFFLED = list(zip(ORDER.tolist(), LABELS[ORDER].tolist(), strict=True))
KNOWN: dict[str, tuple[str, Any]] = {
    "DivideMix: a list": ("a.json", LABELS.tolist()),
    "Co-teaching: rows of one": ("a.json", LABELS[:, None].tolist()),
    "Co-teaching: an array of rows of one": ("a.npy", LABELS[:, None]),
    "an array": ("a.npy", LABELS.astype(np.uint8)),
    "an array of floats": ("a.npy", LABELS.astype(np.float32)),
    "an array of index and label": ("a.npy", np.array(SHUFFLED)),
    "index and label": ("a.json", SHUFFLED),
    "a mapping from index to label": ("a.json", {str(index): label for index, label in SHUFFLED}),
    "columns": ("a.json", {"clean_label": CLEAN.tolist(), "noisy_label": LABELS.tolist(), "seed": 3}),
    "lists and what else is kept": ("a.json", {"noise_labels": LABELS.tolist(), "open_noise": []}),
    "records": ("a.json", [{"index": index, "label": label} for index, label in SHUFFLED]),
    "names of classes": ("a.json", [CLASSES[label] for label in LABELS]),
    "CSV": ("a.csv", "index,label\n" + "".join(f"{index},{label}\n" for index, label in SHUFFLED)),
    "CSV of names": ("a.csv", "\ufefflabel, index\r\n" + "".join(f"{CLASSES[n]}, {i}\r\n" for i, n in SHUFFLED)),
    "CSV without names": ("a.csv", "".join(f"{index},{label}\n" for index, label in SHUFFLED)),
    "numpy.savetxt": ("a.csv", savetxt(LABELS)),
    "Parquet": ("a.parquet", {"index": ORDER, "noisy": LABELS[ORDER], "clean": CLEAN[ORDER]}),
    "Parquet of one column": ("a.parquet", {"y": LABELS}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_each_format_is_read_to_the_labels_in_order(name: str, tmp_path: Path) -> None:
    file, value = KNOWN[name]

    assert read(saved(tmp_path / file, value)).tolist() == LABELS.tolist()


def with_(value: Any, at: int = 7) -> list[Any]:
    labels: list[Any] = LABELS.tolist()
    labels[at] = value
    return labels


def csv_of(line: str, at: int = 7) -> str:
    lines = [f"{index},{label}" for index, label in enumerate(LABELS)]
    lines[at] = line
    return "\n".join(["index,label", *lines]) + "\n"


BAD: dict[str, tuple[str, Any, str]] = {
    "too few": ("a.json", LABELS.tolist()[:79], "has 79 labels, and the training set of toy has 80 images"),
    "none": ("a.json", [], "has 0 labels"),
    "unknown class": ("a.json", with_(4), "entry 7: label 4 is no class of toy. Allowed: 0 to 3"),
    "misspelt class": ("a.json", with_("ow"), "entry 7: label 'ow' is no class of toy. Allowed: 0 to 3, or a class"),
    "what was meant": ("a.json", with_("dogs"), "Did you mean 'dog'?"),
    "negative": ("a.npy", np.array(with_(-1)), "entry 7: label -1 is no class"),
    "NaN in JSON": ("a.json", with_(float("nan")), "entry 7: label nan is no class"),
    "NaN in an array": ("a.npy", np.array(with_(np.nan)), "entry 7: label nan is no class"),
    "infinite": ("a.json", with_(float("inf")), "entry 7: label inf is no class"),
    "a part of a class": ("a.json", with_(1.5), "entry 7: label 1.5 is no class"),
    "true": ("a.json", with_(True), "entry 7: label True is no class"),
    "null": ("a.json", with_(None), "entry 7: label None is no class"),
    "null in Parquet": ("a.parquet", {"label": pa.array(with_(None))}, "row 7: label None is no class"),
    "nothing in a line": ("a.csv", csv_of("7,"), "line 9: label '' is no class"),
    "NaN in a line": ("a.csv", csv_of("7,nan"), "line 9: label 'nan' is no class"),
    "index twice": ("a.csv", csv_of("3,0"), "line 9: index 3 occurs twice, first in line 5. Leave one."),
    "a key twice": ("a.json", '{"3": 1, "4": 0, "3": 2}', "key '3' occurs twice. Leave one."),
    "semicolons": ("a.csv", "index;label\n0;1\n", "line 1 is separated by ';'. Separate the columns by commas."),
    "tabs": ("a.csv", "index\tlabel\n0\t1\n", "line 1 is separated by '\\t'. Separate the columns by commas."),
    "index beyond": ("a.csv", csv_of("80,0"), "line 9: index '80' is no image of toy. Allowed: 0 to 79."),
    "index below": ("a.csv", csv_of("-1,0"), "line 9: index '-1' is no image"),
    "no index": ("a.csv", csv_of("x,0"), "line 9: index 'x' is no image"),
    "file names": ("a.json", {"cat/1.png": 0, "cat/2.png": 0}, "key 'cat/1.png': index 'cat/1.png' is no image"),
    "a short line": ("a.csv", csv_of("7"), "line 9 has 1 values, and the first line names 2"),
    "no columns of labels": ("a.csv", "index,class\n0,1\n", "it has the columns index, class. Name that of the labels"),
    "two columns of labels": ("a.json", {"label": [1], "noisy": [1]}, "it has the columns label and noisy. Leave one."),
    "columns of two lengths": ("a.json", {"label": [1], "index": [1, 2]}, "its columns differ in length"),
    "one-hot": ("a.npy", np.eye(4)[LABELS], "its rows have 4 to 4 values. A row is a label, or an index and a label"),
    "images": ("a.npy", np.zeros((80, 2, 2)), "it is an array of shape (80, 2, 2)"),
    "a pickled array": ("a.npy", np.array([[1], [2, 3]], dtype=object), "Object arrays cannot be loaded"),
    "a number": ("a.json", 3, "it is no list of labels"),
    "an empty CSV": ("a.csv", "", "it is empty"),
    "a pickle": ("a.pkl", "", "is of no format that is read: .csv, .json, .npy, .parquet. Pickles and files of torch"),
    "torch": ("labels.pt", "", "Save its labels as plain numbers"),
    "CIFAR-N": ("CIFAR-100_human.pt", "", "set human_labels: true for the data set and noise: [human-worst]"),
    "CIFAR-N for TensorFlow": ("CIFAR-10_human_ordered.npy", 1, "their images are in another order"),
    "shuffled": (
        "a.json",
        LABELS[ORDER].tolist(),
        "of its labels are the clean ones of toy, and a shuffled file would",
    ),
    "wrong clean labels": (
        "a.json",
        {"clean": np.roll(CLEAN, 1).tolist(), "label": LABELS.tolist()},
        "its clean labels differ from those of toy in 80 of 80 rows, first in entry 0: yak where image 0 is cat",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_file_is_refused_with_its_place_and_what_to_do(name: str, tmp_path: Path) -> None:
    file, value, words = BAD[name]
    path = saved(tmp_path / file, value)

    with pytest.raises(CollabpipeError) as caught:
        read(path)

    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_damaged_files_are_refused_without_a_traceback(tmp_path: Path) -> None:
    for suffix in (".json", ".npy", ".parquet", ".csv"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"\xff\xfe\x00 damaged")
        with pytest.raises(CollabpipeError, match="cannot be read as labels"):
            read(path)


def test_no_pickle_in_an_array_is_run(tmp_path: Path) -> None:
    class Planted:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'planted'}",)

    np.save(tmp_path / "a.npy", np.array([Planted()], dtype=object))

    with pytest.raises(CollabpipeError, match=r"json\.dump"):
        read(tmp_path / "a.npy")
    assert not (tmp_path / "planted").exists()


def test_many_faults_are_told_by_the_first_five_and_their_number(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json", [9] * 80)

    with pytest.raises(CollabpipeError) as caught:
        read(path)

    assert str(caught.value).count("is no class") == 5
    assert "75 more: 80 in all" in str(caught.value)


def test_a_clean_column_proves_an_order_that_agreement_cannot(tmp_path: Path) -> None:
    chance = numpy_generator(5).permutation(LABELS)

    proven = read(saved(tmp_path / "a.json", {"clean": CLEAN.tolist(), "label": chance.tolist()}))

    assert proven.tolist() == chance.tolist()


def test_labels_that_are_all_wrong_by_a_rule_are_no_sign_of_another_order(tmp_path: Path) -> None:
    paired = (CLEAN + 1) % 4

    assert read(saved(tmp_path / "a.npy", paired)).tolist() == paired.tolist()


# --- out and in again -------------------------------------------------------------------------------------------------


@st.composite
def label_files(draw: st.DrawFn) -> tuple[np.ndarray, LabelFile]:
    """The clean labels of a training set, and a label file of some or all of its images."""
    clean = draw(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 3)))
    taken = draw(
        st.one_of(st.just([True] * len(clean)), st.lists(st.booleans(), min_size=len(clean), max_size=len(clean)))
    )
    index = np.flatnonzero(taken[: len(clean)])
    noisy = draw(hnp.arrays(np.int64, len(index), elements=st.integers(0, 3)))
    validation = draw(hnp.arrays(np.bool_, len(index)))
    return clean, LabelFile(index, clean[index], noisy, validation)


@pytest.mark.parametrize("form", WRITERS)
@given(made=label_files())
@settings(max_examples=60, deadline=None)
def test_what_is_exported_is_read_back_as_it_was(
    form: str, made: tuple[np.ndarray, LabelFile], tmp_path_factory: pytest.TempPathFactory
) -> None:
    clean, labels = made
    path = tmp_path_factory.mktemp("out") / f"labels.{form}"

    WRITERS[form](path, labels)

    written = read_written(path)
    index = np.arange(len(labels.index)) if written.index is None else np.array(written.index, dtype=np.int64)
    assert index.tolist() == labels.index.tolist()
    assert np.array(written.label, dtype=np.int64).tolist() == labels.noisy.tolist()
    assert form not in ("csv", "parquet") or written.clean is not None
    if written.clean is not None:  # it proves the order, so that no labels are too odd
        found = fitted(written, path, "toy", clean, CLASSES)
        assert found[labels.index].tolist() == labels.noisy.tolist()
        assert (np.delete(found, labels.index) == -1).all()


def test_all_images_are_exported_as_the_list_that_other_code_reads(tmp_path: Path) -> None:
    labels = LabelFile(np.arange(80), CLEAN, LABELS, np.zeros(80, dtype=bool))

    for form in ("json", "npy"):
        WRITERS[form](tmp_path / f"a.{form}", labels)

    assert json.loads((tmp_path / "a.json").read_text()) == LABELS.tolist()  # as DivideMix reads its noise_file
    assert np.load(tmp_path / "a.npy").tolist() == LABELS.tolist()


# --- the order of the sources -----------------------------------------------------------------------------------------


@pytest.fixture
def torchvision_order(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], tuple[Any, list[int]]]:
    """The training images and labels in the order in which torchvision itself reads them; it checks no sums."""
    torchvision_models()  # beside a CPU build of torch, torchvision is not imported without it
    from torchvision import datasets

    def order(kind: str, root: Path) -> tuple[Any, list[int]]:
        of = getattr(datasets, kind)
        for name in ("_check_integrity", "_check_exists"):
            monkeypatch.setattr(of, name, lambda _: True, raising=False)
        monkeypatch.setattr(of, "_load_meta", lambda _: None, raising=False)
        if kind == "ImageFolder":
            images = of(root)
            return [path for path, _ in images.samples], images.targets
        images = of(root, split="train") if kind == "STL10" else of(root, train=True)
        labels = images.labels if kind == "STL10" else images.targets
        return np.stack([np.asarray(image) for image in images.data]), [int(label) for label in labels]

    return order


@pytest.mark.parametrize(
    ("kind", "small", "folder"),
    [
        ("CIFAR10", cifar10(), "."),
        ("CIFAR100", cifar100(), "."),
        ("STL10", stl10(), "."),
        ("FashionMNIST", fashion_mnist(), "FashionMNIST/raw"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_order_of_a_prepared_data_set_is_that_of_torchvision(
    kind: str, small: Small, folder: str, tmp_path: Path, torchvision_order: Callable[[str, Path], Any]
) -> None:
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, content in small.files.items():
        files[name] = place / name
        files[name].write_bytes(content)
        if name.endswith(".tar.gz"):
            with tarfile.open(files[name]) as archive:
                archive.extractall(place, filter="data")
        else:
            (place / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
    train, _ = READERS[small.source](small.recipe(), files)
    ours = np.concatenate(list(train.parts()))

    images, labels = torchvision_order(kind, tmp_path)

    assert labels == train.labels.tolist()
    found = images.transpose(0, 3, 1, 2) if kind.startswith("CIFAR") else images
    assert (found.reshape(ours.shape) == ours).all()
    assert len({image.tobytes() for image in ours}) == len(ours), "no two are equal, so that order shows"


FOLDERS = {
    "images": [""],
    "videos": ["10/", "9/", " 1/", "-2/"],
    "images and videos, videos in videos": ["", "10/", "9/", "9/1/", "9-1/"],
}


@pytest.mark.parametrize("layout", FOLDERS)
def test_a_list_for_an_image_folder_is_in_the_order_of_torchvision(
    layout: str, tmp_path: Path, torchvision_order: Callable[[str, Path], Any]
) -> None:
    for split in ("train", "test"):
        for name in ("real", "fake", "Other"):
            folders = [folder and f"{name}{folder}" for folder in FOLDERS[layout]]
            for file in (f"{folder}{file}.png" for folder in folders for file in ("10", "9", "a", "B")):
                path = tmp_path / split / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()

    paths, labels = torchvision_order("ImageFolder", tmp_path / "train")

    images = {name: path for name, path in image_files(tmp_path, None).items() if name.startswith("train/")}
    clean = np.array([("Other", "fake", "real").index(name.split("/")[1]) for name in images])
    order = noise_files.torchvision_order(list(images), levels=False)
    assert [str(list(images.values())[position]) for position in order] == paths
    assert clean[order].tolist() == labels
    assert (order == np.arange(len(order))).all() == (layout in ("images", "videos"))
    said = saved(tmp_path / "a.json", list(range(len(labels))))
    numbers = np.arange(len(labels))
    found = fitted(read_written(said), said, "toy", numbers[np.argsort(order)], [str(n) for n in numbers], order)
    assert found[order].tolist() == numbers.tolist()


# --- CIFAR-N ----------------------------------------------------------------------------------------------------------


def prepared_human(small: Small, tmp_path: Path) -> Any:
    files = {}
    for name, content in small.files.items():
        files[name] = tmp_path / name
        files[name].write_bytes(content)
    return READERS["cifar100"](small.recipe(), files)[0].annotations["human_fine"]


def test_the_file_of_cifar_n_from_before_2023_is_known_by_its_coarse_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coarse = cifar100().annotations["coarse"]

    new = prepared_human(cifar100(human=True, clean_coarse_label=coarse), tmp_path)
    assert "March 2023" not in capsys.readouterr().err
    old = prepared_human(cifar100(human=True, clean_coarse_label=coarse % 12), tmp_path)

    assert "CIFAR-100_human.pt: is CIFAR-100N's file from before March 2023" in capsys.readouterr().err
    assert (new == old).all()


def test_a_wrong_sum_of_that_file_tells_of_the_older_one(tmp_path: Path) -> None:
    small = cifar100(human=True)
    (archive,) = (name for name in small.files if name.endswith(".gz"))
    for name, content in small.files.items():
        (tmp_path / name).write_bytes(content)
    recipe = small.recipe(accept={archive: md5(small.files[archive])})

    with pytest.raises(CollabpipeError, match="The authors replaced this file in March 2023"):
        fetch(recipe, tmp_path / "raw", tmp_path, [], offline=True)
