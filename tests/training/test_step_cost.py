"""Overhead: the counted quantities against formulas, the same again anywhere, and what is written."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from collabpipe.common.errors import CollabpipeError
from collabpipe.jobs.overhead import write_overhead
from collabpipe.methods.composition import Composition, Passes
from collabpipe.methods.resolve import compose, read_methods
from collabpipe.model.networks import build_network
from collabpipe.settings.training import NetworkSettings, TrainingSettings
from collabpipe.training.step_clock import StepClock
from collabpipe.training.step_cost import (
    COLUMNS,
    Conditions,
    Entry,
    StepCosts,
    Subject,
    measure_overhead,
    step_flops_and_parameters,
)
from tests.workspaces import REPOSITORY

CPU = torch.device("cpu")
Rows = dict[str, dict[Hashable, Any]]
SHAPE, CLASSES, BATCH = (1, 12, 12), 10, 16
TRAINING = TrainingSettings(epochs=1, batch_size=BATCH)
NETWORK = NetworkSettings(kind="resnet8", width=8)
DEFINITIONS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "dropout": {},
    "output": {"split": "classifier"},
    "output_stage2": {"kind": "output", "split": "stage2"},
    "output_input": {"kind": "output", "split": "input"},
    "intermediate": {"variant": "virtual"},
    "partition": {"kind": "intermediate", "variant": "partition"},
    "to_output": {"kind": "intermediate", "variant": "to_output"},
    "representation": {},
    "kernel": {"variant": "rows"},
    "self_convolution": {"kind": "kernel", "variant": "self_convolution"},
    "combined": {},
    "multi_head": {},
    "simple": {"kind": "multi_head", "pattern": "simple"},
    "instances": {"kind": "multi_head", "pattern": "instances"},
    "temporal": {},
    "mixup": {},
    "views": {"kind": "gjs", "views": "independent", "split": "input"},
}
METHODS = read_methods(DEFINITIONS)
EXACT = ["params_train", "params_inference", "flops", "saved_bytes"]


def entry(method: str, network: NetworkSettings = NETWORK) -> Entry:
    return Entry(network.kind, network, method, compose(METHODS, method, network.stages_of(8, 128)))


def subject(method: str, training: TrainingSettings = TRAINING, device: torch.device = CPU) -> Subject:
    return Subject(entry(method), SHAPE, CLASSES, training, device)


@pytest.fixture(scope="module")
def measured() -> StepCosts:
    entries = [entry(method) for method in DEFINITIONS]
    return measure_overhead(entries, SHAPE, CLASSES, TRAINING, device=CPU, seconds=0.0)


@pytest.fixture(scope="module")
def rows(measured: StepCosts) -> Rows:
    return {row["method"]: row for row in measured.table.to_dict("records")}


# --- operations ------------------------------------------------------------------------------------------------------


def plain_flops() -> int:
    """Operations of a step of plain cross-entropy, from the layers' shapes."""
    network = build_network(NETWORK, SHAPE[0], CLASSES)
    total = 0

    def count(layer: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal total
        # Forward, the gradient of the weights and that of the input, which the images do not need.
        runs = 2 if layer is network.stem[0] else 3  # type: ignore[index]
        total += runs * 2 * output.numel() * layer.weight[0].numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    network(torch.zeros(BATCH, *SHAPE))
    return total + 3 * classifier_flops()


def classifier_flops() -> int:
    return 2 * BATCH * 32 * CLASSES


def test_operations_of_plain_cross_entropy_are_those_of_its_convolutions_and_classifier(rows: Rows) -> None:
    assert rows["baseline"]["flops"] == plain_flops()


@pytest.mark.parametrize("method", ["dropout", "temporal", "mixup"])
def test_what_multiplies_no_matrices_adds_no_operations(rows: Rows, method: str) -> None:
    assert rows[method]["flops_ratio"] == 1.0


def test_two_heads_double_the_operations_of_what_is_run_again(rows: Rows) -> None:
    assert rows["output_input"]["flops"] == 2 * plain_flops()
    assert rows["views"]["flops"] == 2 * plain_flops()
    assert rows["output"]["flops"] == plain_flops() + 3 * classifier_flops()
    assert 1.0 < rows["output"]["flops_ratio"] < rows["output_stage2"]["flops_ratio"] < 2.0


def test_products_of_the_kernel_term_are_counted(rows: Rows) -> None:
    total = 0
    for layer in build_network(NETWORK, SHAPE[0], CLASSES).modules():
        if isinstance(layer, nn.Conv2d):
            side, length = sorted(layer.weight.flatten(1).shape)
            # The Gram matrix of the smaller side, and its gradient to both factors at once: they are equal.
            total += 2 * 2 * side * side * length
    assert rows["kernel"]["flops"] == plain_flops() + total


def test_products_of_the_representation_term_are_counted(rows: Rows) -> None:
    # The same for each tap, and the mean's row in its gradient.
    total = sum(2 * channels**2 * (2 * BATCH * side**2 + 1) for channels, side in ((8, 12), (16, 6), (32, 3)))
    assert rows["representation"]["flops"] == plain_flops() + total


def test_instances_are_whole_networks(rows: Rows) -> None:
    assert rows["instances"]["flops"] == 4 * plain_flops()
    assert rows["instances"]["params_train_ratio"] == 4.0


@pytest.mark.parametrize("method", DEFINITIONS)
def test_counts_without_memory_are_the_measured_ones(rows: Rows, method: str) -> None:
    counts = step_flops_and_parameters(entry(method), SHAPE, CLASSES, BATCH)
    assert counts == tuple(rows[method][name] for name in ("flops", "params_train", "params_inference"))


def test_counts_of_a_batch_that_no_memory_holds() -> None:
    network = NetworkSettings(kind="resnet18")
    flops, *parameters = step_flops_and_parameters(entry("baseline", network), (3, 32, 32), 10, 100_000)
    assert parameters == [11_173_962, 11_173_962]
    # 0.56 billion multiplications an image, known of this network; two operations each, three times but for the stem.
    assert flops / 100_000 == pytest.approx(6 * 0.5566e9, rel=0.01)


# --- memory ----------------------------------------------------------------------------------------------------------


def plain_saved_bytes() -> int:
    """What plain cross-entropy saves, from shapes: float32, each tensor once."""
    numbers = BATCH * 144
    # Stem and stage1 save 6 maps: each convolution's output, for its norm, and each ReLU's; the others have a
    # shortcut's output beside these.
    for channels, pixels, maps in ((8, 144, 6), (16, 36, 5), (32, 9, 5)):
        numbers += maps * BATCH * channels * pixels
        # Three norms of each width save mean and deviation of the batch, and refer to the running ones.
        numbers += 3 * 4 * channels
    # The pooled features, log-probabilities and targets.
    return 4 * (numbers + BATCH * 32 + 2 * BATCH * CLASSES)


def test_saved_bytes_of_plain_cross_entropy_are_those_of_its_maps(rows: Rows) -> None:
    assert rows["baseline"]["saved_bytes"] == plain_saved_bytes()


def test_saved_bytes_grow_with_what_is_run_again(rows: Rows) -> None:
    order = ["baseline", "dropout", "output", "output_stage2", "output_input"]
    saved = [rows[method]["saved_bytes"] for method in order]
    assert saved == sorted(saved)
    assert len(set(saved)) == len(saved)


def test_mixed_precision_saves_less() -> None:
    half = subject("baseline", TRAINING.model_copy(update={"precision": "bfloat16"}))
    flops, saved = half.flops_and_saved_bytes()
    assert flops == plain_flops()
    assert 0.5 * plain_saved_bytes() < saved < 0.75 * plain_saved_bytes()


def test_peak_holds_weights_momentum_and_what_is_saved(rows: Rows) -> None:
    for method, row in rows.items():
        weights = 4 * row["params_train"]
        assert row["peak_bytes"] > 2 * weights + row["saved_bytes"], method
        # Nothing here needs far more: gradients, the network's numbers again, and a layer's own working memory.
        assert row["peak_bytes"] < 4 * weights + 2 * row["saved_bytes"], method


def test_peak_is_what_the_step_itself_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = subject("baseline")
    monkeypatch.setattr(idle, "step", lambda: None)
    resident = idle.peak_bytes()
    tensors = [*idle.method.parameters(), *idle.method.buffers(), *idle.optimiser.momentum, idle.images]
    assert resident == sum(t.nbytes for t in tensors) + 2 * 8 * BATCH

    def three_megabytes_at_once() -> None:
        first = torch.empty(1_000_000, dtype=torch.uint8)
        del first
        held = torch.empty(1_000_000, dtype=torch.uint8)
        torch.empty(2_000_000, dtype=torch.uint8).fill_(held[0])

    monkeypatch.setattr(idle, "step", three_megabytes_at_once)
    assert idle.peak_bytes() - resident == pytest.approx(3_000_000, abs=1000)


def test_counting_leaves_no_gradients_behind() -> None:
    counted = subject("combined")
    counted.flops_and_saved_bytes()
    assert all(parameter.grad is None for parameter in counted.method.parameters())


# --- the measurement -------------------------------------------------------------------------------------------------


def test_table_has_its_columns_in_order_and_a_row_an_entry(measured: StepCosts) -> None:
    assert tuple(measured.table.columns) == COLUMNS
    assert COLUMNS[:9] == (
        "network",
        "method",
        "params_train",
        "params_inference",
        "flops",
        "saved_bytes",
        "peak_bytes",
        "step_seconds",
        "device",
    )
    assert measured.table["method"].tolist() == list(DEFINITIONS)
    assert measured.table["device"].nunique() == 1


def test_ratios_are_to_plain_cross_entropy(rows: Rows) -> None:
    for name in COLUMNS[2:8]:
        assert rows["baseline"][f"{name}_ratio"] == 1.0
        for row in rows.values():
            assert row[f"{name}_ratio"] == row[name] / rows["baseline"][name]


def test_step_time_is_the_median_of_at_least_five_rounds(measured: StepCosts, rows: Rows) -> None:
    assert set(measured.rounds) == {f"resnet8/{method}" for method in DEFINITIONS}
    for method in DEFINITIONS:
        times = measured.rounds[f"resnet8/{method}"]
        assert len(times) == 5
        assert min(times) > 0.0
        assert rows[method]["step_seconds"] == statistics.median(times)


def test_methods_take_turns_until_the_time_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def seconds(_: StepClock, method: str, __: Callable[[], None]) -> float:
        turns.append(method)
        return 1.0

    monkeypatch.setattr(StepClock, "seconds", seconds)
    clock = iter(range(1000))
    monkeypatch.setattr("collabpipe.training.step_cost.time.perf_counter", lambda: float(next(clock)))
    entries = [entry("baseline"), entry("kernel")]
    found = measure_overhead(entries, SHAPE, CLASSES, TRAINING, device=CPU, seconds=3.5, least=2)
    assert len(found.rounds["resnet8/baseline"]) > 2
    assert turns == ["baseline", "kernel"] * len(found.rounds["resnet8/kernel"])


def test_ratios_are_empty_without_plain_cross_entropy_and_of_each_network_alone() -> None:
    other = NetworkSettings(kind="vgg16", width=8)
    entries = [entry("kernel"), entry("kernel", other), entry("baseline", other)]
    table = measure_overhead(entries, SHAPE, CLASSES, TRAINING, device=CPU, seconds=0.0, least=1).table
    ratios = table.filter(like="_ratio")
    assert ratios.iloc[0].isna().all()
    assert ratios["flops_ratio"].tolist()[1:] == [table["flops"][1] / table["flops"][2], 1.0]
    assert table["network"].tolist() == ["resnet8", "vgg16", "vgg16"]


def test_plain_cross_entropy_is_known_by_what_it_does() -> None:
    entries = [
        Entry("a", NETWORK, "plain", Composition()),
        Entry("a", NETWORK, "baseline", entry("kernel").composition),
    ]
    table = measure_overhead(entries, SHAPE, CLASSES, TRAINING, device=CPU, seconds=0.0, least=1).table
    assert table["flops_ratio"].tolist() == [1.0, table["flops"][1] / table["flops"][0]]


AGAIN = """
import sys
from tests.training.test_step_cost import CPU, CLASSES, DEFINITIONS, EXACT, SHAPE, TRAINING, entry, measure_overhead
entries = [entry(method) for method in DEFINITIONS]
table = measure_overhead(entries, SHAPE, CLASSES, TRAINING, device=CPU, seconds=0.0, least=1).table
sys.stdout.write(table[EXACT].to_csv())
"""


def test_counted_columns_are_the_same_in_another_process(measured: StepCosts) -> None:
    done = subprocess.run([sys.executable, "-c", AGAIN], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == measured.table[EXACT].to_csv()
    # The profiler keeps quiet about its start and stop.
    assert "profiler" not in done.stderr


def test_counted_columns_are_the_same_in_this_process(rows: Rows) -> None:
    for method in ("dropout", "combined", "multi_head"):
        for _ in range(2):
            again = subject(method)
            assert [*again.parameters, *again.flops_and_saved_bytes()] == [rows[method][name] for name in EXACT]


def test_saved_bytes_hang_on_no_device(rows: Rows) -> None:
    for method in DEFINITIONS:
        shapes = subject(method, device=torch.device("meta"))
        assert list(shapes.flops_and_saved_bytes()) == [rows[method][name] for name in EXACT[2:]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_measures_on_a_gpu(measured: StepCosts) -> None:
    entries = [entry(method) for method in DEFINITIONS]
    found = measure_overhead(entries, SHAPE, CLASSES, TRAINING, seconds=0.0)
    assert found.not_captured == []
    assert found.table[EXACT[:3]].equals(measured.table[EXACT[:3]])
    assert (found.table["peak_bytes"] > found.table["saved_bytes"]).all()
    assert (found.table["step_seconds"] > 0.0).all()


LATE = "r/late: split for network resnet8 'stage7' is not allowed. Allowed: input, stage1, stage2, .*classifier"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("kernel"), entry("kernel")], "resnet8/kernel is to be measured twice"),
        ([Entry("r", NETWORK, "late", Composition(passes=Passes(heads=2, split="stage7")))], LATE),
    ],
)
def test_entries_that_cannot_be_measured_are_named(entries: list[Entry], message: str) -> None:
    with pytest.raises(CollabpipeError, match=message):
        measure_overhead(entries, SHAPE, CLASSES, TRAINING, device=CPU)


# --- what is written -------------------------------------------------------------------------------------------------


def test_written_table_has_full_precision(measured: StepCosts, tmp_path: Path) -> None:
    write_overhead(measured, tmp_path, {"study": "small"})
    read = pd.read_csv(tmp_path / "overhead.csv")
    pd.testing.assert_frame_equal(read, measured.table, check_exact=True)
    record = json.loads((tmp_path / "overhead.json").read_text())
    assert record["rounds"] == measured.rounds
    assert record["about"] == {"study": "small"}
    assert record["conditions"]["shape"] == list(SHAPE)
    assert record["conditions"]["batch_size"] == BATCH
    assert record["where"]["device"] == measured.table["device"][0]
    assert "torch" in record["where"]["packages"]
    assert "not_captured" not in record
    assert sorted(path.name for path in tmp_path.iterdir()) == ["overhead.csv", "overhead.json", "overhead.md"]


def test_table_for_reading_has_units_ratios_and_conditions(tmp_path: Path) -> None:
    values = (1_000_000, 500_000, 2_500_000_000, 3_000_000, 4_000_000, 0.1234)
    ratios = (2.0, 1.0, 1.234, 1.5, 1.006, 0.999)
    table = pd.DataFrame([["net", "kernel", *values, "Chip", *ratios], ["net", "bare", *values, "Chip", *[None] * 6]])
    table.columns = pd.Index(COLUMNS)
    conditions = Conditions("Chip", (3, 32, 32), 10, 128, "float32", 2)
    write_overhead(StepCosts(table, {}, conditions, not_captured=["net/kernel"]), tmp_path, {})
    text = (tmp_path / "overhead.md").read_text()
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| net ")
    ]
    assert cells[0][2:] == ["1.00 ×2.00", "0.50 ×1.00", "2.5 ×1.23", "3.0 ×1.50", "4.0 ×1.01", "123.4 ×1.00"]
    assert cells[1][2:] == ["1.00", "0.50", "2.5", "3.0", "4.0", "123.4"]
    for fact in ("Chip", "2 threads", "batches of 128", "3×32×32", "10 classes", "float32", "MB is 10⁶"):
        assert fact in text
    assert "Timed as they are written, not as CUDA graphs, so maybe with the host's time: net/kernel." in text
    assert json.loads((tmp_path / "overhead.json").read_text())["not_captured"] == ["net/kernel"]


def test_a_folder_that_cannot_be_written_is_named(measured: StepCosts, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CollabpipeError, match="cannot write"):
        write_overhead(measured, tmp_path / "file", {})
