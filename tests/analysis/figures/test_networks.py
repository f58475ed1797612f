"""Figures for which networks predict: what representations have in common, and the flipped images seen through."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from collabpipe.analysis.figures import networks, representations, seen_images
from collabpipe.analysis.figures.material import Cell, Material
from collabpipe.analysis.figures.networks import outputs
from collabpipe.analysis.runs import EvaluatedRun, read_runs
from collabpipe.methods.representation import RepresentationTerm
from collabpipe.plan.paths import TEST, TRAIN, WEIGHTS
from collabpipe.results.retention import thin
from tests.analysis.figures.studies import drawn, panels
from tests.workspaces import Workspace

CELL: Cell = ("digits", "symmetric-0.5", "resnet8")
Change = Callable[[EvaluatedRun], EvaluatedRun]
Draw = Callable[[Material], Figure]
FIGURES = (seen_images.draw, representations.draw)


def material_of(study: Workspace, change: Change = lambda run: run) -> Material:
    plan = study.plan
    return Material(plan.study, [change(run) for run in read_runs(plan.study, plan.paths)], plan.paths)


def with_loss(run: EvaluatedRun, variant: str = "spatial", taps: tuple[str, ...] = ("stage2", "stage3")) -> Any:
    """The run as if "output" had been trained with the loss on representations."""
    if run.name.method != "output":
        return run
    term = RepresentationTerm(variant=variant, weight=1.0, taps=taps)
    composition = run.recipe.composition.model_copy(update={"terms": (term,)})
    return replace(run, recipe=run.recipe.model_copy(update={"composition": composition}))


def said(figure: Figure) -> list[str]:
    """Its titles, or what it says in place of panels."""
    return [" ".join(axes.get_title(loc="left").split()) for axes in panels(figure)] or [
        " ".join(text.get_text().split()) for text in figure.texts
    ]


def named(run: EvaluatedRun, **names: str) -> EvaluatedRun:
    """The run under other names, with a folder that has its weights."""
    return replace(run, recipe=run.recipe.model_copy(update={"run": run.name.model_copy(update=names)}))


# --- flipped labels that are seen through ---------------------------------------------------------------------------


def test_the_images_seen_through_are_as_many_as_the_training_counted(finished_study: Path) -> None:
    material = material_of(Workspace(finished_study))
    labels = pq.read_table(material.paths.labels(material.runs[0].recipe.labels)).to_pandas()
    flipped = int(((labels["clean"] != labels["noisy"]) & ~labels["validation"]).sum())
    counted = []
    for method in ("baseline", "output", "output_control"):
        [run] = (run for run in material.runs if (run.name.method, run.name.seed) == (method, 0))
        share = pq.read_table(material.paths.history(run.name)).column("flipped_accuracy")[-1].as_py()
        counted.append((method, round(share * flipped)))
    assert any(count for _, count in counted)

    found = said(drawn(seen_images.draw, material))
    assert [title.removesuffix(" (true ← given)") for title in found] == [
        f"{', '.join(CELL)}, {method}: sees through {count} of {flipped} flipped images" for method, count in counted
    ]


def test_each_image_has_its_true_class_and_the_wrong_label_that_it_was_trained_on(finished_study: Path) -> None:
    material = material_of(Workspace(finished_study))
    images = material.images("digits", "train")
    assert images is not None
    labels = pq.read_table(material.paths.labels(material.runs[0].recipe.labels)).to_pandas()
    labels = labels[(labels["clean"] != labels["noisy"]) & ~labels["validation"]]
    runs = seen_images.replicate(material, material.by_method[CELL])
    flipped = seen_images.flipped_labels(material, runs)
    rows = seen_images.rows_of(material, CELL, runs, images, flipped)

    assert [run.name.method for run in runs] == ["baseline", "output", "output_control"]
    assert any(len(row.images) for row in rows)
    for run, row in zip(runs, rows, strict=True):
        logits = outputs(run, material.paths, images, labels["index"].to_numpy())
        assert logits is not None
        seen = labels[logits.argmax(1) == labels["clean"]]
        assert len(row.images) == len(row.texts) == min(len(seen), 10)
        for image, text in zip(row.images, row.texts, strict=True):
            same = seen[[bool((images.images[at] == image).all()) for at in seen["index"]]]
            assert text in [f"{one.clean} ← {one.noisy}" for one in same.itertuples()]


def test_images_that_the_baseline_memorises_come_first_and_of_each_class_one_after_another() -> None:
    true = np.array([3, 1, 3, 1, 2, 3])
    memorised = np.array([True, False, True, True, True, False])
    assert seen_images.in_turn(true, memorised).tolist() == [3, 4, 0, 2, 1, 5]


def test_of_more_flipped_images_some_are_predicted_and_the_title_says_so(
    finished_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most, words in ((7, " of 7 flipped images (of "), (1, " of 1 flipped image (of ")):
        monkeypatch.setattr(seen_images, "MOST_IMAGES", most)
        for title in said(drawn(seen_images.draw, material_of(Workspace(finished_study)))):
            assert words in title


def without_noise(run: EvaluatedRun) -> EvaluatedRun:
    noise = run.recipe.labels.noise.model_copy(update={"kind": "none"})
    labels = run.recipe.labels.model_copy(update={"noise": noise})
    return replace(run, recipe=run.recipe.model_copy(update={"labels": labels}))


def test_without_noise_the_figure_says_so(finished_study: Path) -> None:
    figure = drawn(seen_images.draw, material_of(Workspace(finished_study), without_noise))
    assert said(figure) == ["No label of this study's training images is flipped."]


# --- representations ------------------------------------------------------------------------------------------------


def features(seed: int = 0) -> NDArray[np.float32]:
    """Of 12 images, 5 channels, 3×3 positions; the last channel is dead."""
    given = np.random.default_rng(seed).gamma(1.0, size=(12, 5, 3, 3)).astype(np.float32)
    given[:, 1] += given[:, 0]
    given[:, 4] = 0.0
    return given


@pytest.mark.parametrize("variant", ["spatial", "pooled", "per_sample"])
def test_the_matrices_are_those_that_the_loss_lowers(variant: str) -> None:
    import torch

    from collabpipe.model.terms.representation import REPRESENTATIONS

    given = features()
    loss = float(REPRESENTATIONS[variant](torch.from_numpy(given)))
    off = ~np.eye(5, dtype=bool)
    sums = [np.square(one[off]).sum() for one in representations.cosines(given, variant)]
    assert np.mean(sums) / 5 == pytest.approx(loss, rel=1e-5)
    assert len(sums) == (12 if variant == "per_sample" else 1)


def test_the_gram_matrix_is_a_plain_one() -> None:
    given = features()[:, :4].astype(np.float64)
    rows = given.transpose(1, 0, 2, 3).reshape(4, -1)
    assert representations.gram(features(), "spatial")[:4, :4] == pytest.approx(np.corrcoef(rows), abs=1e-4)
    assert representations.gram(features(), "pooled")[:4, :4] == pytest.approx(
        np.corrcoef(given.mean((2, 3)).T), abs=1e-3
    )
    unit = given.reshape(12, 4, 9) / np.linalg.norm(given.reshape(12, 4, 9), axis=2, keepdims=True)
    every = np.abs(np.einsum("nap,nbp->nab", unit, unit)).mean(0)
    assert representations.gram(features(), "per_sample")[:4, :4] == pytest.approx(every, abs=1e-4)


@pytest.mark.parametrize(("variant", "taps"), [("spatial", ("stage2", "stage3")), ("pooled", ("stage1",))])
def test_all_networks_of_a_row_are_measured_as_the_method_is_trained(
    variant: str, taps: tuple[str, ...], finished_study: Path
) -> None:
    import torch

    from collabpipe.training.checkpoint import load_network, read_weights

    material = material_of(Workspace(finished_study), lambda run: with_loss(run, variant, taps))
    images = material.images("digits", "test")
    assert images is not None
    mean, std = (np.array(part, dtype=np.float32)[:, None, None] for part in (images.mean, images.std))
    pixels = torch.from_numpy((images.images[:256] / np.float32(255.0) - mean) / std)
    expected = []
    for method in ("baseline", "output_control", "output"):
        [run] = (run for run in material.runs if (run.name.method, run.name.seed) == (method, 0))
        weights = read_weights(material.paths.run(run.name), "last", run.record)
        network = load_network(run.recipe, weights, 1, 10).eval()
        behind: list[NDArray[np.float32]] = []
        network.stages[taps[-1]].register_forward_hook(lambda *given, to=behind: to.append(given[-1].numpy()))
        with torch.no_grad():
            network(pixels)
        matrix = np.abs(representations.gram(behind[0], variant))
        mean_off = matrix[~np.eye(len(matrix), dtype=bool)].mean()
        expected.append(f"digits, symmetric-0.5, resnet8: {variant}, {taps[-1]} {method} mean {mean_off:.3f}")

    assert said(drawn(representations.draw, material)) == expected


def test_the_last_stage_is_that_of_the_network_in_whatever_order_they_are_given(finished_study: Path) -> None:
    material = material_of(Workspace(finished_study), lambda run: with_loss(run, "spatial", ("stage3", "stage1")))
    assert representations.measured(material, CELL) == {("spatial", "stage3"): ["output"]}


def test_a_data_set_whose_images_are_not_here_leaves_the_others_rows(finished_study: Path) -> None:
    material = material_of(Workspace(finished_study), with_loss)
    elsewhere = [named(run, dataset="elsewhere") for run in material.runs]
    both = replace(material, runs=[*elsewhere, *material.runs])
    assert said(drawn(representations.draw, both)) == said(drawn(representations.draw, material))


def test_a_study_without_the_loss_says_so(finished_study: Path) -> None:
    figure = drawn(representations.draw, material_of(Workspace(finished_study)))
    assert said(figure) == ["No method of this study trains with the loss on representations."]


# --- both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", FIGURES)
def test_without_images_the_figure_says_so(draw: Draw, study: Workspace) -> None:
    material = material_of(study, with_loss)
    for name in (TRAIN, TEST):
        (material.paths.dataset("digits") / name).unlink()
    assert said(drawn(draw, material)) == ["The images are not in this results folder."]


def missing(material: Material, run: EvaluatedRun) -> EvaluatedRun:
    (material.paths.run(run.name) / WEIGHTS["last"]).unlink()
    return run


def not_kept(material: Material, run: EvaluatedRun) -> EvaluatedRun:
    thin(run.name, material.paths, "none")
    return replace(run, record={**run.record, "kept": "none"})


def changed(material: Material, run: EvaluatedRun) -> EvaluatedRun:
    path = material.paths.run(run.name) / WEIGHTS["last"]
    path.unlink()
    path.write_bytes(b"no weights")
    return run


def diverged(material: Material, run: EvaluatedRun) -> EvaluatedRun:
    return replace(run, metrics={**run.metrics, "status": "diverged", "last": None})


LOST = (missing, not_kept, changed, diverged)


@pytest.mark.parametrize("lose", LOST)
@pytest.mark.parametrize("draw", FIGURES)
def test_without_weights_the_figure_says_so(
    draw: Draw, lose: Callable[[Material, EvaluatedRun], EvaluatedRun], study: Workspace
) -> None:
    material = material_of(study, with_loss)
    none = replace(material, runs=[lose(material, run) for run in material.runs])
    assert said(drawn(draw, none)) == ["No run keeps the weights that this figure is made from."]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_replicate_whose_weights_are_lost_is_followed_by_the_next(draw: Draw, study: Workspace) -> None:
    material = material_of(study, with_loss)
    runs = [diverged(material, run) if run.name.seed == 0 else run for run in material.runs]
    second = [run for run in material.runs if run.name.seed == 1]
    assert said(drawn(draw, replace(material, runs=runs))) == said(drawn(draw, replace(material, runs=second)))
    assert len(second) == 3, "with one run per method the figure is drawn too"


@pytest.mark.parametrize("draw", FIGURES)
def test_of_large_images_few_are_predicted_together(
    draw: Draw, finished_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.nn.modules.module import register_module_forward_pre_hook

    material = material_of(Workspace(finished_study), with_loss)
    usual = said(drawn(draw, material))
    sizes: set[int] = set()
    hook = register_module_forward_pre_hook(lambda *given: sizes.add(len(given[1][0])))
    monkeypatch.setattr(networks, "MOST_PIXELS", 20 * 8 * 8)
    try:
        assert said(drawn(draw, material)) == usual
    finally:
        hook.remove()
    assert max(sizes) == 20


@pytest.mark.parametrize("draw", FIGURES)
def test_weights_in_half_precision_do(draw: Draw, study: Workspace) -> None:
    whole = said(drawn(draw, material_of(study, with_loss)))
    for run in material_of(study).runs:
        thin(run.name, study.paths, "half")
    halved = said(drawn(draw, material_of(study, with_loss)))
    number = r"\d+(?:\.\d+)?"
    assert [re.sub(number, "", title) for title in halved] == [re.sub(number, "", title) for title in whole]
    for one, other in zip(halved, whole, strict=True):
        assert [*map(float, re.findall(number, one))] == pytest.approx(
            [*map(float, re.findall(number, other))], rel=0.15
        )


def many(material: Material, networks: int, methods: int) -> Material:
    """A larger study with the trained networks of a small one."""
    [first] = (run for run in material.runs if (run.name.method, run.name.seed) == ("output", 0))
    runs = []
    for network in range(networks):
        for method in range(methods):
            run = named(first, network=f"network{network}", method=f"method_{method}_{'x' * 60}")
            shutil.copytree(material.paths.run(first.name), material.paths.run(run.name), copy_function=os.link)
            runs.append(run)
    return replace(material, runs=runs)


@pytest.mark.parametrize(("networks", "methods"), [(1, 40), (20, 2)])
def test_of_many_methods_and_cells_the_first_are_drawn(networks: int, methods: int, study: Workspace) -> None:
    material = many(material_of(study, with_loss), networks, methods)
    assert len(panels(drawn(seen_images.draw, material))) == seen_images.MOST_ROWS
    rows: Sequence[str] = said(drawn(representations.draw, material))
    assert len(rows) == min(networks, representations.MOST_ROWS) * min(methods, 6)
