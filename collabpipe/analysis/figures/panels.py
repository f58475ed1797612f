"""Panels that show several methods: at most seven together, so a larger study has a column per group of methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from collabpipe.analysis.figures.style import (
    GREY,
    MOST_PANELS,
    SMALL,
    Methods,
    MethodStyle,
    Sheet,
    height_of,
    legend_size,
    method_key,
    width_of,
    wrapped,
)
from collabpipe.common.counts import counted

Draw = Callable[[Axes, Sequence[str]], None]
ACROSS = 3
"""The most panels side by side: a page is no wider."""


@dataclass(frozen=True)
class Panel:
    """What is drawn of some methods together."""

    title: str
    methods: Sequence[str]
    """Those that it has something of."""
    draw: Draw
    """Draws the given methods, and labels the axes."""


@dataclass(frozen=True)
class Section:
    """Panels that show the same methods."""

    panels: Sequence[Panel]
    methods: Methods


def by_groups(sections: Sequence[Section], width: float = 2.6, height: float = 2.0, most: int = MOST_PANELS) -> Figure:
    """A row per panel and a column per group of methods, at most three side by side, under the methods' legends.

    A section with a single group has its panels side by side. Of more than `most` panels, the first of each section
    are drawn, and a line says how many are left out.
    """
    first, left_out = _fitting(sections, most)
    bands = [band for section in sections for band in _bands(section, first)]
    columns = max(band.columns for band in bands)
    keys = [[method_key(band.styles, group, width) for group in band.groups] for band in bands]
    rooms = [(width + 0.85) * (band.columns if len(band.groups) == 1 else 1) for band in bands]
    sizes = [[legend_size(labels, room) for _, labels in of] for of, room in zip(keys, rooms, strict=True)]
    starts = [sum(band.rows for band in bands[:number]) for number in range(len(bands))]
    heads = {start: max(high for _, high in size) for start, size in zip(starts, sizes, strict=True)}
    if left_out:
        heads[0] += 0.25
    titles = [wrapped(panel.title, width) for band in bands for panel in band.panels]
    sheet = Sheet(sum(band.rows for band in bands), columns, width, height, titles=titles, heads=heads)
    if left_out:
        x, y, *_ = sheet.place(0.1, heads[0] - 0.1, 0.0, 0.0)
        sheet.figure.text(x, y, f"{counted(left_out, 'further panel is', 'further panels are')} left out.", color=GREY)
    for band, start, of, size in zip(bands, starts, keys, sizes, strict=True):
        for column, (key, (across, _)) in enumerate(zip(of, size, strict=True)):
            sheet.legend(key, start, column, across)
        for at, panel in enumerate(band.panels):
            for column, group in enumerate(band.groups):
                present = [name for name in group if name in panel.methods]
                row, place = (at, column) if len(band.groups) > 1 else divmod(at, band.columns)
                if present:
                    panel.draw(sheet.axes(start + row, place, wrapped(panel.title, width)), present)
    return sheet.figure


def _fitting(sections: Sequence[Section], most: int) -> tuple[int, int]:
    """How many panels of each section are drawn, and how many panels, one per group of methods, are left out."""

    numbers = [
        [sum(not set(group).isdisjoint(panel.methods) for group in section.methods.groups) for panel in section.panels]
        for section in sections
    ]

    def drawn(first: int) -> int:
        return sum(sum(of_section[:first]) for of_section in numbers)

    longest = max(map(len, numbers))
    first = next((number for number in range(longest, 1, -1) if drawn(number) <= most), 1)
    return first, drawn(longest) - drawn(first)


@dataclass(frozen=True)
class _Band:
    panels: Sequence[Panel]
    groups: Sequence[Sequence[str]]
    styles: Mapping[str, MethodStyle]
    rows: int
    columns: int


def _bands(section: Section, most: int) -> list[_Band]:
    panels, groups, styles = section.panels[:most], section.methods.groups, section.methods.styles
    if len(groups) == 1:
        columns = min(len(panels), ACROSS)
        return [_Band(panels, groups, styles, -(-len(panels) // columns), columns)]
    parts = [groups[at : at + ACROSS] for at in range(0, len(groups), ACROSS)]
    return [_Band(panels, part, styles, len(panels), len(part)) for part in parts]


@dataclass(frozen=True)
class Rows:
    """One panel per cell, with one row per name: names at the left, as many lines as they need."""

    names: Sequence[str]
    """Of all panels; they give the room at the left and the height of a row."""
    least: float = 0.2
    """The height of a row, if its name has one line."""

    @property
    def left(self) -> float:
        """Room for the names."""
        return width_of([self.wrapped(name) for name in self.names], SMALL) + 0.15

    @property
    def pitch(self) -> float:
        """The height of a row."""
        return max(self.least, height_of([self.wrapped(name) for name in self.names], SMALL) + 0.05)

    @staticmethod
    def wrapped(name: str) -> str:
        """A name in the room at the left."""
        return wrapped(name, 2.2, SMALL)

    def label(self, axes: Axes, names: Sequence[str]) -> None:
        """Put names at the rows of a panel, the first one on top."""
        axes.set_yticks(range(len(names)), [self.wrapped(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
