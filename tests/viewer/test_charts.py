"""The pictures: as many marks as there are values, in the right places, and names from the data as text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest

from cvat_analytics.embedded.viewer.charts import horizontal_bars, number, over_time, series
from cvat_analytics.embedded.viewer.clickhouse import Result
from tests.dashboards.events import RANGE

EVIL = "<b>x</b> & 'y'"
HOURS = [RANGE.start + timedelta(hours=i) for i in range(3)]
TWO_LINES = Result(
    ["time", "user", "Events"],
    ["time", "text", "number"],
    [[HOURS[0], "a", 1], [HOURS[0], EVIL, 10], [HOURS[1], "a", 2], [HOURS[2], EVIL, 40]],
)


def _draw(result: Result, **custom: str) -> ET.Element:
    return ET.fromstring(over_time(series(result), RANGE, custom, interval=3600, width=1000, height=300))


def test_series_are_split_by_name_the_largest_first() -> None:
    lines = series(TWO_LINES)
    assert [(line.name, line.total, len(line.points)) for line in lines] == [(EVIL, 50, 2), ("a", 3, 2)]
    assert len({line.color for line in lines}) == 2
    assert [
        line.name
        for line in series(Result(["time", "n", "m"], ["time", "number", "number"], [[HOURS[0], 1, None]]))
    ] == ["n"]


def test_bars() -> None:
    bars = _draw(TWO_LINES, drawStyle="bars").findall("rect")
    assert len(bars) == 4
    heights = {bar.findtext("title", "")[-5:].split(": ")[-1]: float(bar.attrib["height"]) for bar in bars}
    assert heights["40"] == pytest.approx(4 * heights["10"])
    assert any(f"{EVIL}: 40" in bar.findtext("title", "") for bar in bars)


def test_lines_and_steps() -> None:
    assert [len(line.attrib["points"].split()) for line in _draw(TWO_LINES).findall("polyline")] == [2, 2]
    stepped = _draw(TWO_LINES, lineInterpolation="stepAfter")
    assert [len(line.attrib["points"].split()) for line in stepped.findall("polyline")] == [4, 4]


@pytest.mark.parametrize(
    ("largest", "labels"),
    [(0, "0 1"), (1, "0 1"), (3, "0 1 2 3"), (7, "0 2 4 6 8"), (1490, "0 500 1,000 1,500")],
)
def test_axis_has_round_numbers(largest: int, labels: str) -> None:
    svg = _draw(Result(["time", "n"], ["time", "number"], [[HOURS[0], largest]]))
    found = [text.text or "" for text in svg.findall("text") if text.attrib["text-anchor"] == "end"]
    assert " ".join(found) == labels


def test_horizontal_bars() -> None:
    svg = ET.fromstring(
        horizontal_bars(
            Result(["Browser", "Visits"], ["text", "number"], [[EVIL, 1000], ["b" * 50, 10]]), width=600
        )
    )
    widths = [float(bar.attrib["width"]) for bar in svg.findall("rect")]
    assert widths[0] == pytest.approx(100 * widths[1], abs=5)
    assert re.findall(r"1,000|bbbb…", "".join(svg.itertext())) == ["1,000", "bbbb…"]
    assert EVIL in "".join(svg.itertext())


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(1234567, None, "1,234,567"), (0.5, None, "0.50"), (2.345, 1, "2.3"), (2.0, None, "2")],
)
def test_numbers(value: float, decimals: int | None, text: str) -> None:
    assert number(value, decimals) == text
