"""The figures that were drawn, with what they show in words: for pages, and for readers of screens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from collabpipe.common.files import record_of
from collabpipe.plan.figures import FIGURES
from collabpipe.plan.paths import RECORD
from collabpipe.plan.record_types import ShownRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMED = 8
BROKEN_NAME = re.compile(r"(?<=[_./-])\n")


@dataclass(frozen=True)
class ShownFigure:
    """A figure as a page embeds it.

    The SVG belongs into an `img` element, not into the page itself: the ids of several figures would collide.
    """

    name: str
    title: str
    caption: str
    """What the figure shows in any study."""
    alternative: str
    """What it shows in this study, for readers of screens: the `alt` text."""
    svg: Path
    png: Path


def shown_figures(folder: Path) -> list[ShownFigure]:
    """The figures that lie in `folder`, in the order of pages. Texts are not escaped."""
    record: ShownRecord = record_of(folder / RECORD)
    texts = record.get("alternatives", {})
    drawn = [kind for kind in FIGURES if all((folder / name).is_file() for name in kind.files)]
    return [
        ShownFigure(
            kind.name,
            kind.title,
            kind.caption,
            texts.get(kind.name, kind.title),
            svg=folder / kind.svg,
            png=folder / kind.png,
        )
        for kind in drawn
    ]


def described(figure: Figure) -> str:
    """What a figure shows in words: its panels, what their axes measure, and the names in its legends."""
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    if not panels:
        return " ".join(_line(text.get_text()) for text in figure.texts)
    measured = {(axes.get_ylabel(), axes.get_xlabel()) for axes in panels}
    axes = [" against ".join(_line(label) for label in labels if label) for labels in sorted(measured)]
    named = [panel for panel in panels if panel.axison and not panel.get_ylabel()]
    rows = [label.get_text() for panel in named for label in panel.get_yticklabels()]
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    count = f"{len(panels)} panel{'s' * (len(panels) > 1)}"
    parts = [
        f"{count}: {_named(panel.get_title(loc='left') for panel in panels)}",
        f"They show {'; '.join(axes)}" if any(axes) else "",
        f"Rows: {_named(rows)}" if any(rows) else "",
        f"Legend: {_named(legends)}" if legends else "",
    ]
    return " ".join(f"{part}." for part in parts if part)


def _line(text: str) -> str:
    """Wrapped text in one line, and broken names in one word."""
    return " ".join(BROKEN_NAME.sub("", text).split())


def _named(texts: Iterable[str]) -> str:
    names = [_line(text) for text in dict.fromkeys(texts)]
    more = len(names) - MOST_NAMED
    return "; ".join(names[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
