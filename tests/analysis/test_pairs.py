"""Verdicts on one pair of methods: every branch of their definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collabpipe.analysis.pairs import WORST_FIRST, Criterion, Pair, verdict, weakest

NAN = math.nan


@pytest.mark.parametrize(
    ("low", "high", "expected", "word"),
    [
        (1.0, 10.0, 5.0, "reproduced"),  # contains the claim
        (6.0, 10.0, 5.0, "reproduced"),  # exceeds it
        (1.0, 5.0, 5.0, "reproduced"),  # touches it from below
        (1.0, 4.9, 5.0, "direction only"),
        (-1.0, 4.9, 5.0, "not reproduced"),  # contains zero alone
        (0.0, 4.9, 5.0, "not reproduced"),  # a limit at zero contains zero
        (-3.0, -1.0, 5.0, "not reproduced"),
        (-1.0, 5.0, 5.0, "inconclusive"),  # contains both
        (0.0, 10.0, 5.0, "inconclusive"),
        (0.1, 2.0, 0.0, "reproduced"),  # any gain is claimed
        (0.0, 2.0, 0.0, "inconclusive"),
        (-2.0, 0.0, 0.0, "inconclusive"),
        (-2.0, 0.0, 5.0, "not reproduced"),
        (-2.0, -0.1, 0.0, "not reproduced"),
        (0.0, 0.0, 0.0, "inconclusive"),
        (3.0, 3.0, 3.0, "reproduced"),
        (NAN, NAN, 5.0, "inconclusive"),
    ],
)
def test_each_verdict_and_its_boundaries(low: float, high: float, expected: float, word: str) -> None:
    assert verdict(10, low, high, Criterion(expected)) == word
    assert verdict(0, low, high, Criterion(expected)) == "not run"


limits = st.floats(-20, 20)
RANK = {"not reproduced": 0, "inconclusive": 1, "direction only": 1, "reproduced": 2}


@given(a=limits, b=limits, expected=st.just(0.0) | st.floats(0.01, 20), n=st.integers(1, 20))
def test_verdicts_are_what_their_definition_says(a: float, b: float, expected: float, n: int) -> None:
    low, high = min(a, b), max(a, b)
    zero, above, claim = low <= 0 <= high, low > 0, low <= expected <= high
    allowed = {
        "reproduced": above and (claim or low > expected),
        "direction only": above and high < expected,
        "not reproduced": (zero and high < expected) or high < 0,
        "inconclusive": zero and claim,
    }
    assert [word for word, holds in allowed.items() if holds] == [verdict(n, low, high, Criterion(expected))]


@given(a=limits, b=limits, expected=st.floats(0, 20), more=st.floats(0, 20))
def test_a_better_interval_has_no_worse_a_verdict(a: float, b: float, expected: float, more: float) -> None:
    low, high = min(a, b), max(a, b)

    bar = Criterion(expected)
    assert RANK[verdict(5, low + more, high + more, bar)] >= RANK[verdict(5, low, high, bar)]


@given(a=limits, b=limits, expected=st.floats(0, 20), more=st.floats(0, 20))
def test_a_larger_claim_is_no_easier_to_reproduce(a: float, b: float, expected: float, more: float) -> None:
    low, high = min(a, b), max(a, b)

    assert RANK[verdict(5, low, high, Criterion(expected + more))] <= RANK[verdict(5, low, high, Criterion(expected))]


@pytest.mark.parametrize(
    ("low", "high", "equivalent", "expected", "word"),
    [
        (-0.05, 0.05, True, 0.0, "no effect"),
        (0.01, 0.05, True, 0.0, "no effect"),  # a gain, and none that counts
        (-0.05, 0.05, True, 5.0, "no effect"),
        (-0.7, 0.1, False, 0.0, "not reproduced"),  # no gain that counts is left
        (-0.7, 0.5, False, 0.0, "inconclusive"),  # one of the margin's size is
        (-0.7, 0.9, False, 5.0, "not reproduced"),
        (0.1, 0.9, False, 0.0, "reproduced"),
        (0.1, 0.9, False, 5.0, "direction only"),
        (NAN, NAN, False, 0.0, "inconclusive"),
    ],
)
def test_verdicts_with_a_margin_of_half_a_point(
    low: float, high: float, equivalent: bool, expected: float, word: str
) -> None:
    assert verdict(10, low, high, Criterion(expected, margin=0.5), equivalent) == word


@given(a=limits, b=limits, margin=st.floats(0.01, 20), more=st.floats(0, 20))
def test_a_better_interval_has_no_worse_a_verdict_with_a_margin(a: float, b: float, margin: float, more: float) -> None:
    def judged(shift: float) -> int:
        low, high = min(a, b) + shift, max(a, b) + shift
        return WORST_FIRST.index(verdict(5, low, high, Criterion(margin=margin), -margin < low and high < margin))

    assert judged(more) >= judged(0.0)


@pytest.mark.parametrize(
    ("n", "low", "high", "word"),
    [
        (1, 0.5, 0.5, "reproduced"),
        (1, 1.0, 1.0, "not reproduced"),
        (1, 1.2, 1.3, "not reproduced"),
        (1, 0.9, 1.0, "inconclusive"),
        (1, NAN, NAN, "inconclusive"),
        (0, NAN, NAN, "not run"),
    ],
)
def test_a_ratio_of_costs_is_claimed_to_be_below_one(n: int, low: float, high: float, word: str) -> None:
    assert verdict(n, low, high, Criterion(ratio=True)) == word


def test_the_weakest_is_the_one_with_the_worst_verdict_then_with_the_worst_limit() -> None:
    missing, single = Pair("a", "o"), Pair("b", "o", 9.0, n=1)
    low, high = Pair("c", "o", 5.0, 1.0, 9.0, 3), Pair("d", "o", 3.0, 2.0, 4.0, 3)
    wide, refuted = Pair("e", "o", -2.0, -5.0, 1.0, 3), Pair("f", "o", -1.5, -2.0, -1.0, 3)

    assert weakest([high, low, single, refuted, missing]) is missing
    assert weakest([wide, refuted]) is refuted, "a member that is refuted is not hidden by a wide one"
    assert weakest([high, low, single]) is single
    assert weakest([high, low]) is low
    assert weakest([low, high], Criterion(5.0)) is high, "direction only is less than reproduced"
    cheap, dear = Pair("g", "o", 0.5, 0.4, 0.9, 1), Pair("h", "o", 0.6, 0.6, 0.6, 1)
    assert weakest([cheap, dear], Criterion(ratio=True)) is cheap
