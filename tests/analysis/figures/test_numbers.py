"""Figures show the numbers that they are made from, worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.colors import to_hex

from collabpipe.analysis.figures import wrong
from collabpipe.analysis.figures.classes import draw_classes
from collabpipe.analysis.figures.material import Predicted, tally
from collabpipe.analysis.figures.overhead import draw_overhead
from collabpipe.analysis.figures.reliability import draw_reliability
from collabpipe.analysis.figures.seen_through import draw_seen_through
from collabpipe.analysis.figures.style import Methods
from tests.analysis.figures.studies import drawn, panels, texts

CELL = ("data", "pair-0.4", "network")
NAMED = dict(zip(("dataset", "noise", "network"), CELL, strict=True))
LABEL = [0, 0, 1, 1]


def predictions(*predicted: int) -> pa.Table:
    """Of the four images of `LABEL`, each with a confidence of 75%."""
    logits = [[math.log(3.0) if said == number else 0.0 for number in range(2)] for said in predicted]
    return pa.table(
        {
            "index": range(4),
            "label": LABEL,
            "logits": pa.array(logits, pa.list_(pa.float32(), 2)),
            "prediction": predicted,
        }
    )


@pytest.fixture(scope="module")
def predicted() -> Predicted:
    """Two replicates: the first is right on images 0, 2 and 3, the second on images 0 and 2."""
    return tally([predictions(0, 1, 1, 1), predictions(0, 1, 1, 0)])


def test_predictions_are_counted(predicted: Predicted) -> None:
    assert predicted.bins[:, 7] == pytest.approx([8, 6.0, 5])
    assert predicted.bins.sum() == pytest.approx(19)
    assert predicted.classes.tolist() == [[2, 3], [4, 4]]
    assert predicted.wrong.tolist() == [False, True, False, False]
    assert predicted.votes.tolist() == [[2, 0], [0, 2], [0, 2], [1, 1]]


def test_reliability_has_a_point_per_bin_for_each_method(predicted: Predicted) -> None:
    other = tally([predictions(0, 0, 1, 1)])
    figure = drawn(
        draw_reliability, {CELL: {"baseline": predicted, "other": other}}, Methods(["baseline", "other"], "baseline")
    )

    _, *lines = panels(figure)[0].lines
    found = [line.get_xydata().tolist() for line in lines if len(line.get_xdata())]
    assert found == [[pytest.approx([75.0, 62.5])], [pytest.approx([75.0, 100.0])]]


def test_a_class_has_the_share_of_its_images_that_are_classified_correctly(predicted: Predicted) -> None:
    figure = drawn(draw_classes, {CELL: {"baseline": predicted}}, {"data": ["zero", "one"]})

    (axes,) = panels(figure)
    assert axes.images[0].get_array().tolist() == [[50.0, 75.0]]
    assert {text.get_position()[0]: text.get_text() for text in axes.texts} == {0: "50", 1: "75"}


def test_overhead_has_time_accuracy_and_memory_of_each_method() -> None:
    methods = [NAMED | {"method": name} for name in ("baseline", "heads")]
    accuracies = pd.DataFrame(methods).assign(mean=[80.0, 85.0])
    costs = (
        pd.DataFrame(methods).drop(columns="noise").assign(step_seconds_ratio=[1.0, 2.5], peak_bytes_ratio=[1.0, 1.5])
    )

    (axes,) = panels(drawn(draw_overhead, accuracies, costs))
    (points,) = axes.collections

    assert points.get_offsets().tolist() == [[1.0, 80.0], [2.5, 85.0]]
    assert points.get_array().tolist() == [1.0, 1.5]
    assert {text.get_text(): text.xy for text in axes.texts} == {
        "baseline 1.00": (1.0, 80.0),
        "heads 1.50": (2.5, 85.0),
    }


def test_what_is_memorised_and_what_is_seen_through_are_named_so() -> None:
    rows = [
        NAMED | {"method": "baseline", "seed": seed, "epoch": epoch, "memorised": memorised, "flipped_accuracy": seen}
        for seed, epoch, memorised, seen in ((0, 1, 0.1, 0.1), (0, 2, 0.9, 0.05), (1, 1, 0.1, 0.1), (1, 2, 0.7, 0.15))
    ]

    figure = drawn(draw_seen_through, pd.DataFrame(rows))

    (axes,), (legend,) = panels(figure), figure.legends
    handles: list[Any] = legend.legend_handles
    names = [text.get_text() for text in legend.get_texts()]
    colours = {to_hex(handle.get_color()[0]): name for handle, name in zip(handles, names, strict=True)}
    means = {colours[to_hex(line.get_color())]: line.get_xdata().tolist() for line in axes.lines}
    assert means == {
        "predicts the wrong label given": [pytest.approx(80.0)],
        "predicts the true class": [pytest.approx(10.0)],
    }


def test_an_image_that_all_get_wrong_has_its_class_and_the_one_that_most_predict(predicted: Predicted) -> None:
    pixels = np.arange(4, dtype=np.uint8).repeat(64).reshape(4, 1, 8, 8)
    images = SimpleNamespace(classes=["zero", "one", "two"], images=pixels)
    votes = {"baseline": [0, 2, 0], "heads": [0, 0, 3]}
    by_method = {name: replace(predicted, votes=np.full((4, 3), said, dtype=np.int16)) for name, said in votes.items()}
    material: Any = SimpleNamespace(predicted={CELL: by_method}, images=lambda *_: images)

    figure = drawn(wrong.draw, material)

    said = [text.get_text() for text in texts(figure)]
    assert "zero\nmost say two" in said
    assert "data, pair-0.4, network: 1 of 4 test images" in said
    (image,) = panels(figure)[0].images
    assert image.get_array().tolist() == pixels[1, 0].tolist()
