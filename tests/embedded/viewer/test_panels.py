"""What the viewer makes of panels: a dashboard of its own has one of each kind, also such as the viewer cannot draw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Page
from tests.embedded.viewer.conftest import Viewer

TIMES = {"from": "1772600000000", "to": "1772686400000"}


def _panel(id_: int, type_: str, title: str, sql: str = "", **more: Any) -> dict[str, Any]:
    targets = [{"refId": "A", "rawSql": sql}] if sql else []
    grid = {"x": (id_ % 3) * 8, "y": id_ // 3 * 8, "w": 8, "h": 8}
    return {
        "id": id_,
        "type": type_,
        "title": title,
        "gridPos": grid,
        "targets": targets,
        "fieldConfig": {"defaults": {}},
    } | more


SERIES = "SELECT toDateTime(1772640000 + 3600 * n, 'UTC') AS time, name, n * size * 1000 AS value FROM (SELECT number AS n FROM numbers(6)) AS numbers CROSS JOIN VALUES('name String, size UInt8', ('big', 10), ('small', 1)) AS sizes ORDER BY time"
MAPPINGS = [
    {"type": "value", "options": {"1": {"text": "fine", "color": "green"}}},
    {"type": "range", "options": {"from": 2, "to": 9, "result": {"text": "so so", "color": "orange"}}},
    {"type": "special", "options": {"match": "null", "result": {"text": "unknown"}}},
]
STEPS = {"mode": "absolute", "steps": [{"color": "green", "value": None}, {"color": "red", "value": 80}]}
OWN = {
    "uid": "own",
    "title": "Own",
    "time": {"from": "now-1h", "to": "now"},
    "annotations": {
        "list": [{"name": "Deploys", "enable": True, "iconColor": "red", "target": {"rawSql": "SELECT toDateTime(1772650000, 'UTC') AS time, '<b>v1</b>' AS text"}}]
    },
    "templating": {
        "list": [
            {"name": "note", "label": "Note", "type": "textbox", "query": "hello"},
            {"name": "how", "label": "How", "type": "custom", "query": "One : 1, Two \\, three : 2", "current": {"value": "1"}},
            {"name": "odd", "label": "Odd", "type": "adhoc"},
            {"name": "base", "type": "constant", "query": "https://cvat.example", "hide": 2},
        ]
    },
    "panels": [
        _panel(0, "timeseries", "Stacked", SERIES, fieldConfig={"defaults": {"custom": {"drawStyle": "bars", "stacking": {"mode": "normal"}}, "unit": "bytes"}}),
        _panel(1, "heatmap", "Heat", SERIES, options={"color": {"mode": "scheme", "scheme": "Greens"}}),
        _panel(2, "stat", "Number", "SELECT 91 AS load", fieldConfig={"defaults": {"unit": "percent", "thresholds": STEPS, "color": {"mode": "thresholds"}}}),
        _panel(3, "table", "Mapped", "SELECT arrayJoin([1, 5, NULL, 50]) AS state, 'x' AS other", fieldConfig={"defaults": {"mappings": MAPPINGS, "custom": {"cellOptions": {"type": "color-text"}}}}),
        _panel(4, "barchart", "Bars", "SELECT arrayJoin(['a', 'b']) AS name, 3 AS n", options={"orientation": "vertical"}),
        _panel(5, "text", "For $how", options={"mode": "markdown", "content": "# Title\n- one **bold**\n- [All](/d/EIGSTDAVz)\n\n<img src=x onerror=alert(1)> note is $note [bad](javascript:alert(1))"}),
        _panel(6, "gauge", "Gauge", "SELECT 5 AS n"),
        _panel(7, "timeseries", "Odd options", SERIES, transformations=[{"id": "reduce"}], fieldConfig={"defaults": {"custom": {"lineInterpolation": "wavy"}, "unit": "furlongs"}}),
        _panel(8, "table", "Broken", "SELECT nothing FROM nowhere"),
        _panel(9, "table", "Links", "SELECT 7 AS job_id, 'a&b=c d' AS name", fieldConfig={"defaults": {}, "overrides": [
            {"matcher": {"id": "byName", "options": "name"}, "properties": [{"id": "links", "value": [
                {"title": "One", "url": "/d/own/own?${__url_time_range}&var-note=${__value.raw}&${how:queryparam}&x=${__data.fields.job_id}"},
                {"title": "CVAT", "url": "${base}/jobs/${__data.fields[\"job_id\"]}", "targetBlank": True},
                {"title": "Bad", "url": "javascript:alert(1)"}]}]}]}),
        _panel(10, "news", "News"),
        _panel(11, "timeseries", "Days", "SELECT toDateTime(1772582400, 'UTC') AS time, 5 AS n"),
        _panel(12, "heatmap", "One day", "SELECT toDateTime(1772640000, 'UTC') AS time, 5 AS n"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def own(viewer: Viewer, page: Page) -> Iterator[Page]:
    """Return the page of the dashboard."""
    file = Path(viewer.context.paths.dashboards, "own.json")
    file.write_text(json.dumps(OWN))
    try:
        page.open("own", **TIMES)
        assert page.all("#dashboard > .problem") == [], page.find("#dashboard").text
        yield page
    finally:
        file.unlink()


def test_stacked_bars_add_up_and_have_an_axis_of_their_unit(own: Page) -> None:
    chart = own.chart(own.panel("Stacked"))
    bars = [each for each in chart["series"] if each["type"] == "bar"]
    assert [each["name"] for each in bars] == ["big", "small"]
    assert {each["stack"] for each in bars} == {"A-0"}
    assert [value for _, value in bars[0]["data"]] == [0, 10000, 20000, 30000, 40000, 50000]
    assert (chart["yAxis"][0]["max"], chart["yAxis"][0]["interval"]) == (65536, 16384)


def test_annotations_are_marks_that_can_be_switched_off(own: Page) -> None:
    def marks() -> list[float]:
        lines = [
            each["markLine"]["data"]
            for each in own.chart(own.panel("Stacked"))["series"]
            if each.get("markLine")
        ]
        return [mark["xAxis"] for line in lines for mark in line]

    assert marks() == [1772650000000]
    switch = own.find(".switch input")
    switch.click()
    assert marks() == []
    switch.click()
    assert marks() == [1772650000000]


def test_a_heat_map_has_its_rows_in_grafanas_order(own: Page) -> None:
    chart = own.chart(own.panel("Heat"))
    assert chart["yAxis"][0]["data"] == ["big", "small"]
    assert chart["yAxis"][0]["inverse"] is False
    assert len(chart["xAxis"][0]["data"]) == 6
    assert max(cell[2] for cell in chart["series"][0]["data"]) == 50000
    assert own.ink(own.panel("Heat")) > 10


def test_a_heat_map_of_one_day_has_one_column(own: Page) -> None:
    chart = own.chart(own.panel("One day"))
    assert [cell[:3] for cell in chart["series"][0]["data"]] == [[0, 0, 5]]
    assert chart["xAxis"][0]["data"] == ["03-04 16:00"]


def test_a_stat_has_unit_and_threshold(own: Page) -> None:
    value = own.find(".tile .value", own.panel("Number"))
    assert value.text == "91%"
    assert own.run("return getComputedStyle(arguments[0]).color", value) == "rgb(217, 72, 79)"


def test_value_mappings_have_text_and_colour(own: Page) -> None:
    panel = own.panel("Mapped")
    assert own.column(panel, "state") == ["fine", "so so", "unknown", "50"]
    colours = own.run(
        "return [...arguments[0].querySelectorAll('td:first-child')].map((cell) => cell.style.getPropertyValue('--own'))",
        panel,
    )
    assert colours == ["#3f9e63", "#ee7d31", "", ""]


def test_standing_bars(own: Page) -> None:
    chart = own.chart(own.panel("Bars"))
    assert (chart["xAxis"][0]["data"], chart["series"][0]["data"]) == (["a", "b"], [3, 3])


def test_text_is_markdown_but_never_markup(own: Page) -> None:
    panel = own.panel("For One")
    assert own.find("h3", panel).text == "Title"
    assert own.find("li strong", panel).text == "bold"
    assert (own.find("li a", panel).get_attribute("href") or "").endswith("/analytics/d/EIGSTDAVz")
    assert "<img src=x onerror=alert(1)> note is hello [bad](javascript:alert(1))" in panel.text
    assert own.all("img, a[href^='javascript']", panel) == []


def test_what_cannot_be_drawn_is_named(own: Page) -> None:
    gauge = own.panel("Gauge")
    assert "The viewer does not know panels of type gauge: their rows as a table." in gauge.text
    assert own.rows(gauge) == [["5"]]
    assert "The viewer does not know panels of type news; Grafana shows this one." in own.panel("News").text
    odd = own.panel("Odd options")
    own.run("arguments[0].focus()", own.find(".info.warning", odd))
    hint = own.find(".hint").text
    assert (
        hint
        == "The viewer does not draw: transformations, unit furlongs, custom.lineInterpolation wavy. Grafana does."
    )
    own.run("document.activeElement.blur()")
    assert own.all(".hint") == []
    assert "Odd: the viewer has no filter of type adhoc" in own.find(".filters").text


def test_data_outside_of_the_time_range_is_one_click_away(own: Page) -> None:
    panel = own.panel("Days")
    assert "The data is outside of the time range" in panel.text
    own.run("arguments[0].click()", own.find("button:not(.info)", panel))
    own.wait(lambda: own.query()["from"] == ["1772582400000"])
    own.settle()
    assert own.chart(own.panel("Days"))["series"][0]["data"] == [[1772582400000, 5]]
    own.open("own", **TIMES)


def test_a_query_that_fails_says_why(own: Page) -> None:
    assert (
        "Code: 60. DB::Exception: Unknown table" in own.find(".problem[role=alert]", own.panel("Broken")).text
    )
    assert own.rows(own.panel("Gauge")) == [["5"]]


def test_links_encode_their_values_and_several_are_a_menu(own: Page) -> None:
    own.find("tbody button.link", own.panel("Links")).click()
    links = own.wait(lambda: own.all(".popup .menu a"))
    assert [each.text for each in links] == ["One", "CVAT"]
    assert (links[0].get_attribute("href") or "").endswith(
        f"/analytics/d/own/own?from={TIMES['from']}&to={TIMES['to']}&var-note=a%26b%3Dc%20d&var-how=1&x=7"
    )
    assert links[1].get_attribute("href") == "https://cvat.example/jobs/7"
    assert links[1].get_attribute("rel") == "noopener noreferrer"
    own.run("document.querySelector('.popup').hidePopover()")


@pytest.mark.parametrize(
    ("text", "up", "zone", "expected"),
    [
        ("now", False, "UTC", 1772654400000),
        ("now-90m", False, "UTC", 1772649000000),
        ("now-1d/d", False, "UTC", 1772496000000),
        ("now/d", True, "UTC", 1772668799999),
        ("now/d", False, "Asia/Tokyo", 1772636400000),
        ("now/w", False, "UTC", 1772409600000),
        ("now-1M/M", False, "UTC", 1769904000000),
        ("now-1M", False, "UTC", 1770235200000),
        ("1772654400000", False, "UTC", 1772654400000),
        ("2026-03-04 21:00", False, "Asia/Tokyo", 1772625600000),
        ("2026-03-04T12:00:00.5Z", False, "Asia/Tokyo", 1772625600500),
        (
            "2026-03-29 03:30",
            False,
            "Europe/Berlin",
            1774747800000,
        ),  # the night in which the clocks go forward
        ("tomorrow", False, "UTC", None),
        ("now-1x", False, "UTC", None),
    ],
)
def test_times_as_grafana_writes_them(
    own: Page, text: str, up: bool, zone: str, expected: int | None
) -> None:
    now = 1772654400000  # 2026-03-04 20:00:00 UTC
    assert (
        own.module(f"m.parseTime({json.dumps(text)}, {now}, {json.dumps(zone)}, {json.dumps(up)})", "time")
        == expected
    )


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0, "ms", None, "0 ms"),
        (999, "ms", None, "999 ms"),
        (1500, "ms", None, "1.50 s"),
        (90, "s", None, "1.50 min"),
        (129600, "s", None, "1.50 d"),
        (1234567, "locale", None, "1,234,567"),
        (1234567, "short", None, "1.23 Mil"),
        (1536, "bytes", None, "1.50 KiB"),
        (0, "s", None, "0 s"),
        (1500, "eps", None, "1.50 K evt/s"),
        (2.5, "percent", None, "2.5%"),
        (0.125, "percentunit", None, "13%"),
        (0.05, "percentunit", None, "5.0%"),
        (2.5, "", None, "2.5"),
        (2.123456, "", None, "2.12"),
        (12, "suffix: jobs", 0, "12 jobs"),
        (1772625600500, "time:YYYY-MM-DD HH:mm:ss.SSS", None, "2026-03-04 21:00:00.500"),
        (3, "furlongs", None, "3 furlongs"),
    ],
)
def test_units(own: Page, value: float, unit: str, decimals: int | None, text: str) -> None:
    expression = (
        f"m.formatValue({value}, {json.dumps(unit)}, {json.dumps(decimals)} ?? undefined, 'Asia/Tokyo')"
    )
    assert own.module(expression, "units") == text


def test_a_time_in_a_unit_that_is_not_known_is_a_time(own: Page) -> None:
    field = "{kind: 'time', config: {unit: 'dateTimeAsIso'}}"
    text = f"m.valueText({field}, 1772625600500, {{state: {{zone: 'Asia/Tokyo'}}}})"
    assert str(own.module(text, "fields")).startswith("2026-03-04 21:00:00")


def test_the_choices_of_a_custom_variable(own: Page) -> None:
    query = json.dumps("a, b : 2, c\\, d : 3")
    choices = own.module(f"m.choices({{query: {query}}})", "state")
    assert choices == [
        {"text": "a", "value": "a"},
        {"text": "b", "value": "2"},
        {"text": "c, d", "value": "3"},
    ]


def test_a_round_that_was_overtaken_asks_for_no_panel(own: Page) -> None:
    """It would break off what the newer one asks for, and the dashboard would call itself drawn meanwhile."""
    own.run("""
        const ask = window.fetch;
        Object.assign(window, {held: [], asked: 0});
        window.fetch = (url, ...rest) => {
            if (!String(url).includes('/annotations')) {
                window.asked += String(url).includes('/panels/');
                return ask(url, ...rest);
            }
            return new Promise((answer) => window.held.push(() => answer(ask(url, ...rest))));
        }""")
    for number in (1, 2):
        own.find("#reload").click()
        own.wait(lambda: own.run("return held.length"), "its annotations are asked for", number.__eq__)
    own.run("held[1]()")
    own.settle()
    requests = own.run("return asked")
    assert requests > 5
    # time enough for the older one; what is not there then proves nothing, but is no failure either
    own.browser.execute_async_script("held[0](); setTimeout(arguments[0], 1000)")
    own.settle()
    assert own.run("return asked") == requests
    own.open("own", **TIMES)
