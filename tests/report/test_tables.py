"""The page's tables: what their cells show and are sorted by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from collabpipe.analysis.robustness import write_robustness
from collabpipe.report.tables import further_sets_table
from tests.analysis.test_robustness import RUNS, STUDY


def test_accuracies_on_further_test_sets_are_on_the_page(tmp_path: Path) -> None:
    write_robustness(STUDY, RUNS, tmp_path)

    table = further_sets_table(tmp_path / "robustness.csv")

    [baseline, output] = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert baseline["test set"].text == "corruptions"
    assert baseline["own test images, %"].text == "85.00"
    assert baseline["accuracy, %"].text == "40.00 ± 14.14"
    assert baseline["severity 5, %"].order == pytest.approx(20.0)
    assert baseline["− baseline"].text == "", "it is the baseline itself"
    assert output["− baseline"].order == pytest.approx(-5.0)
    assert "fog" not in "".join(table.columns), "fifteen corruptions are in the file"


def test_without_further_test_sets_their_table_has_no_rows(tmp_path: Path) -> None:
    write_robustness(STUDY, [replace(one, further={}) for one in RUNS], tmp_path)

    assert not further_sets_table(tmp_path / "robustness.csv").rows
