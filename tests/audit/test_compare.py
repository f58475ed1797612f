"""Texts that were computed twice are alike if only the last digits of their numbers differ."""

from __future__ import annotations

import string

from hypothesis import example, given
from hypothesis import strategies as st

from collabpipe.audit.compare import alike

WORDS = st.text(string.ascii_letters + " ,:\n{}[]\"'_|/", min_size=1, max_size=12)
FLOATS = st.floats(min_value=1e-3, max_value=1e6).map(lambda number: float(f"{number:.12g}"))


def written(words: list[str], numbers: list[float]) -> str:
    return "".join(f"{word} {number!r} " for word, number in zip(words, numbers, strict=True))


@given(st.lists(st.tuples(WORDS, FLOATS), min_size=1, max_size=8), st.data())
def test_last_digits_of_numbers_may_differ_and_nothing_else(
    parts: list[tuple[str, float]], data: st.DataObject
) -> None:
    words, numbers = [word for word, _ in parts], [number for _, number in parts]
    text = written(words, numbers)
    rounded = [number * (1.0 + data.draw(st.floats(-1e-8, 1e-8))) for number in numbers]
    assert alike(text, text)
    assert alike(text, written(words, rounded))

    place = data.draw(st.integers(0, len(parts) - 1))
    factor = data.draw(st.sampled_from([-1.0, 0.0, 0.99, 1.0001, 2.0, 10.0]))
    other = [number * factor if i == place else number for i, number in enumerate(numbers)]
    assert not alike(text, written(words, other))
    more = [word + "x" if i == place else word for i, word in enumerate(words)]
    assert not alike(text, written(more, numbers))
    assert not alike(text, written([*words, "x"], [*numbers, 1.0]))


@given(st.integers(0, 2**63), st.integers(1, 9))
@example(791345853915685207, 1)  # a seed of the study
@example(12_345_678, 1)  # a number of parameters
def test_whole_numbers_are_counts_and_seeds_and_do_not_differ_in_a_digit(number: int, more: int) -> None:
    assert not alike(f"n,{number},x", f"n,{number + more},x")


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(0, 63), st.integers(1, 15))
@example("0" * 30 + "1e999" + "a" * 29, 34, 1)
@example("a" + "0e7" + "a" * 60, 3, 1)
@example("a" + "12345678" + "b" * 55, 8, 1)
def test_digests_do_not_differ_in_a_digit(digest: str, place: int, more: int) -> None:
    digit = "0123456789abcdef"[(int(digest[place], 16) + more) % 16]
    other = digest[:place] + digit + digest[place + 1 :]
    assert not alike(f"sha256: {digest}", f"sha256: {other}")
    assert not alike(f"results/recipes/{digest}.json", f"results/recipes/{other}.json")
