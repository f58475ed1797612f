"""The host's GPUs, and which of them CUDA_VISIBLE_DEVICES leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabpipe.common.errors import CollabpipeError
from collabpipe.host import gpus
from collabpipe.host.gpus import find_gpus, given_by_slurm, hides_all, known_to_driver, visible_devices

FOUR: dict[str, list[str]] = {f"GPU-{digit}{n}": [] for n, digit in enumerate("aabc")}
"""The first two share a beginning."""
DIVIDED = {"GPU-a": [], "GPU-b": ["MIG-1", "MIG-2"]}

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/2/0)
GPU 1: NVIDIA H200 (UUID: GPU-8932f937-d72c-4106-c12f-20bd9faed9f6)
"""


@pytest.fixture(autouse=True)
def no_gpu_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")] + [gpus.MASK, gpus.SIMULATED]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "DRIVER_FOLDER", tmp_path / "gpus")


def nvidia_smi(folder: Path, text: str) -> None:
    """A program in place of nvidia-smi."""
    script = folder / "nvidia-smi"
    script.write_text(
        f"#!/bin/sh\n[ $1 = -L ] || exit 2\nwhile read -r line; do echo \"$line\"; done <<'END'\n{text}END\n"
    )
    script.chmod(0o755)


def driver_knows(folder: Path, address: str, uuid: str) -> None:
    information = folder / address / "information"
    information.parent.mkdir(parents=True)
    information.write_text(f"Model: \t\t NVIDIA H200\nIRQ:   \t\t 16\nGPU UUID: \t {uuid}\nVideo BIOS: \t 96.00\n")


def test_gpus_are_those_that_nvidia_smi_lists_with_the_devices_they_are_divided_into(tmp_path: Path) -> None:
    nvidia_smi(tmp_path, LISTING)

    assert find_gpus() == {
        "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77": [
            "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
            "MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/2/0",
        ],
        "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6": [],
    }


def test_a_host_whose_driver_is_not_loaded_has_none(tmp_path: Path) -> None:
    nvidia_smi(tmp_path, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n")

    assert find_gpus() == {}


def test_without_nvidia_smi_the_driver_tells_them_in_the_order_of_their_addresses(tmp_path: Path) -> None:
    assert find_gpus() == {}
    driver_knows(tmp_path / "gpus", "0000:b1:00.0", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")
    driver_knows(tmp_path / "gpus", "0000:17:00.0", "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77")

    assert list(find_gpus()) == [
        "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77",
        "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
    ]


def test_gpus_that_cannot_be_told_apart_are_an_error_with_its_fix(tmp_path: Path) -> None:
    driver_knows(tmp_path, "0000:17:00.0", "GPU-????????-????-????-????-????????????")

    with pytest.raises(CollabpipeError, match=r"nvidia-smi is missing.*NVIDIA_DRIVER_CAPABILITIES"):
        known_to_driver(tmp_path)


def test_a_variable_simulates_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.SIMULATED, "0, 1,GPU-a")
    assert list(find_gpus()) == ["0", "1", "GPU-a"]

    monkeypatch.setenv(gpus.SIMULATED, "")
    assert find_gpus() == {}


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (None, ["GPU-a0", "GPU-a1", "GPU-b2", "GPU-c3"]),
        ("2,0", ["GPU-b2", "GPU-a0"]),
        (" 1 , 3", ["GPU-a1", "GPU-c3"]),
        ("GPU-c3,GPU-a0", ["GPU-c3", "GPU-a0"]),
        ("GPU-b", ["GPU-b2"]),
        ("GPU-a", []),  # two begin so
        ("0,2,-1,1", ["GPU-a0", "GPU-b2"]),  # the example in CUDA's guide
        ("0,4,1", ["GPU-a0"]),
        ("0,,1", ["GPU-a0"]),
        ("1,1", []),
        ("0,GPU-a0", []),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("9" * 5000, []),
    ],
)
def test_a_mask_leaves_what_cuda_would_show(mask: str | None, expected: list[str]) -> None:
    assert visible_devices(mask, FOUR) == expected


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (None, ["GPU-a", "MIG-1", "MIG-2"]),
        ("1", ["MIG-1", "MIG-2"]),
        ("GPU-b,GPU-a", ["MIG-1", "MIG-2", "GPU-a"]),
        ("MIG-2,GPU-a", ["MIG-2", "GPU-a"]),
        ("MIG-", []),
        ("MIG-1,1", []),
    ],
)
def test_a_divided_gpu_stands_for_its_parts(mask: str | None, expected: list[str]) -> None:
    assert visible_devices(mask, DIVIDED) == expected


NAMES = {"0": "GPU-a0", "1": "GPU-a1", "2": "GPU-b2", "3": "GPU-c3", "GPU-b": "GPU-b2", **{gpu: gpu for gpu in FOUR}}
DISTINCT = st.lists(st.sampled_from(sorted(NAMES)), unique_by=NAMES.__getitem__)
INVALID = st.sampled_from(["", "-1", "4", "17", "GPU-", "GPU-a", "GPU-x", "MIG-GPU-a0/1/0", "void", "a0", "+0"])


@given(DISTINCT, INVALID, st.lists(st.sampled_from(sorted(NAMES)) | INVALID))
def test_entries_name_their_devices_in_order_up_to_the_first_that_names_none(
    names: list[str], invalid: str, rest: list[str]
) -> None:
    expected = [NAMES[name] for name in names]

    assert visible_devices(",".join([*names, invalid, *rest]), FOUR) == expected
    assert names == [] or visible_devices(",".join(names), FOUR) == expected


@given(DISTINCT.filter(len), st.data())
def test_a_device_that_is_named_twice_leaves_none(names: list[str], data: st.DataObject) -> None:
    twice = data.draw(st.sampled_from([name for name, gpu in NAMES.items() if gpu in {NAMES[n] for n in names}]))

    assert visible_devices(",".join([*names, twice]), FOUR) == []


@given(st.text() | st.text("0123GPUMIG-ab, ", max_size=12))
def test_whatever_a_mask_says_it_leaves_different_devices_of_the_host(mask: str) -> None:
    devices = visible_devices(mask, DIVIDED)

    assert len(set(devices)) == len(devices)
    assert set(devices) <= {"GPU-a", "MIG-1", "MIG-2"}
    assert not (hides_all(mask) and devices)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"CUDA_VISIBLE_DEVICES": "0"}, False),
        ({"SLURM_JOB_ID": "7"}, False),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "3"}, True),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "MIG-1"}, True),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "2"}, True),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0,1", "SLURM_STEP_GPUS": "1"}, True),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0-3"}, False),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0,1", "CUDA_VISIBLE_DEVICES": "0,1"}, False),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, False),
        ({"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": ""}, False),
    ],
)
def test_slurm_gave_a_device_if_it_chose_one(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert given_by_slurm() is expected
