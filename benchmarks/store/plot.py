"""The growth of bytes and query times as an SVG, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.store import Step

WIDTH, HEIGHT, MARGIN = 460, 300, 56
COLOURS = ("#b5403c", "#1f6fb2", "#d98c2b", "#3b8f5a", "#7a5ba6", "#555555")

Series = tuple[str, Sequence[tuple[float, float]]]


def growth(steps: Sequence[Step]) -> str:
    """Return the plot: bytes on disk, and the median of some queries over everything, by events."""
    from benchmarks.store.queries import PAIRS

    events = [step.events / 1e6 for step in steps]
    size: list[Series] = [
        (name, list(zip(events, [getattr(step, key) / 1e6 for step in steps], strict=True)))
        for name, key in (("stock", "stock_bytes"), ("ours", "our_bytes"))
    ]
    charts = [chart("MB on disk", size)]
    for pair in PAIRS:
        lines: list[Series] = []
        for side, name in (("stock", pair.name), ("ours", pair.ours)):
            answers = [step.query(side, "everything", name) for step in steps]
            found = [(x, answer.median_ms) for x, answer in zip(events, answers, strict=True) if answer]
            lines.append((side, found))
        charts.append(chart(f"{pair.name}, everything: ms", lines))
    columns = 3
    rows = math.ceil(len(charts) / columns)
    placed = "".join(
        f'<g transform="translate({index % columns * WIDTH},{index // columns * HEIGHT})">{text}</g>'
        for index, text in enumerate(charts)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * WIDTH}" height="{rows * HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>{placed}</svg>\n'
    )


def chart(title: str, series: Sequence[Series]) -> str:
    """Return one chart with logarithmic axes; points that are not positive are left out."""
    points = [point for _, line in series for point in line if min(point) > 0]
    if not points:
        return f'<text x="{MARGIN}" y="20">{escape(title)}: nothing measured</text>'
    x = _axis([point[0] for point in points], MARGIN, WIDTH - 70)
    y = _axis([point[1] for point in points], HEIGHT - 40, 36)
    parts = [f'<text x="{MARGIN}" y="20" font-weight="bold">{escape(title)}</text>']
    for value in sorted({point[0] for point in points}):
        parts.append(f'<text x="{x(value):.0f}" y="{HEIGHT - 20}" text-anchor="middle">{value:.3g} M</text>')
    low, high = min(point[1] for point in points), max(point[1] for point in points)
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        height = y(10.0**power)
        parts.append(
            f'<line x1="{MARGIN}" x2="{WIDTH - 70}" y1="{height:.0f}" y2="{height:.0f}" stroke="#ddd"/>'
        )
        parts.append(f'<text x="{MARGIN - 6}" y="{height + 4:.0f}" text-anchor="end">{10.0**power:g}</text>')
    for (name, line), colour in zip(series, COLOURS, strict=False):
        shown = [(x(a), y(b)) for a, b in line if a > 0 and b > 0]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in shown)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in shown]
        if shown:
            parts.append(
                f'<text x="{shown[-1][0] + 8:.0f}" y="{shown[-1][1] + 4:.0f}" fill="{colour}">{escape(name)}</text>'
            )
    return "".join(parts)


class _axis:
    """Maps values onto a line, whole powers of ten at its ends when the values span less."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self.low, self.high = math.log10(min(values)), math.log10(max(values))
        if begin > end:  # the vertical one, whose lines are powers of ten
            self.low, self.high = math.floor(self.low), math.ceil(self.high)
        if self.low == self.high:
            self.high += 1
        self.begin, self.end = begin, end

    def __call__(self, value: float) -> float:
        return self.begin + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.begin)
