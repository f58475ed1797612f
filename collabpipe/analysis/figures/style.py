"""How all figures look: colours, sizes, the place of each panel, and the files that they are saved in.

Sizes are inches. A sheet places its panels by arithmetic, so a figure with hundreds of panels costs no search for a
layout. Colours are those of Okabe and Ito (2008), without yellow, which is too light on white. Markers and lines differ
too, so that the figures can be read in grey print.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from collabpipe.common.files import atomic_path

COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ((5, 1.5), (1, 1), (5, 1, 1, 1), (3, 2), (9, 2, 2, 2), (3, 1, 1, 1))
LINES: tuple[Any, ...] = ("-", *((0, dashes) for dashes in DASHES))
GREY = "#666666"
TOGETHER = len(COLOURS)
"""The most methods in one panel."""
MOST_PANELS = 280
"""In one figure. A larger study shows its first cells, and says so."""
FONT = 8.0
SMALL = 7.0
LINE_HEIGHT = 1.3 / 72.0
"""Of a line of text, for each point of its size."""
CHARACTER = 0.62 / 72.0
"""The width of a character, on average, for each point of its size."""
PIXELS_PER_INCH = 150
MOST_PIXELS = 60_000
"""Of a side; matplotlib draws no more than 65,535."""
DRAWN = re.compile(r'(?<= d=")[^"]*|(?<= [xy]=")[^"]*')
LONG_NUMBER = re.compile(r"(\.\d\d)\d+")
SPARED = tuple(
    (re.compile(pattern), instead)
    for pattern, instead in (
        (r"<!DOCTYPE[^>]*>\s*", ""),
        (r'<g id="[^"]*"', "<g"),
        (r' transform="rotate\(-0 [^"]*\)"', ""),
        (r"\n\s+", "\n"),
    )
)

SETTINGS: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.labelsize": FONT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    # Names of classes and data sets may hold dollar signs.
    "text.parse_math": False,
    # In an SVG text is text, which can be found, read out and copied; equal figures have equal ids.
    "svg.fonttype": "none",
    "svg.hashsalt": "collabpipe",
}


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with these settings alone, whatever a personal matplotlibrc says: LaTeX need not be installed here."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def save(figure: Figure, path: Path) -> None:
    """Write `figure` in the format that `path` ends in: equal figures give equal bytes, without version or date."""
    with atomic_path(path) as temporary:
        if path.suffix == ".png":
            metadata: dict[str, Any] = {"Software": None}
            sharpness = min(PIXELS_PER_INCH, MOST_PIXELS / max(figure.get_size_inches()))
            figure.savefig(temporary, format="png", backend="agg", dpi=sharpness, metadata=metadata)
            return
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(temporary, format="svg", backend="svg", metadata=metadata)
        temporary.write_text(compact(temporary.read_text(encoding="utf-8")), encoding="utf-8")


def compact(svg: str) -> str:
    """A drawing of matplotlib's with half of the bytes: hundredths of a point, no indents, no names of groups.

    Nor an address of a document type, which no browser loads and yet looks like a request.
    """
    shorter = DRAWN.sub(lambda found: LONG_NUMBER.sub(r"\1", found.group()).replace("\n", " "), svg)
    for pattern, instead in SPARED:
        shorter = pattern.sub(instead, shorter)
    return shorter


def wrapped(text: str, width: float, size: float = FONT) -> str:
    """`text` in lines of at most `width` inches; a long name breaks after `_`, `-` or `.` in a line's second half."""
    most = max(int(width / (CHARACTER * size)), 6)
    lines = []
    wide = (textwrap.wrap(line, most, break_long_words=False, break_on_hyphens=False) for line in text.split("\n"))
    for rest in (line for of_line in wide for line in of_line):
        while len(rest) > most:
            end = max(rest.rfind(mark, most // 2, most) for mark in "_-.,/")
            cut = end + 1 if end > 0 else most
            lines.append(rest[:cut])
            rest = rest[cut:]
        lines.append(rest)
    return "\n".join(lines)


def shortened(text: str, most: int) -> str:
    """`text` with its middle left out if it is longer than `most` characters."""
    tail = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def height_of(texts: Sequence[str], size: float = FONT) -> float:
    """The height of the tallest of some wrapped texts."""
    return max((text.count("\n") + 1 for text in texts), default=0) * LINE_HEIGHT * size


def width_of(texts: Sequence[str], size: float = FONT) -> float:
    """The width of the widest of some wrapped texts."""
    return max((len(line) for text in texts for line in text.split("\n")), default=0) * CHARACTER * size


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn, in all figures alike."""

    colour: str
    marker: str
    line: Any


@dataclass(frozen=True)
class Methods:
    """The methods of a study in groups that share a panel: the baseline is in each, a matched control follows its own.

    Args:
        names: the methods, in the order of the configuration.
        baseline: which of them is cross-entropy alone, if one is.
        controls: the matched control of each method that has one.
    """

    names: Sequence[str]
    baseline: str | None = None
    controls: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> list[list[str]]:
        """At most `TOGETHER` methods each."""
        first = [self.baseline] if self.baseline in self.names else []
        pairs = [name for method in self.names for name in (method, self.controls.get(method)) if name in self.names]
        others = [str(name) for name in dict.fromkeys(pairs) if name not in first]
        count = max(-(-len(others) // (TOGETHER - len(first))), 1)
        ends = [len(others) * end // count for end in range(count + 1)]
        return [[*map(str, first), *others[start:end]] for start, end in pairwise(ends)]

    def only(self, names: Collection[str]) -> Methods:
        """Those of them that are among `names`."""
        return replace(self, names=[name for name in self.names if name in names])

    @property
    def styles(self) -> dict[str, MethodStyle]:
        """Differ within each group. The first style is the baseline's."""
        skipped = 0 if self.baseline in self.names else 1
        return {
            name: MethodStyle(*(kind[(at + skipped) % TOGETHER] for kind in (COLOURS, MARKERS, LINES)))
            for group in self.groups
            for at, name in enumerate(group)
        }


class Sheet:
    """A figure with places for panels in rows and columns. A place that no panel takes stays white.

    Args:
        rows, columns: of the places.
        width, height: of a panel's axes; the height for all rows, or one per row.
        left, bottom: room for labels of the axes.
        titles: of the panels, wrapped; the tallest gives the room above each panel.
        heads: further room above rows, by their numbers, for legends.
        right: room right of each panel's axes.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        width: float,
        height: float | Sequence[float],
        left: float = 0.65,
        bottom: float = 0.55,
        titles: Sequence[str] = (),
        heads: Mapping[int, float] | None = None,
        right: float = 0.2,
    ):
        self.heights = list(height) if isinstance(height, Sequence) else [height] * rows
        self.inner, self.left, heads = width, left, heads or {}
        self.across = left + width + right
        self.width = self.across * columns
        self.tops: list[float] = []
        """Where each row's room begins, from the top of the figure."""
        below = 0.0
        self.title = height_of(titles) + 0.15
        self.heads = [heads.get(row, 0.0) for row in range(rows)]
        for head, high in zip(self.heads, self.heights, strict=True):
            self.tops.append(below)
            below += head + self.title + high + bottom
        self.height = below
        self.figure = Figure(figsize=(self.width, self.height))

    def place(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Inches from the top left corner as matplotlib's shares from the bottom left one."""
        return x / self.width, 1.0 - (y + height) / self.height, width / self.width, height / self.height

    def axes(self, row: int, column: int, title: str = "") -> Axes:
        """The panel of a place."""
        top = self.tops[row] + self.heads[row] + self.title
        left = column * self.across + self.left
        axes = self.figure.add_axes(self.place(left, top, self.inner, self.heights[row]))
        axes.set_title(title, loc="left", pad=4)
        return axes

    def legend(self, key: tuple[Sequence[Any], Sequence[str]], row: int = 0, column: int = 0, columns: int = 1) -> None:
        """A legend of handles and labels in the head of a row, above its panels from `column` on."""
        x, y, *_ = self.place(column * self.across, self.tops[row], 0.0, 0.0)
        self.figure.legend(
            *key, loc="upper left", bbox_to_anchor=(x, y), ncols=columns, frameon=False, handlelength=3.2
        )

    def colour_bar(self, colours: ScalarMappable, label: str, **settings: Any) -> None:
        """A bar of colours in the head of the first row, which is to have `BAR` room."""
        axes = self.figure.add_axes(self.place(self.left, 0.1, self.inner, 0.09))
        bar = self.figure.colorbar(colours, cax=axes, orientation="horizontal", **settings)
        bar.set_label(label, labelpad=1)


BAR = 0.45
"""The room that a bar of colours takes."""


def legend_size(labels: Sequence[str], width: float) -> tuple[int, float]:
    """The columns of a legend that is `width` wide, and its height."""
    columns = max(1, min(len(labels), int(width / (width_of(labels, SMALL) + 0.65))))
    rows = -(-len(labels) // columns)
    return columns, rows * (height_of(labels, SMALL) + 0.05) + 0.1


def method_key(
    styles: Mapping[str, MethodStyle], methods: Sequence[str], width: float
) -> tuple[list[Line2D], list[str]]:
    """Handles and wrapped names of `methods` for a legend."""
    handles = [
        Line2D([], [], color=styles[name].colour, marker=styles[name].marker, ls=styles[name].line) for name in methods
    ]
    return handles, [wrapped(name, width, SMALL) for name in methods]


def message(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    shown = wrapped(text, 5.0)
    figure = Figure(figsize=(5.6, 0.5 + height_of([shown])))
    figure.text(0.5, 0.5, shown, ha="center", va="center", color=GREY)
    return figure


def fitted(low: float, high: float, least: float = 1.0) -> tuple[float, float]:
    """Limits of an axis for values from `low` to `high`, which are never closer than `least`."""
    room = max(0.05 * (high - low), (least - (high - low)) / 2)
    return low - room, high + room
