"""`python -m benchmarks.plots FIGURES.json DIRECTORY`: draw how the store grows, from a results file of `make bench ARGS=store`.

Plain SVG, both axes logarithmic: what is flat is flat, and what is linear rises by one square with each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import click

from benchmarks.store import queries

WIDTH, HEIGHT, LEFT, TOP = 310, 210, 54, 30
COLUMNS = 3
COLOURS = {"stock": "#d9534f", "ours": "#2a7ab9"}
Points = Sequence[tuple[float, float]]


@click.command()
@click.argument("figures", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def main(figures: Path, directory: Path) -> None:
    """Write growth.svg into DIRECTORY."""
    known = json.loads(figures.read_text())
    store = known["sections"].get("store", {})
    if len(store.get("steps", ())) < 2:
        raise click.BadParameter(
            f'{figures} has no two sizes of the section store: `make bench ARGS="store --events 1000000,20000000"`'
        )
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "growth.svg"
    file.write_text(picture(store["steps"], known["machine"]))
    click.echo(f"Written: {file}")


def picture(steps: Sequence[Mapping[str, Any]], machine: Mapping[str, Any]) -> str:
    """Return the SVG of all questions that both sides answer, over everything."""
    charts = [
        _chart(
            pair.name, {"stock": _line(steps, "stock", pair.name), "ours": _line(steps, "ours", pair.ours)}
        )
        for pair in queries.PAIRS
    ]
    rows = -(-len(charts) // COLUMNS)
    parts = [
        f'<g transform="translate({WIDTH * (number % COLUMNS)} {30 + HEIGHT * (number // COLUMNS)})">{chart}</g>'
        for number, chart in enumerate(charts)
    ]
    legend = f"everything, milliseconds of the server's processor time by millions of events; {machine['cores']} cores, {machine['memory_gib']} GiB, load {machine['load_before']} before"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * COLUMNS}" height="{30 + HEIGHT * rows}" font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="10" y="20" font-size="13"><tspan fill="{COLOURS["stock"]}">stock</tspan> '
        f'<tspan fill="{COLOURS["ours"]}">ours</tspan> {escape(legend)}</text>{"".join(parts)}</svg>\n'
    )


def _line(steps: Sequence[Mapping[str, Any]], side: str, name: str) -> Points:
    """Return millions of events and milliseconds of processor time, which other work changes little, of each size at which the query could be done."""
    return [
        (step["events"] / 1e6, each["cpu_ms"])
        for step in steps
        for each in step[side]["everything"]
        if each["name"] == name and each["cpu_ms"]
    ]


def _chart(title: str, lines: Mapping[str, Points]) -> str:
    points = [point for line in lines.values() for point in line]
    if not points:
        return f'<text x="{LEFT}" y="20">{escape(title)}: nothing could be done</text>'
    across, up = (_scale([point[axis] for point in points]) for axis in (0, 1))
    width, height = WIDTH - LEFT - 16, HEIGHT - TOP - 26

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + width * across(x), TOP + height * (1 - up(y))

    drawn = [f'<text x="{LEFT}" y="20" font-size="12">{escape(title)}</text>']
    drawn += _grid(points, place, width, height)
    for side, line in lines.items():
        placed = [place(*point) for point in line]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        drawn.append(f'<polyline points="{way}" fill="none" stroke="{COLOURS[side]}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[side]}"/>' for x, y in placed]
    return "".join(drawn)


def _grid(points: Points, place: Any, width: float, height: float) -> Iterator[str]:
    for ten in _tens([y for _, y in points]):
        _, y = place(points[0][0], ten)
        yield f'<path d="M{LEFT} {y:.1f}h{width}" stroke="#ddd"/><text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{ten:g}</text>'
    for x in sorted({x for x, _ in points}):
        left, _ = place(x, points[0][1])
        yield f'<text x="{left:.1f}" y="{TOP + height + 16}" text-anchor="middle">{x:.3g}</text>'


def _tens(values: Sequence[float]) -> list[float]:
    return [
        10.0**n for n in range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    ]


def _scale(values: Sequence[float]) -> Any:
    """Return the function from a value to its place between 0 and 1, whole tens at both ends."""
    tens = _tens(values)
    low, high = math.log10(tens[0]), math.log10(tens[-1])
    return lambda value: (math.log10(value) - low) / ((high - low) or 1)


if __name__ == "__main__":
    main()
