"""The grammar of one."""

from __future__ import annotations

import pytest

from collabpipe.common.counts import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 runs lie"), (1, "1 run lies"), (2, "2 runs lie"), (1234, "1,234 runs lie")]
)
def test_one_is_told_from_none_and_from_many(number: int, said: str) -> None:
    assert counted(number, "run lies", "runs lie") == said
