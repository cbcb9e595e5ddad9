"""Draw results as plain SVG, which needs no script: bars and lines over time, and horizontal bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any

from cvat_analytics.dashboards import TimeRange
from cvat_analytics.embedded.viewer.clickhouse import Result

COLORS = (
    "#3b82c4",
    "#e0803a",
    "#3f9e63",
    "#c2506b",
    "#8566c0",
    "#2fa1a8",
    "#b58a1f",
    "#77828f",
    "#d46ab0",
    "#5d7f2c",
)
_NAMED = {"red": "#d0454c", "green": "#3f9e63"}
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 24

Points = list[tuple[datetime, float]]


@dataclass(frozen=True)
class Series:
    """One line or one row of bars."""

    name: str
    color: str
    points: Points

    @property
    def total(self) -> float:
        """Return the sum of all values."""
        return sum(value for _, value in self.points)


def series(result: Result, fixed_color: str | None = None) -> list[Series]:
    """Return a result's time series, the largest first: one per number column, or one per text in a text column."""
    time = result.kinds.index("time")
    texts = [i for i, kind in enumerate(result.kinds) if kind == "text"]
    numbers = [i for i, kind in enumerate(result.kinds) if kind == "number"]
    found: dict[str, Points] = {}
    for row in result.rows:
        for number in numbers:
            name = " ".join(str(row[i]) for i in texts) or result.names[number]
            if row[number] is not None:
                found.setdefault(name, []).append((row[time], row[number]))
    ordered = sorted(found.items(), key=lambda item: (-sum(value for _, value in item[1]), item[0]))
    return [
        Series(name, _NAMED.get(fixed_color or "", COLORS[i % len(COLORS)]), points)
        for i, (name, points) in enumerate(ordered)
    ]


def over_time(
    lines: Sequence[Series],
    time_range: TimeRange,
    custom: Mapping[str, Any],
    *,
    interval: float,
    width: int,
    height: int,
) -> str:
    """Return an SVG picture of `lines`. `custom` is the panel's `fieldConfig.defaults.custom`, `interval` seconds."""
    start, end = time_range.start.timestamp(), time_range.end.timestamp()
    top, step = _scale(max((value for line in lines for _, value in line.points), default=0))
    inner_width, inner_height = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def x(time: float) -> float:
        return _LEFT + (min(max(time, start), end) - start) / (end - start) * inner_width

    def y(value: float) -> float:
        return _TOP + inner_height * (1 - value / top)

    parts = [_grid(top, step, width, y), _time_axis(time_range, x, height)]
    for line in reversed(lines):
        if custom.get("drawStyle") == "bars":
            for time, value in line.points:
                left, right = x(time.timestamp()), x(time.timestamp() + interval)
                tip = f"{time:%Y-%m-%d %H:%M}  {line.name}: {number(value)}"
                parts.append(
                    f'<rect x="{left:.1f}" y="{y(value):.1f}" width="{max(right - left - 1, 1):.1f}" height="{y(0) - y(value):.1f}"'
                    f' fill="{line.color}"><title>{escape(tip)}</title></rect>'
                )
        else:
            stepped = custom.get("lineInterpolation") == "stepAfter"
            points = [(x(time.timestamp()), y(value)) for time, value in line.points]
            if stepped:
                points = [
                    corner
                    for (a, b), (c, _) in zip(points, [*points[1:], (x(end), 0)], strict=True)
                    for corner in ((a, b), (c, b))
                ]
            if points:
                path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
                if custom.get("fillOpacity") and len(lines) == 1:
                    area = f"{points[0][0]:.1f},{y(0):.1f} {path} {points[-1][0]:.1f},{y(0):.1f}"
                    parts.append(f'<polygon points="{area}" fill="{line.color}" fill-opacity="0.15"/>')
                parts.append(
                    f'<polyline points="{path}" fill="none" stroke="{line.color}" stroke-width="1.6"><title>{escape(line.name)}</title></polyline>'
                )
    return _svg(width, height, parts)


def horizontal_bars(result: Result, *, width: int) -> str:
    """Return an SVG picture of a result whose first column names the bars and whose second is their length."""
    rows = [(str(row[0]), row[1]) for row in result.rows]
    largest = max((value for _, value in rows), default=0) or 1
    label, bar = min(220, width // 3), 24
    parts = []
    for i, (name, value) in enumerate(rows):
        y = 6 + i * (bar + 6)
        length = (width - label - 80) * value / largest
        parts.append(
            f'<text x="{label - 8}" y="{y + 16}" text-anchor="end">{escape(_short(name, 30))}<title>{escape(name)}</title></text>'
            f'<rect x="{label}" y="{y}" width="{length:.1f}" height="{bar}" fill="{COLORS[0]}"/>'
            f'<text x="{label + length + 6:.1f}" y="{y + 16}">{number(value)}</text>'
        )
    return _svg(width, 12 + len(rows) * (bar + 6), parts)


def number(value: float, decimals: int | None = None) -> str:
    """Return a number as people read it."""
    if decimals is None:
        decimals = 0 if value == int(value) else 2
    return f"{value:,.{decimals}f}"


def _scale(largest: float) -> tuple[float, float]:
    """Return the top of an axis that holds `largest`, and the distance of its lines: 1, 2 or 5 times a power of ten."""
    wanted = max(largest, 1) / 4
    power = 10 ** math.floor(math.log10(wanted))
    step = max(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted), 1)
    return step * math.ceil(max(largest, 1) / step), step


def _grid(top: float, step: float, width: int, y: Any) -> str:
    lines = []
    for i in range(round(top / step) + 1):
        at = y(i * step)
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{number(i * step)}</text>'
        )
    return "".join(lines)


def _time_axis(time_range: TimeRange, x: Any, height: int) -> str:
    width = (time_range.end - time_range.start).total_seconds()
    step = time_range.interval(7).total_seconds()
    form = (
        "%H:%M"
        if width <= 36 * 3600
        else "%m-%d %H:%M"
        if step < 86400
        else "%m-%d"
        if width < 300 * 86400
        else "%Y-%m-%d"
    )
    first = math.ceil(time_range.start.timestamp() / step) * step
    marks = []
    for i in range(int((time_range.end.timestamp() - first) // step) + 1):
        at = first + i * step
        label = datetime.fromtimestamp(at, time_range.start.tzinfo).strftime(form)
        marks.append(f'<text x="{x(at):.1f}" y="{height - 6}" text-anchor="middle">{label}</text>')
    return "".join(marks)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'
