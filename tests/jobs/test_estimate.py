"""What a study will take, estimated beforehand: runs and steps exactly, time by operations, disk by what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from collabpipe.cli import main
from collabpipe.cli.console import duration
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.validation import Strict
from collabpipe.data.fetch import fetch
from collabpipe.data.prepared import prepare
from collabpipe.jobs.estimate import RECORD_BYTES, DatasetSize, Estimate, Estimator, dataset_size
from collabpipe.methods.composition import COSTLESS, Composition, Term, cost_key
from collabpipe.methods.registry import KINDS
from collabpipe.methods.resolve import compose, read_methods
from collabpipe.plan.plan import Plan
from collabpipe.settings.study import check_settings
from collabpipe.settings.training import NetworkSettings
from collabpipe.training.step_cost import Entry, step_flops_and_parameters
from tests.data.test_npz import arrays, write
from tests.workspaces import REPOSITORY, SMALL, Lab, altered

DEFAULT = REPOSITORY / "config" / "config.yaml"
RATE = 1e10
SEARCHED: dict[str, Any] = {
    "methods": {
        "output": None,
        "output_control": None,
        "kernel": {"weight": [0.1, 1.0, 10.0], "select": {"seeds": [7]}},
    }
}
# Weights and biases of resnet8 of width 4 on one channel: the stem; blocks of 4, 8 and 16 channels, the last two with
# a 1×1 convolution beside them; two numbers a channel of every batch normalisation; ten classes.
STEM = 1 * 4 * 9 + 2 * 4
BLOCKS = (2 * 4 * 4 * 9 + 4 * 4) + sum(
    (half * full + full * full) * 9 + half * full + 6 * full for half, full in ((4, 8), (8, 16))
)
PARAMETERS = STEM + BLOCKS + 16 * 10 + 10


def plan(changes: dict[str, Any], root: Path) -> Plan:
    return Plan(check_settings(altered(changes), {}), root)


def total(plan: Plan, rate: float | None = RATE) -> Estimate:
    """All that a plan will take."""
    found = [estimate for _, _, estimate in Estimator(plan, rate).by_dataset()]
    parts = {name: sum(getattr(one, name) for one in found) for name in ("runs", "steps", "seconds", "disk")}
    return Estimate(**parts)


@pytest.fixture(scope="module")
def default() -> Estimate:
    """The runs of the default study; nothing of it exists."""
    [(dataset, what, found)] = Estimator(Plan.from_files([DEFAULT], Path("/nowhere")), RATE).by_dataset()
    assert (dataset, what) == ("digits", "runs")
    return found


def test_runs_and_steps_of_the_default_study_are_exact(default: Estimate) -> None:
    # Two kinds of noise, nine methods, three seeds.
    assert default.runs == 2 * 9 * 3
    # Of 1,297 images 197 validate: 1,100 make nine batches of 128, the last of 76 images.
    assert default.steps == default.runs * 25 * 9


def test_candidates_are_counted_apart_from_runs(tmp_path: Path) -> None:
    found = {what: estimate for _, what, estimate in Estimator(plan(SEARCHED, tmp_path), RATE).by_dataset()}

    # 200 images are four batches of 64, the last of eight images; two epochs.
    assert {what: (one.runs, one.steps) for what, one in found.items()} == {
        "candidates": (3, 3 * 2 * 4),
        "runs": (4, 4 * 2 * 4),
    }


def test_the_time_of_plain_cross_entropy_is_that_of_its_operations(tmp_path: Path) -> None:
    made = plan({"methods": {"output": None, "output_control": None}}, tmp_path)
    recipe = made.runs["digits/symmetric-0.5/resnet8/baseline/seed0"]
    flops, _, parameters = step_flops_and_parameters(
        Entry("", NetworkSettings(kind="resnet8", width=4), "", Composition()), (1, 8, 8), 10, 64
    )
    estimator = Estimator(made, RATE)

    found = estimator.of_run(recipe)

    # 200 images, twice; forward, a third of a step, over 250 in both epochs and twice over the 500 of the test set.
    seen = 2 * 250 + 2 * 500
    assert found.seconds == pytest.approx((2 * 200 + seen / 3) * flops / 64 / RATE)
    assert parameters == PARAMETERS
    # Two checkpoints in single precision, a prediction per image, and records.
    assert found.disk == 8 * PARAMETERS + 500 * (4 * 10 + 24) + RECORD_BYTES
    assert estimator.rates.measured == {}, "a given rate is not measured"


def test_a_method_that_takes_more_operations_takes_longer_and_what_is_free_does_not(tmp_path: Path) -> None:
    methods = {
        "output": {"split": "input"},
        "output_control": None,
        "heavy": {"kind": "kernel", "weight": 500.0},
        "kernel": {},
    }
    made = plan({"methods": methods, "seeds": [0]}, tmp_path)
    estimator = Estimator(made, RATE)
    seconds = {recipe.run.method: estimator.of_run(recipe).seconds for recipe in made.runs.values()}

    assert seconds["heavy"] == seconds["kernel"] > seconds["baseline"]
    # Two whole passes double the steps, and what is measured beside them stays.
    step = estimator._step(made.runs["digits/symmetric-0.5/resnet8/baseline/seed0"], estimator.sizes["digits"])[0]
    assert seconds["output"] - seconds["baseline"] == pytest.approx(2 * 200 / 64 * step / RATE)
    assert len(estimator.counted) == 3, "each kind of step is counted once"


class Distance(Term):
    """A term of a family of its own, whose momentum is no mere number: say, how many predictions are kept."""

    term: Literal["distance"] = "distance"
    momentum: int


def test_a_new_terms_own_fields_count_unless_they_are_marked() -> None:
    def key(**changes: float) -> object:
        return cost_key(Composition(terms=(Distance.model_validate({"weight": 1.0, "momentum": 1, **changes}),)))

    assert key(weight=2.0, ramp=0.5) == key()
    assert key(momentum=2) != key(), "of the same name as a costless field of another term"


def halved(part: Any) -> Any:
    """A part of a composition, or several, with each costless number halved."""
    if isinstance(part, tuple):
        return tuple(halved(one) for one in part)
    if not isinstance(part, Strict):
        return part
    values = {name: getattr(part, name) for name in type(part).model_fields}
    marked = {name for name, field in type(part).model_fields.items() if COSTLESS in field.metadata}
    return part.model_copy(update={k: v / 2 if k in marked else halved(v) for k, v in values.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_marked_as_costless_changes_no_operation_and_no_saved_byte(kind: str) -> None:
    four = ("output", "intermediate", "representation", "kernel")
    members: dict[str, dict[str, Any]] = {name: {} for name in (*four, kind)}
    network = NetworkSettings(kind="resnet8", width=4)
    composition = compose(read_methods(members), kind, network.stages_of(8, 64))
    other = halved(composition)

    assert cost_key(other) == cost_key(composition)
    costs = [step_flops_and_parameters(Entry("", network, kind, c), (1, 8, 8), 10, 64) for c in (composition, other)]
    assert costs[0] == costs[1]


def test_time_is_inverse_to_the_rate_and_nothing_else_hangs_on_it(tmp_path: Path) -> None:
    made = plan(SEARCHED, tmp_path)
    slow, fast = total(made, RATE), total(made, 4 * RATE)

    assert slow.seconds == pytest.approx(4 * fast.seconds)
    assert fast.seconds > 0
    assert (slow.runs, slow.steps, slow.disk) == (fast.runs, fast.steps, fast.disk)


def test_the_disk_is_that_of_the_weights_that_are_kept(tmp_path: Path) -> None:
    disk = {
        keep: total(plan(SEARCHED | {"execution": {"keep_weights": keep}}, tmp_path)).disk
        for keep in ("all", "half", "none")
    }

    # Four runs; unless all weights are kept those of the three candidates go.
    assert disk["all"] - disk["none"] == 8 * PARAMETERS * (4 + 3)
    assert disk["half"] - disk["none"] == 2 * PARAMETERS * 4
    # Of candidates nothing is predicted.
    assert disk["none"] == 4 * (500 * 64 + RECORD_BYTES) + 3 * RECORD_BYTES


def test_a_data_sets_own_training_and_size_are_counted(tmp_path: Path) -> None:
    few = {"source": "digits", "train_size": 65, "validation_size": 30, "training": {"epochs": 5, "batch_size": 32}}
    found = {name: one for name, _, one in Estimator(plan({"datasets": {"few": few}}, tmp_path), RATE).by_dataset()}

    assert found["digits"].steps == 6 * 2 * 4
    # 65 images in batches of at most 32: 22, 22 and 21.
    assert found["few"].steps == 6 * 5 * 3


def test_a_prepared_data_set_has_the_size_that_its_record_says(lab: Lab, tmp_path: Path) -> None:
    whole = {"datasets": {"digits": {"train_size": None}}}

    prepared, beforehand = (dataset_size(plan(whole, root), "digits") for root in (lab.results, tmp_path))

    assert prepared == beforehand == DatasetSize((1, 8, 8), 10, train=1247, validation=50, test=500)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "train", "test"),
    [
        ("fashion_mnist", (1, 28, 28), 10, 60000, 10000),
        ("cifar10", (3, 32, 32), 10, 50000, 10000),
        ("cifar100", (3, 32, 32), 100, 50000, 10000),
        ("stl10", (3, 96, 96), 10, 5000, 8000),
        ("imagenet32", (3, 32, 32), 1000, 1281167, 50000),
    ],
)
def test_the_sizes_of_known_data_sets_need_no_download(
    name: str, shape: tuple[int, int, int], classes: int, train: int, test: int, tmp_path: Path
) -> None:
    found = dataset_size(plan({"datasets": {name: {"validation_size": 100}}}, tmp_path), name)

    assert found == DatasetSize(shape, classes, train - 100, 100, test)
    scaled = plan({"datasets": {name: {"validation_size": 100, "image_size": 16}}}, tmp_path)
    assert dataset_size(scaled, name).shape == (shape[0], 16, 16)


def folder_study(path: Path) -> Path:
    path.write_text(
        yaml.safe_dump(
            altered(
                {
                    "datasets": {
                        "digits": None,
                        "faces": {"source": "image_folder", "data_dir": "x", "image_size": 32, "validation_size": 9},
                    }
                }
            )
        )
    )
    return path


def test_the_size_of_a_folder_of_images_is_known_once_it_is_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder_study(tmp_path / "study.yaml")
    with pytest.raises(
        CollabpipeError, match=r"faces: its size is known only once it is prepared\. Prepare it: snakemake --cores all "
    ):
        dataset_size(Plan.from_files([config], tmp_path / "results"), "faces")

    assert main(["plan", str(config), "--estimate", "--rate", "1e10", "--results", str(tmp_path / "results")]) == 1

    assert (
        "faces: its size is known only once it is prepared. Prepare it: snakemake --cores all --configfile "
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("given", "train", "validation"), [({}, 12, 3), ({"train_size": 9, "validation_size": 2}, 9, 2)]
)
def test_the_own_validation_set_of_an_npz_file_is_not_trained_on(
    given: dict[str, int], train: int, validation: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.npz", arrays("train", "val", "test"))
    cells = {"source": "npz", "data_dir": str(path), "image_size": 8, **given}
    asked = plan({"datasets": {"digits": None, "cells": cells}}, tmp_path)
    fetch(asked.data["cells"], asked.paths.raw("cells"), path)
    prepare(asked.data["cells"], asked.paths.raw("cells"), asked.paths.dataset("cells"))

    assert dataset_size(asked, "cells") == DatasetSize((3, 8, 8), 3, train, validation, 6)


# --- the command -----------------------------------------------------------------------------------------------------


def cells(printed: str) -> Iterator[list[str]]:
    """The rows of the last table that was printed."""
    for line in printed[printed.index("\nestimate") :].splitlines():
        if line.startswith("│"):
            yield [cell.strip() for cell in line.strip("│").split("│")]


def test_the_command_prints_runs_time_and_disk(
    default: Estimate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(DEFAULT), "--estimate", "--rate", "1e10", "--results", str(tmp_path / "results")]) == 0

    printed = capsys.readouterr().out
    [row] = cells(printed)
    assert row == ["digits", "runs", "54", "12,150", duration(default.seconds), f"{default.disk / 1e6:,.1f} MB"]
    assert "Rate: 10 GFLOP/s, as given." in printed
    assert f"{duration(default.seconds)} on one such device" in printed
    assert "keep_weights: all" in printed
    assert not (tmp_path / "results").exists(), "looking writes nothing"


def test_without_a_rate_it_is_measured_on_the_device_at_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(SMALL))

    assert main(["plan", str(config), "--estimate", "--results", str(tmp_path / "results")]) == 0

    printed = capsys.readouterr().out
    assert "measured on" in printed
    assert [row[:4] for row in cells(printed)] == [["digits", "runs", "6", "48"]]
    estimator = Estimator(Plan.from_files([config], tmp_path), None)
    recipe = next(iter(estimator.plan.runs.values()))
    assert estimator.of_run(recipe).seconds > 0
    [rate] = estimator.rates.measured.values()
    # From a thousandth of an old laptop's core to a hundred of the largest devices of today.
    assert 1e6 < rate < 1e17
