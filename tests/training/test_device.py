"""What a process is set up to before it trains."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, torch
from collabpipe.training.device import be_deterministic
if {told}:
    be_deterministic(1)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
# An aligned block is reused once there is room for it beside another: after a few.
for _ in range(30):
    torch.ones(10 << 20)
before = faults()
for _ in range(10):
    torch.ones(10 << 20)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries are not told")
def test_what_a_step_frees_is_there_for_the_next() -> None:
    def faults(told: bool) -> int:
        command = [sys.executable, "-c", STEPS.format(told=told)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)

    # Ten times 40 MiB are 102,400 pages of 4 KiB, fewer where pages are larger.
    assert faults(told=True) < faults(told=False) / 3
