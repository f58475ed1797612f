"""Figures: that they are drawn, whole and the same for the same tables, and say what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from collabpipe.analysis import figures
from collabpipe.analysis.figures import draw_differences, draw_transitions
from collabpipe.common.files import read_json, sealed, write_json
from tests.workspaces import Workspace, jobs


def record(classes: int, wrong: float = 0.4) -> dict[str, Any]:
    """A label file's record: each class's images go to the next one at the rate `wrong`."""
    matrix = (1 - wrong) * np.eye(classes) + wrong * np.roll(np.eye(classes), 1, axis=1)
    return {
        "classes": [f"class {number}" for number in range(classes)],
        "images": 1297,
        "true_rate": wrong,
        "transition_matrix": matrix.tolist(),
    }


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, as matplotlib has them."""
    saved: list[Figure] = []
    save = figures._save

    def keep(figure: Figure, path: Path) -> None:
        saved.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "_save", keep)
    return saved


def panels(figure: Figure) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_visible() and axes.get_title()]


def test_each_label_file_has_a_panel_with_its_name_true_rate_and_size(drawn: list[Figure], tmp_path: Path) -> None:
    draw_transitions([("digits, pair-0.4", record(10)), ("other, pair-0.1", record(5, 0.125))], tmp_path / "a.png")

    first, second = panels(drawn[0])
    assert first.get_title() == "digits, pair-0.4\ntrue rate 40.0%, n = 1,297"
    assert "true rate 12.5%" in second.get_title()
    assert len(drawn[0].axes) == 3, "and a colour bar"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("classes", "names", "shares"), [(2, 2, 4), (10, 10, 20), (11, 11, 0), (20, 20, 0), (21, 0, 0)]
)
def test_names_stand_on_axes_up_to_20_classes_and_shares_in_cells_up_to_10(
    classes: int, names: int, shares: int, drawn: list[Figure], tmp_path: Path
) -> None:
    draw_transitions([("toy", record(classes))], tmp_path / "a.png")

    (axes,) = panels(drawn[0])
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"class {n}" for n in range(names)]
    assert len(axes.get_xticklabels()) == names
    assert sorted(text.get_text() for text in axes.texts) == ["40"] * (shares // 2) + ["60"] * (shares // 2)


def test_a_class_goes_right_to_the_label_that_it_is_given(drawn: list[Figure], tmp_path: Path) -> None:
    draw_transitions([("toy", record(10, 0.25))], tmp_path / "a.png")

    (axes,) = panels(drawn[0])
    assert {t.get_position(): t.get_text() for t in axes.texts}[(4, 3)] == "25", "class 3, column of class 4"


@pytest.mark.parametrize(("files", "grid"), [(1, (1, 1)), (4, (1, 4)), (5, (2, 3)), (9, (3, 3)), (13, (4, 4))])
def test_panels_wrap_to_at_most_four_columns(
    files: int, grid: tuple[int, int], drawn: list[Figure], tmp_path: Path
) -> None:
    draw_transitions([(f"toy {number}", record(3)) for number in range(files)], tmp_path / "a.png")

    assert len(panels(drawn[0])) == files
    assert panels(drawn[0])[0].get_gridspec().get_geometry() == grid


def test_without_noise_the_figure_says_so(drawn: list[Figure], tmp_path: Path) -> None:
    draw_transitions([], tmp_path / "a.png")

    assert [text.get_text() for text in drawn[0].texts] == ["no label noise in this study"]
    assert (tmp_path / "a.png").stat().st_size > 0


def test_equal_records_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_transitions([("toy", record(5))], tmp_path / name)

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_cells_of_a_large_study_stand_in_rows_of_four(tmp_path: Path) -> None:
    columns = [f"diff_{to}{limit}" for to in ("baseline", "control", "rival") for limit in ("", "_low", "_high")]
    cell = {"noise": "none", "network": "n", "method": "m"} | dict.fromkeys(columns, 1.0)
    rows = [{"dataset": f"d{i}", **cell} for i in range(6)]

    sizes = []
    for number in (1, 4, 6):
        draw_differences(pd.DataFrame(rows[:number]), tmp_path / "figure.png")
        sizes.append(Image.open(tmp_path / "figure.png").size)

    (one, height), (four, same), (six, double) = sizes
    assert (four, six) == (4 * one, 4 * one)
    assert (same, double) == (height, 2 * height)


def test_differences_are_drawn_to_the_three_comparators(drawn: list[Figure], tmp_path: Path) -> None:
    columns = [f"diff_{to}{limit}" for to in ("baseline", "control", "rival") for limit in ("", "_low", "_high")]
    row = {"dataset": "d", "noise": "none", "network": "n", "method": "m"} | dict(zip(columns, range(9), strict=True))
    without = row | dict.fromkeys(columns[6:], np.nan)

    for one in (row, without):
        draw_differences(pd.DataFrame([one]), tmp_path / "figure.png")

    names = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in drawn]
    assert names == [
        ["to the baseline", "to the matched control", "to the rival"],
        ["to the baseline", "to the matched control"],
    ]
    points = [line.get_xydata().tolist() for line in panels(drawn[0])[0].lines if line.get_marker() == "o"]
    assert points == [[[0.0, pytest.approx(-0.24)]], [[3.0, 0.0]], [[6.0, pytest.approx(0.24)]]]


# --- what is set for other work ------------------------------------------------------------------------------------


def drawn_with(study: Workspace, **environment: str) -> dict[str, bytes]:
    """The figures, drawn anew under further environment variables."""
    recipe = study.results / "recipes" / f"{study.plan.study.digest}.json"
    study.collabpipe("figures", recipe, env=environment)
    return {path.name: path.read_bytes() for path in sorted((study.results / "figures").glob("*.png"))}


def test_neither_a_notebook_nor_a_personal_style_changes_a_figure(study: Workspace) -> None:
    plain = drawn_with(study)
    assert len(plain) == 3
    assert drawn_with(study, MPLBACKEND="module://matplotlib_inline.backend_inline") == plain
    assert drawn_with(study, MPLBACKEND="TkAgg") == plain
    # LaTeX is not installed here, and the other settings would show.
    style = (
        "text.usetex: true\nfont.size: 30\nfigure.dpi: 20\naxes.facecolor: red\nsavefig.bbox: tight\nbackend: none\n"
    )
    (study.root / "matplotlibrc").write_text(style)
    assert drawn_with(study) == plain


def test_a_figure_that_cannot_be_drawn_leaves_the_tables_and_is_drawn_when_it_can_be(study: Workspace) -> None:
    tables = {path: path.read_bytes() for path in (study.results / "tables").iterdir()}
    figures = {path: path.read_bytes() for path in (study.results / "figures").iterdir()}
    (study.results / "tables" / "main.csv").unlink()
    (study.root / "matplotlibrc").write_bytes(b"\xff\xfe")  # no text: matplotlib itself cannot be imported

    failed = study.snakemake(check=False)
    assert failed.returncode == 1
    assert "Error in rule draw_figures" in failed.stdout + failed.stderr
    assert {path: path.read_bytes() for path in (study.results / "tables").iterdir()} == tables

    (study.root / "matplotlibrc").unlink()
    drawing = study.snakemake()
    assert "draw_figures" in drawing.stdout + drawing.stderr
    assert jobs(drawing) == {}, "but for the figures nothing"
    assert {path: path.read_bytes() for path in (study.results / "figures").iterdir()} == figures


def test_figures_of_another_study_are_drawn_anew_beside_tables_that_stay(study: Workspace) -> None:
    record = study.results / "figures" / "record.json"
    whole = record.read_bytes()
    write_json(record, sealed(read_json(record) | {"study": "another"}))
    made = study.snakemake()
    assert "draw_figures" in made.stdout + made.stderr
    assert jobs(made) == {}
    assert record.read_bytes() == whole
    assert "Nothing to be done" in study.snakemake("-n").stdout
