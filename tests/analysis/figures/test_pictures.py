"""Figures of matrices and images: label noise, kernels, corrupted labels, what all methods get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from collabpipe.analysis.figures.grams import draw_grams
from collabpipe.analysis.figures.kernels import read_gram
from collabpipe.analysis.figures.pictures import Row, draw_rows
from collabpipe.analysis.figures.transitions import draw_transitions
from collabpipe.analysis.figures.wrong import wrong_under_all
from tests.analysis.figures.studies import FEW, STUDIES, drawn, panels


def record(classes: int, wrong: float = 0.4, name: str = "class") -> dict[str, Any]:
    """A label file's record: each class's images go to the next one at the rate `wrong`."""
    matrix = (1 - wrong) * np.eye(classes) + wrong * np.roll(np.eye(classes), 1, axis=1)
    return {
        "classes": [f"{name} {number}" for number in range(classes)],
        "images": 1297,
        "true_rate": wrong,
        "transition_matrix": matrix.tolist(),
    }


def test_each_label_file_has_a_panel_with_its_name_true_rate_and_size() -> None:
    figure = drawn(draw_transitions, [("digits, pair-0.4", record(10)), ("other, pair-0.1", record(5, 0.125))])

    first, second = panels(figure)
    assert first.get_title(loc="left") == "digits, pair-0.4\ntrue rate 40.0%, n = 1,297"
    assert "true rate 12.5%" in second.get_title(loc="left")
    assert len(figure.axes) == 3, "and a colour bar"


@pytest.mark.parametrize(
    ("classes", "names", "shares"), [(2, 2, 4), (10, 10, 20), (11, 11, 0), (20, 20, 0), (21, 0, 0), (100, 0, 0)]
)
def test_names_are_on_axes_up_to_20_classes_and_shares_in_cells_up_to_10(classes: int, names: int, shares: int) -> None:
    figure = drawn(draw_transitions, [("toy", record(classes))])

    (axes,) = panels(figure)
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"class {n}" for n in range(names)]
    assert len(axes.get_xticklabels()) == names
    assert sorted(text.get_text() for text in axes.texts) == ["40"] * (shares // 2) + ["60"] * (shares // 2)


def test_a_class_goes_right_to_the_label_that_it_is_given() -> None:
    figure = drawn(draw_transitions, [("toy", record(10, 0.25))])

    (axes,) = panels(figure)
    assert {t.get_position(): t.get_text() for t in axes.texts}[(4, 3)] == "25", "class 3, column of class 4"


@pytest.mark.parametrize("files", [1, 3, 4, 20])
def test_label_noise_of_many_cells_with_long_and_odd_names(files: int) -> None:
    labels = [(f"{'d' * 80}{number}, $a_<b>$", record(3, name="$_<" + "x" * 80)) for number in range(files)]
    figure = drawn(draw_transitions, labels)
    assert len(panels(figure)) == files


def test_without_noise_the_figure_says_so() -> None:
    figure = drawn(draw_transitions, [])
    assert [text.get_text() for text in figure.texts] == ["no label noise in this study"]


def test_the_gram_matrix_is_that_of_the_widest_convolution(tmp_path: Path) -> None:
    wide = np.zeros((3, 1, 2, 2), dtype=np.float32)
    wide[0, 0, 0, 0], wide[1, 0, 0, 0], wide[2, 0, 1, 1] = 2.0, -3.0, 1.0
    tensors = {"a.weight": wide, "stem.weight": np.ones((2, 1, 3, 3), dtype=np.float32)}
    tensors |= {"shortcut.weight": np.ones((9, 1, 1, 1), dtype=np.float32), "fc.weight": np.ones((9, 4), "f4")}
    save_file(tensors, tmp_path / "last.safetensors")

    gram = read_gram(tmp_path / "last.safetensors")
    assert gram is not None
    assert gram.tolist() == [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    (tmp_path / "empty").touch()
    assert read_gram(tmp_path / "empty") is None
    assert read_gram(tmp_path / "missing") is None


@pytest.mark.parametrize(("rows", "methods"), [(1, 1), (2, 3), (20, 6)])
def test_gram_matrices_have_a_panel_per_method_with_long_names(rows: int, methods: int) -> None:
    gram = np.eye(80) + 0.1 * np.eye(80, k=1)
    name = "kernel_" + "x" * 70
    found = [(f"{row}{'d' * 78}, none, n", [(f"{name}{n}", gram) for n in range(methods)]) for row in range(rows)]
    figure = drawn(draw_grams, found, "kernels")

    assert len(panels(figure)) == rows * methods
    assert panels(figure)[0].images[0].get_array().shape == (64, 64)
    assert panels(figure)[0].get_title(loc="left").endswith("mean 0.001")


def test_images_have_texts_that_do_not_touch() -> None:
    images = np.zeros((10, 3, 4, 6), dtype=np.uint8)
    texts = [f"{'$long_class_name'[: number + 3]} →\n{'<b>another' * 3}" for number in range(10)]
    figure = drawn(draw_rows, [Row("data, " + "x" * 300, images, texts), Row("grey", images[:1, :1], ["a"])])

    first, second = panels(figure)
    assert (len(first.images), len(second.images)) == (10, 1)
    assert first.images[3].get_extent()[:2] == [pytest.approx(3 * 0.92), pytest.approx(3 * 0.92 + 0.8)]


def test_a_row_without_images_takes_the_height_of_its_title() -> None:
    image, nothing = np.zeros((1, 1, 4, 4), dtype=np.uint8), np.zeros((0, 1, 4, 4), dtype=np.uint8)
    rows = [Row("none here", nothing, []), Row("one", image, ["a"]), Row("nor here", nothing, [])]
    figure = drawn(draw_rows, rows)
    assert [len(axes.images) for axes in panels(figure)] == [0, 1, 0]
    assert [axes.get_title(loc="left") for axes in panels(figure)] == ["none here", "one", "nor here"]
    heights = [axes.get_position().height * figure.get_figheight() for axes in panels(figure)]
    assert heights == pytest.approx([0.05, 0.8, 0.05])


def test_images_are_wrong_under_all_methods_only_if_no_method_is_right() -> None:
    predicted = STUDIES["missing cells"].predicted()[FEW[0]]
    places = wrong_under_all(predicted)
    assert places[:5].tolist() == [0, 1, 2, 3, 4]
    for place in (places[-1], 5):
        wrong = [bool(one.wrong[place]) for one in predicted.values()]
        assert all(wrong) == (place in places)
