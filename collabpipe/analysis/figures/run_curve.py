"""The curve of a single run as a small SVG, for a page that shows thousands of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 120, 34, 8, 8, 22
QUANTITIES = (
    ("validation_accuracy", "#0072B2", "", "validation"),
    ("memorised", "#D55E00", "5 3", "memorised"),
)
MOST_POINTS = 100


def run_curve(history: dict[str, Sequence[float | None]], name: str) -> str:
    """An SVG element of about two kilobytes: validation accuracy and memorised labels, in percent, by epoch.

    Written as text: a drawing library takes a hundred times as long. The colours of lines and text follow the page, so
    it is readable on a dark one.

    Args:
        history: the columns of `history.parquet`, shares from 0 to 1.
        name: of the run; readers of screens hear it.
    """
    epochs = [float(epoch or 0.0) for epoch in history["epoch"]]
    lines = {column: _points(epochs, history.get(column, ())) for column, *_ in QUANTITIES}
    values = [100.0 * value for points in lines.values() for _, value in points]
    if not values:
        return _element(name, f'<text x="{LEFT}" y="{HEIGHT // 2}">no curve: the run has no such values</text>')
    low, high = _limits(min(values), max(values))
    first, last = epochs[0], epochs[-1]

    def place(epoch: float, share: float) -> str:
        across = (epoch - first) / (last - first) if last > first else 0.5
        up = (100.0 * share - low) / (high - low)
        return f"{LEFT + across * (WIDTH - LEFT - RIGHT):.1f},{HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM):.1f}"

    base = HEIGHT - BOTTOM
    parts = [
        f'<path d="M{LEFT} {TOP}V{base}H{WIDTH - RIGHT}" fill="none" stroke="currentColor" stroke-width=".7"/>',
        f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{high:g}</text>',
        f'<text x="{LEFT - 4}" y="{base}" text-anchor="end">{low:g}</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 8}">{first:g}</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">epoch {last:g}</text>',
    ]
    drawn = [one for one in QUANTITIES if lines[one[0]]]
    for at, (column, colour, dashes, label) in enumerate(drawn):
        points = " ".join(place(*point) for point in lines[column])
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{dashed}/>')
        if len(lines[column]) == 1:  # a line of one point cannot be seen
            across, up = points.split(",")
            parts.append(f'<circle cx="{across}" cy="{up}" r="2.5" fill="{colour}"/>')
        x = LEFT + 50 + 100 * at
        parts.append(f'<path d="M{x} {HEIGHT - 12}h18" stroke="{colour}" stroke-width="1.6"{dashed}/>')
        parts.append(f'<text x="{x + 22}" y="{HEIGHT - 8}">{label}</text>')
    return _element(name, "".join(parts))


def _points(epochs: Sequence[float], values: Sequence[float | None]) -> list[tuple[float, float]]:
    known = [(e, v) for e, v in zip(epochs, values, strict=False) if v is not None and math.isfinite(v)]
    step = max(1, -(-len(known) // MOST_POINTS))
    # From the end, so that the last epoch is among them.
    return known[::-1][::step][::-1]


def _limits(low: float, high: float) -> tuple[float, float]:
    """Tens around the values, within 0 to 100."""
    return max(0.0, 10.0 * math.floor(low / 10.0 - 1e-9)), min(100.0, 10.0 * math.ceil(high / 10.0 + 1e-9))


def _element(name: str, inner: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="sans-serif" font-size="10" fill="currentColor"><title>{escape(name)}</title>'
        f"{inner}</svg>"
    )
