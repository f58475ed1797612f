"""All figures of a study: that they are drawn, the same from the same results, and listed for pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints
from xml.etree import ElementTree

import pytest
import yaml
from matplotlib.figure import Figure

from collabpipe.analysis.figures.accuracy import draw_accuracy
from collabpipe.analysis.figures.described import described, shown_figures
from collabpipe.analysis.figures.material import Material
from collabpipe.analysis.figures.style import message, own_style, save, shortened, wrapped
from collabpipe.analysis.figures.write import drawing
from collabpipe.common.files import read_json, sealed, write_json
from collabpipe.plan.figures import FIGURES
from collabpipe.plan.paths import FIGURE_FILES
from tests.analysis.figures.studies import STUDIES, drawn
from tests.workspaces import REPOSITORY, Workspace, jobs


def test_one_list_has_all_figures() -> None:
    assert FIGURE_FILES[:2] == ("accuracy.svg", "accuracy.png")
    assert len(FIGURE_FILES) == 2 * len(FIGURES) + 1
    for figure in FIGURES:
        caption = (REPOSITORY / "rules" / "report" / f"{figure.name}.rst").read_text(encoding="utf-8")
        assert " ".join(caption.split()) == figure.caption, "Snakemake's report reads captions from files"
    stage = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["tables"]["do"]
    kept = [Path(path).name for kind in ("plots", "outs") for out in stage[kind] for path in out if "/figures/" in path]
    assert sorted(kept) == sorted(FIGURE_FILES)
    page = (REPOSITORY / "docs" / "figures.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE) == [figure.name for figure in FIGURES]


@pytest.mark.parametrize("name", [figure.name for figure in FIGURES])
def test_the_module_of_a_figures_name_draws_it(name: str) -> None:
    assert get_type_hints(drawing(name)) == {"material": Material, "return": Figure}


def test_an_svg_has_text_as_text_and_nothing_of_its_time_and_place(tmp_path: Path) -> None:
    made = STUDIES["odd names"]
    for name in ("a.svg", "b.svg"):
        with own_style():
            save(draw_accuracy(made.accuracies(), made.methods), tmp_path / name)

    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    words = [word for element in ElementTree.fromstring(text).iter() for word in [element.text or ""]]  # noqa: S314
    assert {"<script>&amp;", "a$b$c", "_under_", "$x_1", r"\alpha%"} <= set(words)
    assert not re.search(r"DOCTYPE|Matplotlib v|<dc:|20\d\d-\d\d|/tmp|href=\"(?!#)", text)


def test_a_sheet_that_is_too_tall_for_a_png_is_drawn_with_fewer_pixels(tmp_path: Path) -> None:
    figure = message("tall")
    figure.set_size_inches(0.1, 500.0)
    save(figure, tmp_path / "tall.png")
    assert (tmp_path / "tall.png").read_bytes()[16:24] == b"\0\0\0\x0c\0\0\xea\x60", "12 × 60,000"


@pytest.mark.parametrize("text", ["a", "one two three " * 9, "x" * 200, "a_" * 60, "", "two\nlines"])
def test_wrapping_loses_nothing(text: str) -> None:
    lines = wrapped(text, 1.0).split("\n")
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert max(map(len, lines)) <= 14


def test_shortened_names_keep_both_ends() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 7) == "abc…ijk"


def test_a_figure_is_described_in_words() -> None:
    made = STUDIES["missing cells"]
    assert described(drawn(draw_accuracy, made.accuracies(), made.methods)) == (
        "1 panel: data0, resnet8, symmetric noise. They show test accuracy (%) against wrong labels (%). "
        "Legend: baseline; m0; m1; m2; m3."
    )
    assert described(message("nothing here")) == "nothing here"


def test_pages_get_all_figures_with_titles_captions_and_alternatives(study: Workspace, tmp_path: Path) -> None:
    shown = shown_figures(study.plan.paths.figures)

    assert [figure.name for figure in shown] == [figure.name for figure in FIGURES]
    assert all(figure.title and figure.caption and figure.alternative for figure in shown)
    assert all(figure.svg.suffix == ".svg" and figure.png.suffix == ".png" for figure in shown)
    curves = next(figure for figure in shown if figure.name == "curves")
    assert "Legend: baseline; output; output_control." in curves.alternative
    corrupted = next(figure for figure in shown if figure.name == "corrupted")
    assert corrupted.alternative == "1 panel: digits, symmetric-0.5: true class → label given."
    sizes = {figure.name: figure.svg.stat().st_size for figure in shown}
    assert sum(sizes.values()) < 1_000_000, sizes
    assert shown_figures(tmp_path) == []


# --- what is set for other work ------------------------------------------------------------------------------------


def drawn_with(study: Workspace, **environment: str) -> dict[str, bytes]:
    """The figures, drawn anew under further environment variables."""
    recipe = study.results / "recipes" / f"{study.plan.study.digest}.json"
    study.collabpipe("figures", recipe, env=environment)
    return {path.name: path.read_bytes() for path in sorted(study.plan.paths.figures.glob("*.*g"))}


@pytest.mark.slow
def test_neither_a_notebook_nor_a_personal_style_changes_a_figure(study: Workspace) -> None:
    plain = drawn_with(study)
    assert len(plain) == 2 * len(FIGURES)
    assert drawn_with(study, MPLBACKEND="module://matplotlib_inline.backend_inline") == plain
    assert drawn_with(study, MPLBACKEND="TkAgg") == plain
    # LaTeX is not installed here, and the other settings would show.
    style = (
        "text.usetex: true\nfont.size: 30\nfigure.dpi: 20\naxes.facecolor: red\nsavefig.bbox: tight\nbackend: none\n"
    )
    (study.root / "matplotlibrc").write_text(style)
    assert drawn_with(study) == plain


def test_a_figure_that_cannot_be_drawn_leaves_the_tables_and_is_drawn_when_it_can_be(study: Workspace) -> None:
    tables = {path: path.read_bytes() for path in study.plan.paths.tables.iterdir()}
    figures = {path: path.read_bytes() for path in study.plan.paths.figures.iterdir()}
    (study.plan.paths.tables / "main.csv").unlink()
    (study.root / "matplotlibrc").write_bytes(b"\xff\xfe")  # no text: matplotlib itself cannot be imported

    failed = study.snakemake(check=False)
    assert failed.returncode == 1
    assert "Error in rule draw_figures" in failed.stdout + failed.stderr
    assert {path: path.read_bytes() for path in study.plan.paths.tables.iterdir()} == tables

    (study.root / "matplotlibrc").unlink()
    drawing = study.snakemake()
    assert "draw_figures" in drawing.stdout + drawing.stderr
    assert jobs(drawing) == {}, "but for the figures nothing"
    assert {path: path.read_bytes() for path in study.plan.paths.figures.iterdir()} == figures


def test_figures_of_another_study_are_drawn_anew_beside_tables_that_stay(study: Workspace) -> None:
    record = study.plan.paths.figures / "record.json"
    whole = record.read_bytes()
    write_json(record, sealed(read_json(record) | {"study": "another"}))
    made = study.snakemake()
    assert "draw_figures" in made.stdout + made.stderr
    assert jobs(made) == {}
    assert record.read_bytes() == whole
    assert "Nothing to be done" in study.snakemake("-n").stdout
