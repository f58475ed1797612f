"""Images from outside a data set: channels and sizes as its own images are prepared, and files that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from collabpipe.common.errors import CollabpipeError
from collabpipe.data.image_folder import decode
from collabpipe.data.pictures import read_pictures
from collabpipe.data.split import shrink
from collabpipe.plan.recipes import DataRecipe

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (8, 8), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (8, 8, 3), dtype=np.uint8)
LARGE = RANDOM.integers(0, 256, (20, 12), dtype=np.uint8)


def data(source: str = "digits", size: int | None = None) -> DataRecipe:
    return DataRecipe.model_validate({"dataset": "data", "source": source, "image_size": size})


def saved(path: Path, pixels: Any) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def refused(path: Path, shape: tuple[int, ...] = (1, 8, 8)) -> str:
    with pytest.raises(CollabpipeError) as caught:
        read_pictures([path], data(), shape)
    return str(caught.value)


def test_an_image_of_the_data_sets_form_is_taken_as_it_is(tmp_path: Path) -> None:
    grey = read_pictures([saved(tmp_path / "a.png", GREY)], data(), (1, 8, 8))
    colour = read_pictures([saved(tmp_path / "b.png", COLOUR)], data("cifar10"), (3, 8, 8))

    assert (grey[0].pixels == GREY).all()
    assert (colour[0].pixels == COLOUR.transpose(2, 0, 1)).all()
    assert grey[0].changes == colour[0].changes == ()
    assert grey[0].name == str(tmp_path / "a.png")


def test_grey_and_colour_are_made_what_the_data_set_has(tmp_path: Path) -> None:
    (as_rgb,) = read_pictures([saved(tmp_path / "a.png", GREY)], data("cifar10"), (3, 8, 8))
    assert (as_rgb.pixels == GREY).all()
    assert as_rgb.changes == ("grey made RGB",)

    (as_grey,) = read_pictures([saved(tmp_path / "b.png", COLOUR)], data(), (1, 8, 8))
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(as_grey.pixels[0] - luma).max() < 1
    assert as_grey.changes == ("colour made grey",)

    (same,) = read_pictures([saved(tmp_path / "c.png", np.stack([GREY] * 3, axis=2))], data(), (1, 8, 8))
    assert (same.pixels == GREY).all()
    assert same.changes == ()


def test_another_size_is_scaled_as_the_data_sets_own_images_are(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", LARGE)

    (shrunk,) = read_pictures([path], data("fashion_mnist", 8), (1, 8, 8))
    assert (shrunk.pixels == shrink(LARGE[None, None], 8)[0]).all()
    assert shrunk.changes == ("12×20 made 8×8",)

    (folder,) = read_pictures([path], data("image_folder", 8), (3, 8, 8))
    assert (folder.pixels == decode(path, 8)).all()
    assert folder.changes == ("grey made RGB", "12×20 made 8×8")

    (grown,) = read_pictures([path], data(), (1, 32, 32))
    assert grown.pixels.shape == (1, 32, 32)
    assert grown.changes == ("12×20 made 32×32",)


def test_an_image_of_another_size_is_refused_where_the_data_sets_are_not_square(tmp_path: Path) -> None:
    message = refused(saved(tmp_path / "a.png", LARGE), (1, 8, 10))

    assert f"{tmp_path / 'a.png'}: has 12×20 pixels, and the data set's images have 10×8." in message


@pytest.mark.parametrize(
    ("array", "count"),
    [(GREY, 1), (GREY[..., None], 1), (COLOUR, 1), (np.stack([GREY] * 5), 5), (np.stack([COLOUR] * 2), 2)],
    ids=["grey", "one channel", "colour", "many grey", "many coloured"],
)
def test_arrays_hold_one_image_or_many(array: Any, count: int, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)

    found = read_pictures([tmp_path / "a.npy"], data(), (1, 8, 8))

    assert len(found) == count
    assert found[-1].name == str(tmp_path / "a.npy") + (f"[{count - 1}]" if count > 1 else "")
    if array.shape[-1] != 3:
        assert (found[-1].pixels == GREY).all()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (GREY / 255, "holds float64, and images are read as uint8 from 0 to 255"),
        (COLOUR.transpose(2, 0, 1)[None], "has shape (1, 3, 8, 8)"),
        (np.zeros((0, 8, 8), np.uint8), "has shape (0, 8, 8)"),
        (np.array([{}]), "cannot be read as an array"),
    ],
    ids=["floats", "channels first", "none", "objects"],
)
def test_an_array_that_holds_no_images_is_refused(array: Any, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)

    assert f"{tmp_path / 'a.npy'}: {words}" in refused(tmp_path / "a.npy")


def test_all_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    good, text = saved(tmp_path / "good.png", GREY), tmp_path / "text.png"
    text.write_text("hello")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")

    with pytest.raises(CollabpipeError) as caught:
        read_pictures([good, text, tmp_path / "cut.npy"], data(), (1, 8, 8))

    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{text}: cannot be read as an image: ")
    assert lines[1].startswith(f"{tmp_path / 'cut.npy'}: cannot be read as an array: ")
