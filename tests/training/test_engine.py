"""One training: what it records, what it measures, what it shares with others of its replicate."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from collabpipe.model import networks
from collabpipe.model.networks import StagedNetwork
from collabpipe.model.networks.residual import resnet8
from collabpipe.training import batches as batches_module
from collabpipe.training.batches import Augmentation, Cut, Pixels
from collabpipe.training.checkpoint import weights_digest
from collabpipe.training.engine import Training
from tests.workspaces import Lab

MEASURED = {"validation_accuracy", "clean_accuracy", "memorised", "flipped_accuracy", "class_entropy"}
AUGMENTED: dict[str, Any] = {"datasets": {"digits": {"crop": 1, "flip": True}}}
EVERY_KIND: dict[str, Any] = {
    "methods": {
        "output": {"split": "stage2", "drop": 0.5, "channel_drop": 0.1},
        "kernel": {"weight": 0.1},
        "multi_head": {"heads": 4},
        "temporal": {},
        "mixup": {},
    }
}


def epochs(training: Training) -> list[int]:
    """Carries a training to its end; the step at which each pause came."""
    return [training.step for _ in training.run()]


# --- the history -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "terms"),
    [("baseline", set()), ("output", {"agreement"}), ("combined", {"agreement", "kernel", "intermediate"})],
)
def test_history_has_a_column_for_each_term_and_measurement(lab: Lab, method: str, terms: set[str]) -> None:
    methods = EVERY_KIND["methods"] | {"intermediate": {}, "combined": {"of": "output+kernel+intermediate"}}
    training = lab.trained(lab.recipe({"methods": methods}, method))
    assert [row["epoch"] for row in training.history] == [1, 2]
    for row in training.history:
        # No times: equal trainings have equal histories.
        assert set(row) == {"epoch", "learning_rate", "loss", "label"} | terms | MEASURED
        assert all(math.isfinite(value) for value in row.values())
    first, second, following = training.epoch_seconds
    assert first > 0
    assert second > 0
    assert following == 0, "no epoch has begun since"


def test_history_records_the_weighted_sum_and_the_rate_that_was_used(lab: Lab) -> None:
    changes = EVERY_KIND | {"training": {"epochs": 4, "learning_rate": 0.2}}
    history = lab.trained(lab.recipe(changes, "kernel")).history
    for row in history:
        # Means over the steps of an epoch: a sum with constant weights holds for them too.
        assert row["loss"] == pytest.approx(row["label"] + 0.1 * row["kernel"], rel=1e-5)
    expected = [0.2 * 0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert [row["learning_rate"] for row in history] == pytest.approx(expected)


def test_losses_of_an_epoch_are_means_over_its_steps(lab: Lab) -> None:
    training = lab.training(lab.recipe(EVERY_KIND | {"training": {"epochs": 2}}, "output"))
    seen: list[Tensor] = []
    training.method.register_forward_hook(lambda _, __, losses: seen.append(losses.detach().double()))
    for _ in training.run():
        pass
    assert len(seen) == 2 * training.steps == 8
    for row, losses in zip(training.history, (seen[:4], seen[4:]), strict=True):
        means = torch.stack(losses).mean(0).tolist()
        assert [row[name] for name in ("loss", "label", "agreement")] == pytest.approx(means)


def test_epochs_between_measurements_are_nan_and_the_last_is_measured(lab: Lab) -> None:
    history = lab.trained(lab.recipe({"training": {"epochs": 5, "measure_every": 2}})).history
    for column in MEASURED:
        assert [math.isnan(row[column]) for row in history] == [True, False, True, False, False]
    assert all(math.isfinite(row["loss"]) for row in history)


def test_measuring_does_not_disturb_the_training(lab: Lab) -> None:
    def digest(measure_every: int) -> str:
        changes = AUGMENTED | {"methods": {"dropout": {}}}
        changes = changes | {"training": {"epochs": 4, "measure_every": measure_every}}
        return weights_digest(lab.trained(lab.recipe(changes, "dropout")).method.network.state_dict())

    assert digest(1) == digest(4)


def test_a_data_set_without_flipped_labels_has_nothing_to_memorise(lab: Lab) -> None:
    recipe = lab.plan({"noise": ["none"]}).runs["digits/none/resnet8/baseline/seed0"]
    row = lab.trained(recipe).history[-1]
    assert math.isnan(row["memorised"])
    assert math.isnan(row["flipped_accuracy"])
    assert 0.0 <= row["clean_accuracy"] <= 1.0


# --- the best epoch --------------------------------------------------------------------------------------------------


def test_best_epoch_is_the_first_of_the_best_and_keeps_its_weights(lab: Lab) -> None:
    tied = 0
    for seed in (0, 1):
        # With two images for validation there are three accuracies: the best is reached again and again.
        changes = {"datasets": {"digits": {"validation_size": 2}}, "training": {"epochs": 12}}
        recipe = lab.recipe(changes, seed=seed)
        training = lab.training(recipe)
        after: list[str] = []
        for _ in training.run():
            if training.step == 0:
                after.append(weights_digest(training.method.network.state_dict()))
        accuracies = [row["validation_accuracy"] for row in training.history]
        first = accuracies.index(max(accuracies))
        tied += accuracies.count(max(accuracies)) > 1
        assert training.best_epoch == first + 1
        assert weights_digest(training.best) == after[first]
    assert tied


# --- measurements ----------------------------------------------------------------------------------------------------


def test_memorisation_is_measured_without_dropout_or_augmentation(lab: Lab) -> None:
    changes = AUGMENTED | {"methods": {"dropout": {"drop": 0.9, "channel_drop": 0.5}}}
    changes = changes | {"training": {"epochs": 8, "learning_rate": 0.05}}
    recipe = lab.recipe(changes, "dropout")
    training = lab.trained(recipe)
    assert training.method.network.training
    labels = lab.labels(recipe)
    train = ~labels.validation
    pixels = Pixels.of(lab.images, labels.index[train], torch.device("cpu"))
    network = training.method.network.eval()
    with torch.no_grad():
        predicted = network(pixels.normalise(pixels.images)).argmax(1).numpy()
    clean, noisy = labels.clean[train], labels.noisy[train]
    flipped = clean != noisy
    assert 0 < flipped.sum() < len(flipped)
    row = training.history[-1]
    assert row["memorised"] == pytest.approx((predicted == noisy)[flipped].mean())
    assert row["flipped_accuracy"] == pytest.approx((predicted == clean)[flipped].mean())
    assert row["clean_accuracy"] == pytest.approx((predicted == clean)[~flipped].mean())


# --- what the runs of a replicate share ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["output", "output_control", "kernel", "multi_head", "temporal", "mixup"])
def test_methods_of_a_replicate_share_weights_order_and_augmentation(lab: Lab, method: str) -> None:
    changes = AUGMENTED | EVERY_KIND
    first, second = (lab.training(lab.recipe(changes, name)) for name in ("baseline", method))
    start, other = (t.method.network.state_dict() for t in (first, second))
    assert start.keys() == other.keys()
    assert all(torch.equal(start[name], other[name]) for name in start)
    batches: tuple[list[Tensor], list[Tensor]] = ([], [])
    for training, seen in zip((first, second), batches, strict=True):
        for _ in itertools.islice(training.run(), training.steps + 1):
            # What the next step will do: which images, and what becomes of them.
            copied = torch.Generator()
            copied.set_state(training.generators["augmentation"].get_state())
            seen += [training.permutation.clone(), training.augment(training.pixels.images, copied)]
    assert len(batches[0]) == len(batches[1]) > 0
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))
    assert not torch.equal(batches[0][1], first.pixels.images)


def test_a_method_and_its_control_share_the_dropout_masks(lab: Lab) -> None:
    trainings = [lab.trained(lab.recipe({}, name)) for name in ("output", "output_control")]
    first, second = (training.generators["dropout"].get_state() for training in trainings)
    assert torch.equal(first, second)
    assert not torch.equal(first, lab.training(lab.recipe({}, "output")).generators["dropout"].get_state())


def test_another_seed_changes_weights_order_augmentation_and_labels(lab: Lab) -> None:
    first, second = (lab.training(lab.recipe(AUGMENTED, seed=seed)) for seed in (0, 1))
    assert not torch.equal(first.method.network.classifier.weight, second.method.network.classifier.weight)
    assert not torch.equal(first.permutation, second.permutation)
    assert not torch.equal(first.labels, second.labels)
    for name, generator in first.generators.items():
        assert not torch.equal(generator.get_state(), second.generators[name].get_state()), name


def test_every_epoch_has_an_order_of_its_own(lab: Lab) -> None:
    training = lab.training(lab.recipe({"training": {"epochs": 3}}))
    orders = [training.permutation.clone()]
    for _ in training.run():
        if training.step == 0:
            orders.append(training.permutation.clone())
    assert all(torch.equal(order.sort().values, torch.arange(200)) for order in orders)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(orders, 2))


# --- augmentation ----------------------------------------------------------------------------------------------------


def test_crop_cuts_every_window_of_the_image_padded_with_black() -> None:
    image = torch.arange(1, 13, dtype=torch.uint8).reshape(1, 3, 4, 1)
    padding = 2
    padded = np.pad(image[0, :, :, 0].numpy(), padding)  # zeros: black
    windows = {
        padded[row : row + 3, column : column + 4].tobytes(): (row, column)
        for row in range(2 * padding + 1)
        for column in range(2 * padding + 1)
    }
    assert len(windows) == 25
    cropped = Augmentation(padding, flip=False)(image.repeat(2000, 1, 1, 1), torch.Generator().manual_seed(0))
    assert cropped.shape == (2000, 3, 4, 1)
    assert cropped.dtype == torch.uint8
    counts = dict.fromkeys(windows.values(), 0)
    for window in cropped[..., 0].numpy():
        counts[windows[window.tobytes()]] += 1
    # Each of the 25 places is as likely as the others: 80 expected, standard deviation below 9.
    assert min(counts.values()) > 40
    assert max(counts.values()) < 120


def test_crop_moves_all_channels_of_an_image_together() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 3, 3, 1)
    images = torch.cat([image, image + 100], dim=3).repeat(50, 1, 1, 1)
    cropped = Augmentation(1, flip=False)(images, torch.Generator().manual_seed(0)).int()
    inside = cropped[..., 0] > 0
    assert torch.equal(cropped[..., 1], torch.where(inside, cropped[..., 0] + 100, 0))


def test_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    image = torch.tensor([[[[1], [2], [3]], [[4], [5], [6]]]], dtype=torch.uint8)
    mirrored = torch.tensor([[[[3], [2], [1]], [[6], [5], [4]]]], dtype=torch.uint8)
    augmented = Augmentation(0, flip=True)(image.repeat(1000, 1, 1, 1), torch.Generator().manual_seed(0))
    same = (augmented == image).flatten(1).all(1)
    turned = (augmented == mirrored).flatten(1).all(1)
    assert bool((same ^ turned).all())
    assert 400 < int(turned.sum()) < 600


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flip", [False, True])
def test_each_image_is_cut_and_mirrored_by_what_was_drawn_for_it(channels: int, padding: int, flip: bool) -> None:
    images = torch.randint(0, 256, (20, 5, 7, channels), generator=torch.Generator().manual_seed(1)).byte()
    augmented = Augmentation(padding, flip)(images, torch.Generator().manual_seed(0))
    # The draws in their order, which recipes rest on; then image by image, as one would write it down.
    drawn = torch.Generator().manual_seed(0)
    down, across = torch.randint(0, 2 * padding + 1, (2, 20), generator=drawn) if padding else torch.zeros(2, 20).int()
    mirrored = (torch.rand(20, generator=drawn) < 0.5) if flip else torch.zeros(20).bool()
    for number, image in enumerate(images.numpy()):
        padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        window = padded[down[number] : down[number] + 5, across[number] : across[number] + 7]
        expected = window[:, ::-1] if mirrored[number] else window
        assert np.array_equal(augmented[number].numpy(), expected)


def test_normalised_pixels_are_the_scaled_ones_channel_by_channel_and_lie_channels_last(lab: Lab) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
    data = replace(lab.images, images=images, mean=(0.1, 0.5, 0.7), std=(0.2, 0.3, 0.4))
    index = np.array([4, 1, 1])
    pixels = Pixels.of(data, index, torch.device("cpu"))
    assert np.array_equal(pixels.images.numpy(), images[index].transpose(0, 2, 3, 1))
    normalised = pixels.normalise(pixels.images)
    mean, std = (np.array(part)[:, None, None] for part in (data.mean, data.std))
    assert normalised.numpy() == pytest.approx((images[index] / 255.0 - mean) / std, abs=1e-5)
    assert normalised.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(Pixels.of(data, None, torch.device("cpu")).images, torch.tensor(images).permute(0, 2, 3, 1))


def test_augmentation_that_is_switched_off_draws_nothing() -> None:
    images = torch.randint(0, 256, (5, 4, 4, 1), generator=torch.Generator().manual_seed(1)).byte()
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(Augmentation(0, flip=False)(images, generator), images)
    assert torch.equal(generator.get_state(), before)


def test_independent_views_are_augmented_apart(lab: Lab) -> None:
    views = {"kind": "output", "views": "independent", "split": "input"}
    changes = {"datasets": {"digits": {"crop": 1}}, "methods": {"views": views}}
    training = lab.training(lab.recipe(changes, "views"))
    assert training.method.views == 2
    seen: list[Tensor] = []
    training.method.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    next(training.run())
    first, second = seen[0].chunk(2)
    assert len(first) == 200 // training.steps == 50
    assert not torch.equal(first, second)


# --- batches ---------------------------------------------------------------------------------------------------------


@given(st.integers(2, 5000), st.integers(3, 300))
def test_an_epoch_is_cut_into_the_fewest_batches_of_sizes_at_most_one_apart(images: int, batch_size: int) -> None:
    cut = Cut(images, batch_size)
    bounds = [cut.bounds(step) for step in range(cut.steps)]
    sizes = [stop - start for start, stop in bounds]
    assert bounds == list(pairwise([0, *accumulate(sizes)])), "every image once, in order"
    assert sum(sizes) == images
    assert cut.steps == math.ceil(images / batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2, "a batch of one image has no batch statistics"


@pytest.mark.parametrize(
    ("images", "sizes"),
    [(200, [50] * 4), (129, [43] * 3), (130, [44, 43, 43]), (64, [64]), (65, [33, 32]), (5000, [79] * 8 + [78] * 56)],
)
def test_batches_in_numbers(images: int, sizes: list[int]) -> None:
    cut = Cut(images, 64 if images < 5000 else 79)
    assert [stop - start for start, stop in map(cut.bounds, range(cut.steps))] == sizes


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "baseline"},
        {"kind": "representation", "variant": "pooled", "weight": 0.1},
        {"kind": "representation", "variant": "spatial", "weight": 0.1},
        {"kind": "intermediate", "variant": "partition", "weight": 5.0},
    ],
    ids=lambda keys: keys.get("variant", keys["kind"]),
)
def test_what_is_left_over_of_an_epoch_does_not_matter(lab: Lab, method: dict[str, Any]) -> None:
    """A last batch of two images once took 17 points of accuracy."""

    def accuracy(images: int, seed: int) -> float:
        changes: dict[str, Any] = {
            "datasets": {"digits": {"train_size": images, "validation_size": 300}},
            "networks": {"resnet8": {"width": 8}},
            "methods": {"one": method},
            "training": {"epochs": 12, "batch_size": 64, "measure_every": 12},
        }
        recipe = lab.plan({**changes, "noise": ["none"]}).runs[f"digits/none/resnet8/one/seed{seed}"]
        return lab.trained(recipe).history[-1]["validation_accuracy"]

    exact = [accuracy(256, seed) for seed in (0, 1)]
    for remainder in (1, 2, 8):
        found = [accuracy(256 + remainder, seed) for seed in (0, 1)]
        # Seeds alone spread by six points.
        assert min(found) > min(exact) - 0.04


def test_a_step_takes_the_images_of_its_batch(lab: Lab) -> None:
    recipe = lab.recipe({"datasets": {"digits": {"train_size": 130}}, "methods": {"temporal": {}}}, "temporal")
    training = lab.training(recipe)
    seen: list[list[int]] = []
    training.method.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[2].tolist()))
    order = training.permutation.tolist()
    for _ in itertools.islice(training.run(), training.steps):
        pass
    assert [len(part) for part in seen] == [44, 43, 43]
    assert list(itertools.chain(*seen)) == order
    assert sorted(order) == list(range(130))


# --- precision and divergence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["baseline", "output", "kernel", "multi_head", "temporal", "mixup"])
def test_bfloat16_trains_on_the_cpu_with_finite_losses(lab: Lab, method: str) -> None:
    recipe = lab.recipe(EVERY_KIND | {"training": {"precision": "bfloat16"}}, method)
    training = lab.trained(recipe)
    assert training.divergence is None
    terms = set(training.method.term_names)
    assert all(math.isfinite(row[name]) for row in training.history for name in terms)
    # The master weights stay in single precision, and they are others than single precision alone would give.
    weights = training.method.network.state_dict()
    assert all(w.dtype == torch.float32 for w in weights.values() if w.is_floating_point())
    exact = lab.trained(lab.recipe(EVERY_KIND, method)).method.network.state_dict()
    assert weights_digest(weights) != weights_digest(exact)


@pytest.mark.parametrize(
    ("weight", "learning_rate"),
    # A loss that is infinite at once; and steps so large that what is not finite comes of them, sooner or later.
    [(1e300, 0.1), (1e30, 1e6), (0.1, 1e30)],
)
def test_a_diverging_training_stops_and_names_step_and_terms(lab: Lab, weight: float, learning_rate: float) -> None:
    changes = {
        "methods": {"kernel": {"weight": weight}},
        "training": {"epochs": 50, "learning_rate": learning_rate},
    }
    training = lab.training(lab.recipe(changes, "kernel"))
    losses: list[Tensor] = []
    training.method.register_forward_hook(lambda _, __, values: losses.append(values.detach()))
    pauses = epochs(training)
    divergence = training.divergence
    assert divergence is not None
    assert training.finished
    assert training.epoch == divergence.epoch == len(training.history) < 50
    assert pauses == [1, 2, 3, 0] * divergence.epoch
    names = training.method.term_names
    wrong = [tuple(n for n, v in zip(names, row.tolist(), strict=True) if not math.isfinite(v)) for row in losses]
    if any(wrong):
        step = next(number for number, terms in enumerate(wrong, 1) if terms)
        assert (divergence.step, divergence.terms) == (step, wrong[step - 1])
    else:  # the last update of an epoch made the weights infinite before another loss could tell
        assert (divergence.step, divergence.terms) == (len(losses), ("weights",))
    if weight == 1e300:
        assert (divergence.step, divergence.terms) == (1, ("loss",))
    assert math.isnan(training.history[-1]["validation_accuracy"])


# --- determinism -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["baseline", "output", "kernel", "multi_head", "temporal", "mixup"])
def test_the_same_recipe_gives_the_same_bits_and_another_seed_others(lab: Lab, method: str) -> None:
    def digest(seed: int) -> str:
        training = lab.trained(lab.recipe(AUGMENTED | EVERY_KIND, method, seed))
        return weights_digest(training.method.state_dict())

    first = digest(0)
    # Whatever else was drawn in this process must not matter.
    torch.rand(3)
    assert digest(0) == first
    assert digest(1) != first


def test_a_large_set_on_a_cpu_stays_in_its_file_and_trains_to_the_same_bits(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = lab.recipe({"training": {"epochs": 2}, "datasets": {"digits": {"crop": 1}}})
    expected = lab.trained(recipe)
    monkeypatch.setattr(batches_module, "MAPPED_BYTES", 0)
    training = lab.training(recipe)
    own = lab.images.images.__array_interface__["data"][0]
    assert training.pixels.images.data_ptr() == own, "the pages of the file, not a copy"
    for _ in training.run():
        pass
    assert weights_digest(training.method.state_dict()) == weights_digest(expected.method.state_dict())
    assert training.history == expected.history


# --- trained on all images -------------------------------------------------------------------------------------------


def test_a_refit_trains_on_the_validation_images_too_and_chooses_no_epoch(lab: Lab) -> None:
    recipe = lab.recipe({"refit": True})
    labels = lab.labels(recipe)

    training = lab.trained(recipe)

    assert len(training.pixels) == len(training.labels) == len(labels.index) == 250
    assert training.labels.tolist() == labels.noisy.tolist()
    assert training.steps == Cut(250, recipe.training.batch_size).steps
    for row in training.history:
        assert {name for name in MEASURED if not math.isfinite(row[name])} == {"validation_accuracy", "class_entropy"}
    assert training.best_epoch == training.settings.epochs
    assert weights_digest(training.best) == weights_digest(training.method.network.state_dict())


def test_a_refit_that_is_interrupted_ends_in_the_same_bits(lab: Lab) -> None:
    recipe = lab.recipe({"refit": True})
    whole, half = lab.trained(recipe), lab.training(recipe)
    for _ in itertools.islice(half.run(), half.steps + 1):
        pass
    again = lab.training(recipe)
    again.restore(*half.state())
    epochs(again)

    assert weights_digest(again.best) == weights_digest(whole.best)
    assert again.best_epoch == whole.best_epoch


def test_only_final_runs_are_trained_on_all_images(lab: Lab) -> None:
    methods = {"kernel": {"weight": [0.1, 1.0], "select": {"seeds": [7]}}}
    data = {"digits": {"refit": True}, "other": {"source": "digits", "train_size": 100, "validation_size": 50}}
    made = lab.plan({"methods": methods, "datasets": data})

    assert {recipe.run.dataset for recipe in made.runs.values() if recipe.refit} == {"digits"}
    assert {recipe.refit for recipe in made.runs.values() if recipe.run.dataset == "digits"} == {True}
    assert made.candidates
    assert not any(recipe.refit for recipe in made.candidates.values())


def test_what_a_constructor_draws_comes_from_the_recipe_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_buffer(*arguments: int) -> StagedNetwork:
        network = resnet8(*arguments)
        network.register_buffer("code", torch.randn(3))
        return network

    monkeypatch.setitem(networks.BUILDERS, "resnet8", with_buffer)
    found = []
    for seed, outside in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        found.append(lab.training(lab.recipe({}, seed=seed)).method.network.get_buffer("code"))
        assert torch.get_rng_state().equal(before)
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])
