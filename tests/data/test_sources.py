"""Every source, from a small archive in its true format on a web server to the prepared form, to the last pixel."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from collabpipe.catalogue.sources import SOURCES
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import read_json
from collabpipe.data.fetch import fetch
from collabpipe.data.formats import READERS
from collabpipe.data.prepared import data_record, open_images, prepare, read_annotations
from collabpipe.plan.recipes import DataRecipe
from tests.archives import SMALL, Small, cifar10, cifar100, imagenet32, md5, serving, stl10


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def placed(small: Small, folder: Path) -> Path:
    """The small files as a user's own copies."""
    folder.mkdir(parents=True)
    for name, content in small.files.items():
        (folder / name).write_bytes(content)
    return folder


def prepared(small: Small, root: Path, recipe: DataRecipe | None = None) -> DataRecipe:
    """Prepare the user's own copies in `root`."""
    recipe = recipe or small.recipe()
    fetch(recipe, root / "raw", placed(small, root / "own"))
    prepare(recipe, root / "raw", root)
    return recipe


@pytest.fixture(params=SMALL, scope="module")
def small(request: pytest.FixtureRequest) -> Small:
    return SMALL[request.param]()


def test_the_table_and_the_readers_name_the_same_sources() -> None:
    assert set(SOURCES) == set(READERS)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_has_distinct_classes_files_and_sums(name: str) -> None:
    source = SOURCES[name]

    files = [file.name for file in source.all_files]
    sums = [sum for file in source.all_files for sum in (file.md5, *file.also)]
    assert len(set(source.classes)) == len(source.classes)
    assert len(set(files)) == len(files)
    assert len(set(sums)) == len(sums)
    assert all(re.fullmatch("[0-9a-f]{32}", sum) for sum in sums)
    for address in (*source.addresses, *(a for file in source.all_files for a in file.addresses)):
        assert re.fullmatch(r"https?://.*/", address)


def test_the_numbers_of_classes_are_known() -> None:
    numbers = {"digits": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100, "stl10": 10, "imagenet32": 1000}
    assert {name: len(SOURCES[name].classes) for name in numbers} == numbers
    assert len(SOURCES["cifar100"].coarse) == 20


def test_from_the_server_to_the_prepared_form(small: Small, tmp_path: Path) -> None:
    recipe = small.recipe()
    with serving(small.files) as server:
        mirrors = [server.address]
        if small.source == "imagenet32" and "val_data.npz" in small.files:
            for name, content in small.files.items():  # the npz files are for the user to place
                (tmp_path / "raw").mkdir(exist_ok=True)
                (tmp_path / "raw" / name).write_bytes(content)
        fetch(recipe, tmp_path / "raw", mirrors=mirrors)
    prepare(recipe, tmp_path / "raw", tmp_path)

    record = read_json(tmp_path / "raw" / "fetched.json")
    sums = {name: md5(content) for name, content in small.files.items()}
    made_from = {"folder": None, "md5": sums, "images": None}
    assert record == {"recipe": recipe.digest, "source": small.source, "accepted": sums, **made_from}
    for split, (images, labels) in (("train", small.train), ("test", small.test)):
        found = open_images(recipe, tmp_path, split)
        assert (found.images == images).all()
        assert (found.labels == labels).all()
        assert found.classes == SOURCES[small.source].classes
        scaled = small.train[0].transpose(1, 0, 2, 3).reshape(images.shape[1], -1) / 255
        assert found.mean == pytest.approx(tuple(scaled.mean(axis=1)), rel=1e-12)
        assert found.std == pytest.approx(tuple(scaled.std(axis=1)), rel=1e-12)
    annotations = read_annotations(recipe, tmp_path)
    assert annotations.keys() == {"label"} | small.annotations.keys()
    for name, labels in ({"label": small.train[1]} | small.annotations).items():
        assert annotations[name].dtype == np.int64
        assert (annotations[name] == labels).all()


def test_own_files_are_used_where_they_lie(small: Small, tmp_path: Path) -> None:
    recipe = prepared(small, tmp_path)

    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [".lock", "fetched.json", "sums.json"]
    assert read_json(tmp_path / "raw" / "fetched.json")["folder"] == str(tmp_path / "own")
    assert (open_images(recipe, tmp_path, "train").images == small.train[0]).all()


def test_own_files_that_change_after_the_fetch_are_refused(small: Small, tmp_path: Path) -> None:
    recipe = small.recipe()
    name = next(iter(small.files))
    fetch(recipe, tmp_path / "raw", placed(small, tmp_path / "own"))
    (tmp_path / "own" / name).write_bytes(small.files[name][:-1] + b"?")

    with pytest.raises(CollabpipeError, match="wrong sum"):
        prepare(recipe, tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def unpacked(small: Small, folder: Path) -> dict[str, str]:
    """Unpack the small archive as a user does, with all that is in it; the sums of its files."""
    archive = next(content for name, content in small.files.items() if name.endswith(".tar.gz"))
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        members.extractall(folder, filter="data")
    for name in small.files.keys() - {"cifar-10-python.tar.gz", "cifar-100-python.tar.gz", "stl10_binary.tar.gz"}:
        (folder / name).write_bytes(small.files[name])
    names = [file.name for file in (*SOURCES[small.source].instead, *SOURCES[small.source].human)]
    return {path.name: md5(path.read_bytes()) for path in folder.rglob("*") if path.name in names}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    "small", [cifar10(), cifar10(human=True), cifar100(), stl10()], ids=lambda small: "+".join(small.files)
)
def test_unpacked_archives_are_used_where_they_lie(small: Small, inside: bool, tmp_path: Path) -> None:
    sums = unpacked(small, tmp_path / "own")
    recipe = small.recipe(accept=sums)
    (top,) = (path for path in (tmp_path / "own").iterdir() if path.is_dir())
    if inside:
        for path in tmp_path.joinpath("own").glob("*.pt"):
            path.rename(top / path.name)
    fetch(recipe, tmp_path / "raw", top if inside else tmp_path / "own")
    prepare(recipe, tmp_path / "raw", tmp_path)

    assert read_json(tmp_path / "raw" / "fetched.json")["md5"] == sums
    assert (open_images(recipe, tmp_path, "train").images == small.train[0]).all()
    assert (open_images(recipe, tmp_path, "test").labels == small.test[1]).all()


def test_an_unpacked_archive_of_other_sums_is_refused_file_by_file(tmp_path: Path) -> None:
    sums = unpacked(cifar10(), tmp_path / "own")

    with pytest.raises(CollabpipeError) as caught:
        fetch(cifar10().recipe(accept={}), tmp_path / "raw", tmp_path / "own")

    for name, found in sums.items():
        path = tmp_path / "own" / "cifar-10-batches-py" / name
        assert f"{path}: wrong sum. Expected md5 " in str(caught.value)
        assert f"accept: {{{name}: {found}}}" in str(caught.value)


def test_unpacked_files_without_a_published_sum_are_told_with_what_to_do(tmp_path: Path) -> None:
    small = SMALL["fashion_mnist"]()
    (tmp_path / "own").mkdir()
    for name, content in small.files.items():
        (tmp_path / "own" / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))

    with pytest.raises(CollabpipeError) as caught:
        fetch(small.recipe(), tmp_path / "raw", tmp_path / "own")

    path = tmp_path / "own" / "train-images-idx3-ubyte"
    assert f"{path} is the unpacked file, of which no sum is published: pack it (gzip --keep {path})" in str(
        caught.value
    )


def test_imagenet32_is_found_in_its_archives_folders(tmp_path: Path) -> None:
    small = imagenet32(packed=True)
    for name, content in small.files.items():
        folder = tmp_path / "own" / ("Imagenet32_val_npz" if name.startswith("val") else "Imagenet32_train_npz")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    fetch(small.recipe(), tmp_path / "raw", tmp_path / "own")
    prepare(small.recipe(), tmp_path / "raw", tmp_path)

    assert (open_images(small.recipe(), tmp_path, "test").images == small.test[0]).all()


def test_imagenet32_of_other_sums_is_told_file_by_file_with_the_way_to_accept_it(tmp_path: Path) -> None:
    small = imagenet32()
    placed(small, tmp_path / "own")

    with pytest.raises(CollabpipeError) as caught:
        fetch(small.recipe(accept={}), tmp_path / "raw", tmp_path / "own")

    for name, content in small.files.items():
        assert f"accept: {{{name}: {md5(content)}}}" in str(caught.value)
    assert "or, if you trust this one, accept its sum" in str(caught.value)
    assert not (tmp_path / "raw" / "fetched.json").exists()


def test_imagenet32_cannot_be_downloaded_and_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(CollabpipeError) as caught:
        fetch(imagenet32().recipe(accept={}), tmp_path / "raw")

    assert "imagenet32 cannot be downloaded" in str(caught.value)
    assert "https://image-net.org" in str(caught.value)
    assert "train_data_batch_10  md5 46ad60a1144aaf97a143914453b0dabb" in str(caught.value)
    assert "data_dir" in str(caught.value)


def test_a_name_in_accept_that_is_no_file_is_refused_with_the_nearest(tmp_path: Path) -> None:
    recipe = cifar10().recipe(accept={"cifar-10-python.tar": "0" * 32})

    with pytest.raises(CollabpipeError) as caught:
        fetch(recipe, tmp_path)

    assert "accept: cifar-10-python.tar is no file of cifar10" in str(caught.value)
    assert "Did you mean 'cifar-10-python.tar.gz'?" in str(caught.value)
    assert "CIFAR-10_human.pt" in str(caught.value)


def test_an_accepted_sum_is_held_to_and_the_published_one_no_longer(tmp_path: Path) -> None:
    small = cifar10()
    recipe = small.recipe(accept={"cifar-10-python.tar.gz": "0" * 32})

    with pytest.raises(
        CollabpipeError, match=f"Expected md5 {'0' * 32}, found {md5(small.files['cifar-10-python.tar.gz'])}"
    ):
        fetch(recipe, tmp_path / "raw", placed(small, tmp_path / "own"))


def test_images_are_scaled_down_part_by_part(tmp_path: Path) -> None:
    small = stl10()
    recipe = prepared(small, tmp_path, small.recipe(image_size=32))

    means = small.train[0].reshape(-1, 3, 32, 3, 32, 3).mean(axis=(3, 5))
    assert (np.abs(open_images(recipe, tmp_path, "train").images - means) <= 0.5).all()


def test_superclasses_are_recorded_with_their_names(tmp_path: Path) -> None:
    recipe = prepared(cifar100(), tmp_path)

    record = data_record(recipe, tmp_path)
    assert record["coarse_classes"][-1] == "vehicles_2"
    assert record["files"]["annotations.parquet"]["columns"] == ["label", "coarse"]


def test_annotations_that_were_changed_are_refused(tmp_path: Path) -> None:
    recipe = prepared(cifar100(), tmp_path)
    path = tmp_path / "annotations.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    with pytest.raises(CollabpipeError, match=r"annotations\.parquet: cannot be read: its content was changed"):
        read_annotations(recipe, tmp_path)
    path.unlink()
    with pytest.raises(CollabpipeError, match=r"annotations\.parquet: cannot be read"):
        read_annotations(recipe, tmp_path)


def test_files_of_another_source_are_not_prepared(tmp_path: Path) -> None:
    prepared(cifar100(), tmp_path)

    with pytest.raises(CollabpipeError, match="holds 'cifar100', not 'cifar10'"):
        prepare(cifar10().recipe(), tmp_path / "raw", tmp_path / "out")


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    small = stl10(**{"train_y.bin": bytes([0] * 24)})

    with pytest.raises(CollabpipeError, match=re.escape("stl10 (train): has labels -1 to -1 where 0 to 9 belong")):
        prepared(small, tmp_path)
    assert not list(tmp_path.glob("*.arrow"))


def test_a_refused_preparation_leaves_nothing_that_could_be_opened(tmp_path: Path) -> None:
    recipe = prepared(imagenet32(), tmp_path)
    rows = np.zeros((3, 3072), np.uint8)
    broken = imagenet32(train_data_batch_3=pickle.dumps({"data": rows, "labels": [1, 2, 3, 4]}))
    for name, content in broken.files.items():
        (tmp_path / "own" / name).write_bytes(content)
    fetch(broken.recipe(), tmp_path / "raw", tmp_path / "own")

    with pytest.raises(CollabpipeError, match=r"does not have 40 images of shape \(3, 32, 32\), one per label"):
        prepare(broken.recipe(), tmp_path / "raw", tmp_path)

    for either in (recipe, broken.recipe()):
        with pytest.raises(CollabpipeError, match=r"record\.json: is missing"):
            open_images(either, tmp_path, "train")
    assert not list(tmp_path.glob(".*.part"))


def test_the_real_fashion_mnist_has_its_sums_sizes_and_statistics(tmp_path: Path) -> None:
    debian = Path("/usr/share/datasets/fashion-mnist")
    if not debian.exists():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    recipe = DataRecipe(dataset="fashion", source="fashion_mnist", image_size=None)

    fetch(recipe, tmp_path / "raw", debian)
    prepare(recipe, tmp_path / "raw", tmp_path)

    assert json.loads((tmp_path / "raw" / "fetched.json").read_text())["accepted"] == {}
    for split, size in (("train", 60_000), ("test", 10_000)):
        found = open_images(recipe, tmp_path, split)
        assert found.images.shape == (size, 1, 28, 28)
        assert (np.bincount(found.labels) == size // 10).all()
        # As published with the data set.
        assert found.mean == pytest.approx((0.2860,), abs=5e-5)
        assert found.std == pytest.approx((0.3530,), abs=5e-5)
