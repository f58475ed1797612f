"""Numbers in tables: rounded, with their uncertainty, and empty where they are not known."""

from __future__ import annotations

import math

import pytest

from collabpipe.analysis.formats import number, with_interval, with_spread

NAN = math.nan


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (number(91.204), "91.20"),
        (number(0.00123, ".2g"), "0.0012"),
        (number(NAN), ""),
        (with_spread(91.204, 0.31), "91.20 ± 0.31"),
        (with_spread(91.204, NAN), "91.20"),
        (with_spread(1250, NAN, ",d"), "1,250"),
        (with_spread(NAN, NAN), ""),
        (with_interval(1.2, -0.4, 2.0), "+1.20 [-0.40, +2.00]"),
        (with_interval(1.2, NAN, NAN), "+1.20"),
        (with_interval(NAN, -0.4, 2.0), "[-0.40, +2.00]"),
        (with_interval(NAN, NAN, NAN), ""),
        (with_interval(1.2, 0.9, math.inf, ".2f"), "1.20 [0.90, inf]"),
    ],
)
def test_what_is_not_known_is_left_empty(shown: str, text: str) -> None:
    assert shown == text
