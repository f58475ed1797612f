"""The pages lead somewhere: links, the site's table of contents, studies that a reader copies, what is generated."""

from __future__ import annotations

import re
import runpy
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import yaml

from collabpipe.settings.study import check_settings
from tests.workspaces import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted(
    [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "config" / "README.md", *DOCS.rglob("*.md")]
)
REFERENCE = runpy.run_path(str(DOCS / "reference.py"))
DIAGRAMS = runpy.run_path(str(DOCS / "diagrams.py"))
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@cache
def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub and the site make them."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return names


def broken(page: Path) -> list[str]:
    """The links of a page that lead to no file, or to no heading."""
    wrong = []
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken(page) == []


def test_a_link_to_no_file_and_one_to_no_heading_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](page.md#one) [b](none.md) [c](#two) [d](page.md)\n")

    assert broken(page) == ["none.md", "#two"]


def test_the_table_of_contents_of_the_site_names_every_page_once() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    entries = [
        re.sub(r".*<(.*)>", r"\1", line)
        for block in re.findall(r"```\{toctree\}(.*?)```", index, re.S)
        for line in block.splitlines()
        if line and not line.startswith(":")
    ]

    listed = [(DOCS / f"{entry}.md").resolve() for entry in entries]

    assert sorted(listed) == [page for page in PAGES if page != DOCS / "index.md"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/adding-a-method.md"])
def test_every_file_that_a_page_tells_to_touch_is_there(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    named = re.findall(r"\b(?:collabpipe|config|docs|rules|tests)/[a-z_/0-9-]+\.(?:py|md|json|rst)\b", text)

    assert len(named) > 2
    assert [path for path in named if not (REPOSITORY / path).is_file()] == []


def test_every_diagram_has_the_picture_of_its_present_text_and_no_picture_is_left_over() -> None:
    # Made by docs/diagrams.py.
    texts = DIAGRAMS["diagrams"]()

    assert len(texts) == sum(page.read_text(encoding="utf-8").count("```mermaid") for page in PAGES) > 1
    assert {DIAGRAMS["picture"](text) for text in texts} == set(DIAGRAMS["PICTURES"].iterdir())
    assert all(DIAGRAMS["described"](text) for text in texts)
    assert DIAGRAMS["picture"](texts[0] + "A --> B") not in set(DIAGRAMS["PICTURES"].iterdir())


@pytest.mark.parametrize("path", sorted(DIAGRAMS["PICTURES"].iterdir()), ids=lambda path: path.stem)
def test_a_diagrams_picture_runs_and_loads_nothing(path: Path) -> None:
    drawn = path.read_text(encoding="utf-8")

    assert drawn.startswith("<svg ")
    assert set(re.findall(r"https?://[^\"' <>]+", drawn)) == {"http://www.w3.org/2000/svg"}
    assert re.findall(r"<script|<foreignObject|<image|@import|\burl\((?!#)", drawn) == []


@pytest.mark.parametrize("page", REFERENCE["PAGES"])
def test_a_generated_page_is_what_the_code_says(page: str) -> None:
    # Written by `make reference`.
    assert (DOCS / page).read_text(encoding="utf-8") == REFERENCE["PAGES"][page]()


def test_every_key_and_every_argument_has_a_meaning() -> None:
    for page in REFERENCE["PAGES"]:
        rows = re.findall(r"^\| `.*$", (DOCS / page).read_text(encoding="utf-8"), re.M)
        assert len(rows) > 50
        assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize("page", ["docs/tour.md", "config/README.md"])
def test_a_study_in_the_pages_is_one(page: str) -> None:
    blocks = re.findall(r"^```yaml\n(study:.*?)^```", (REPOSITORY / page).read_text(encoding="utf-8"), re.M | re.S)

    assert [check_settings(yaml.safe_load(block), {}).study for block in blocks] == ["my_first"]
