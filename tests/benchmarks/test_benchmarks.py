"""The benchmarks: what is written, and whether a goal counts as reached. No time is judged."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.__main__ import ASKED, earlier
from benchmarks.ours import clean_labels, random_images, recipe
from benchmarks.plain import PlainLoop
from benchmarks.report import as_record, table, write
from benchmarks.rounds import Goal, Ratio, Row, in_turns, paired
from collabpipe.common.files import write_json
from collabpipe.model.networks import build_network
from collabpipe.training.device import be_deterministic
from collabpipe.training.engine import Training
from tests.workspaces import REPOSITORY


@pytest.mark.parametrize(
    ("value", "goal", "reached"),
    [
        (8.0, Goal("≥", 8.0), True),
        (7.99, Goal("≥", 8.0), False),
        (1.05, Goal("≤", 1.05), True),
        (1.06, Goal("≤", 1.05), False),
        (1.0, Goal("<", 1.0), False),
        (0.99, Goal("<", 1.0), True),
        (float("nan"), Goal("≥", 8.0), False),
        (None, Goal("≥", 8.0), None),
        (3.0, None, None),
    ],
)
def test_a_goal_is_reached_up_to_its_bound(value: float | None, goal: Goal | None, reached: bool | None) -> None:
    row = Row("rate", "plain", value, goal)
    assert row.reached is reached
    shown = {None: "–", True: "yes", False: "**no**"}[reached]
    assert table([row]).splitlines()[-1].split(" | ")[4] == shown


def test_rounds_take_turns_in_both_directions_after_a_round_that_warms_up() -> None:
    done: list[str] = []
    ticks = itertools.count()
    times = in_turns(
        {name: lambda name=name: done.append(name) for name in "abc"},  # type: ignore[misc]
        seconds=0.0,
        least=3,
        rest=lambda: done.append("."),
        clock=lambda: next(ticks),
    )
    assert "".join(done) == "abc.a.b.c.c.b.a.a.b.c"
    assert times == {name: [1, 1, 1] for name in "abc"}


def test_ratios_are_paired_round_by_round() -> None:
    # A slow second round slows both: the ratio does not see it.
    assert paired([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == Ratio(median=2.0, low=2.0, high=2.5)


def test_a_report_replaces_its_own_device_and_keeps_all_other_text(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# By hand\n\n<!-- measured: cpu -->\nold\n<!-- end: cpu -->\n\nmore by hand\n", encoding="utf-8")
    write(page, "cpu", {"Input": [Row("rate", "plain", 9.0, Goal("≥", 8.0))]}, "Measured so.")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# By hand\n\n<!-- measured: cpu -->\n\nMeasured so.")
    assert text.endswith("<!-- end: cpu -->\n\nmore by hand\n")
    assert "old" not in text
    assert "### Input" in text
    assert "| rate | plain | 9 × | ≥ 8 | yes |  |" in text


@pytest.mark.slow
def test_the_command_measures_every_section_and_writes_its_page(tmp_path: Path) -> None:
    out = tmp_path / "performance.md"
    tiny = ["--seconds", "0", "--batch-size", "4", "--width", "4", "--only", "input", "step", "methods"]
    command = [sys.executable, "-m", "benchmarks", *tiny, "--out", str(out)]
    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, text=True, timeout=1800)
    lines = [line.split(" | ") for line in out.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [line for line in lines if len(line) == 6 and line[0] not in ("| what", "| ---")]
    assert len(rows) == 3 + 6 + 24
    for _, _, value, goal, reached, _ in rows:
        assert math.isfinite(float(value.split()[0].replace(",", "")))
        # Whether a measured value keeps its goal is not for a test to say: values are printed rounded, too.
        assert reached in (("–",) if goal == "–" else ("yes", "**no**"))


def test_given_the_engines_batches_the_plain_loop_arrives_at_its_weights() -> None:
    be_deterministic(1)
    data = random_images(40, (1, 28, 28))
    asked = recipe("fashion_mnist", 4, {"epochs": 3, "batch_size": 16})
    training = Training(asked, data, clean_labels(np.arange(40), data), torch.device("cpu"))
    network = build_network(asked.network, 1, 10)
    network.load_state_dict(training.method.network.state_dict())
    batches: list[tuple[Tensor, Tensor]] = []
    training.method.register_forward_pre_hook(lambda _, given: batches.append((given[0].clone(), given[1].clone())))
    for _ in training.run():
        pass
    # 40 images are two batches of 16 and one of 8; the rate falls from epoch to epoch on both sides.
    loop = PlainLoop(network, iter(batches), steps=9, epoch=3, device="cpu")
    for _ in batches:
        loop.step()
    assert loop.done == 9
    # Layouts round differently, and steps magnify it.
    torch.testing.assert_close(network.state_dict(), training.method.network.state_dict(), rtol=1e-3, atol=1e-4)


WITHOUT = """
import sys
from pathlib import Path
sys.modules["torchvision"] = None
from benchmarks.__main__ import measure
from benchmarks.rounds import Context
(row,) = measure("input", Context("cpu", 0.0, Path("."), 4, 4))
print(row.value, row.note)
"""


def test_a_section_whose_library_is_missing_says_so() -> None:
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, check=True, cwd=REPOSITORY, timeout=600, capture_output=True, text=True)

    assert done.stdout == "None not measured: torchvision is not here\n"


@pytest.mark.parametrize("changed", [None, "device", "seconds", "batch_size", "width"])
def test_sections_that_were_measured_alike_before_are_kept(changed: str | None, tmp_path: Path) -> None:
    rows = {"Input pipeline": [Row("a", "b", 2.0, Goal("≥", 1.0), note="c")], "Status": [Row("d", "", None)]}
    asked = Namespace(json=tmp_path / "found.json", device="cpu", seconds=1.0, batch_size=8, width=4)
    assert earlier(asked) == ({}, 0.0)

    about = {name: getattr(asked, name) for name in ASKED} | {"minutes": 3.0}
    write_json(asked.json, about | as_record("cpu", rows) | ({changed: None} if changed else {}))

    assert earlier(asked) == (({}, 0.0) if changed else (rows, 3.0))
