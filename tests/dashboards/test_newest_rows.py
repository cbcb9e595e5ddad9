"""The tables of the newest events and errors: the rows of a plain query over all events, and no more read than those need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cvat_analytics.dashboards import Dashboard, TimeRange, Values, expand
from tests.clickhouse import Store

START = datetime(2024, 1, 20, tzinfo=UTC)
DAYS = 60
EVERYTHING = TimeRange(START, START + timedelta(days=DAYS))
COLUMNS = "scope, source, timestamp, duration, project_id, task_id, job_id, user_id, org_id, obj_id, payload"


def made(number: str, days: int, step_ms: int, errors: int) -> str:
    """Return the SQL of events, out of order; `step_ms` is the least time between two of them, and one in `errors` is an error."""
    return f"""
WITH cityHash64({number}) AS dice, toUnixTimestamp64Milli(toDateTime64('{START:%Y-%m-%d}', 3, 'UTC')) AS start
SELECT
    multiIf(dice % {errors} = 0, 'send:exception', dice % 997 = 1, 'create:project', dice % 3 = 0, 'save:job', 'change:frame') AS scope,
    if(dice % 5 = 0, 'server', 'client') AS source,
    fromUnixTimestamp64Milli(toInt64(start + intDiv(bitShiftRight(dice, 8) % {days * 86_400_000}, {step_ms}) * {step_ms})) AS timestamp,
    dice % 11 AS duration,
    if(dice % 7 = 0, NULL, dice % 5) AS project_id,
    dice % 40 AS task_id,
    if(dice % 13 = 0, NULL, dice % 400) AS job_id,
    if(dice % 17 = 0, NULL, bitShiftRight(dice, 4) % 30) AS user_id,
    if(dice % 2 = 0, NULL, dice % 4) AS org_id,
    {number} AS obj_id,
    toJSONString(map('number', toString({number}), 'message', if(dice % 4 = 0, 'a "quoted" error', 'b'))) AS payload"""


SHAPES = {
    "a few moments": (40, 3_600_000, 5),
    "many days": (DAYS, 1000, 4),
}


@pytest.fixture(scope="module", params=SHAPES)
def repeated(shared_engine: Store, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Return a store whose events came in any order, some of them twice or three times, in parts that are not merged."""
    sql = made("number", *SHAPES[request.param])
    with shared_engine.another() as store:
        store.post("SYSTEM STOP MERGES events")
        for condition in (
            "number % 3 != 0",
            "number % 4 = 1",
            "number % 3 = 0",
            "number > 14000 OR number < 500",
        ):
            store.post(
                f"INSERT INTO events ({COLUMNS}) SELECT * FROM ({sql} FROM numbers(16000)) WHERE {condition.replace('number', 'obj_id')}"
            )
        yield store


CHOICES: dict[str, tuple[Values, str]] = {
    "all": ({}, "1"),
    "scopes": ({"scopes": ["save:job", "create:project"]}, "scope IN ('save:job', 'create:project')"),
    "a rare scope": ({"scopes": ["create:project"]}, "scope = 'create:project'"),
    "sources": ({"sources": ["server"]}, "source = 'server'"),
    "users": ({"users": ["3", "4"]}, "user_id IN (3, 4)"),
    "projects": ({"projects": ["2"]}, "project_id = 2"),
    "tasks": ({"tasks": ["39"]}, "task_id = 39"),
    "jobs": ({"jobs": ["7", "8"]}, "job_id IN (7, 8)"),
    "organizations": ({"organizations": ["1"]}, "org_id = 1"),
    "errors": ({"errors": ['a "quoted" error']}, "JSONExtractString(ifNull(payload, ''), 'message') = 'a \"quoted\" error'"),
    "several": ({"users": ["1", "2"], "sources": ["client"]}, "user_id IN (1, 2) AND source = 'client'"),
    "nobody": ({"users": ["999"]}, "user_id = 999"),
}  # fmt: skip
RANGES = (
    EVERYTHING,
    TimeRange(START + timedelta(hours=9, milliseconds=1), START + timedelta(days=2, hours=7, milliseconds=3)),
    TimeRange(START + timedelta(hours=30), START + timedelta(hours=31)),
    TimeRange(START - timedelta(days=9), START - timedelta(days=8)),
)
TABLES = {"All events: All events": 5000, "Monitoring: Exceptions table": 1000}


def panel_sql(dashboards: dict[str, Dashboard], name: str, span: TimeRange, values: Values) -> str:
    """Return what ClickHouse is asked for that table."""
    title, _, panel = name.partition(": ")
    dashboard = dashboards[title]
    known = {name: value for name, value in values.items() if name in dashboard.variables}
    (query,) = next(each for each in dashboard.panels if each.title == panel).queries
    return expand(query, dashboard, span, values=known)


@pytest.mark.parametrize(
    ("name", "choice"),
    # All events has no filter of error messages
    [
        (name, choice)
        for name in TABLES
        for choice in CHOICES
        if (name, choice) != ("All events: All events", "errors")
    ],
)
def test_the_newest_rows_are_those_of_a_plain_query(
    repeated: Store, dashboards: dict[str, Dashboard], name: str, choice: str
) -> None:
    values, condition = CHOICES[choice]
    if name.endswith("Exceptions table"):
        # which obeys all filters but that one
        condition = f"scope = 'send:exception' AND ({'1' if 'scopes' in values else condition})"
    for span in RANGES[: None if choice == "all" else 1]:
        first, last = (round(each.timestamp() * 1000) for each in (span.start, span.end))
        expected = repeated.rows(
            "SELECT timestamp, concat(toString(toUnixTimestamp64Milli(timestamp)), '_', hex(sipHash64(payload))) AS event FROM events FINAL "
            f"WHERE toUnixTimestamp64Milli(timestamp) BETWEEN {first} AND {last} AND {condition} "
            f"ORDER BY timestamp DESC LIMIT {TABLES[name]} WITH TIES"
        )
        shown = repeated.rows(panel_sql(dashboards, name, span, values))
        assert len(shown) == min(TABLES[name], len(expected))
        assert [row["timestamp"] for row in shown] == [row["timestamp"] for row in expected][: len(shown)]
        # of several of the last moment any may be shown
        events = {row["event"] for row in shown}
        assert len(events) == len(shown)
        assert events <= {row["event"] for row in expected}
        assert events >= {row["event"] for row in expected if row["timestamp"] > expected[-1]["timestamp"]}


@pytest.fixture(scope="module")
def settled(shared_engine: Store) -> Iterator[Store]:
    """Return a store of sixty days, one part a month, as a history at rest is stored."""
    with shared_engine.another() as store:
        store.post(
            f"INSERT INTO events ({COLUMNS}) {made('number', DAYS, 1, 100)} FROM numbers(600000) SETTINGS max_partitions_per_insert_block = 0"
        )
        store.post("OPTIMIZE TABLE events FINAL")
        yield store


@pytest.mark.parametrize(
    ("name", "values", "most"),
    [
        ("All events: All events", {}, 320_000),
        ("All events: All events", {"scopes": ["save:job"]}, 340_000),
        ("Monitoring: Exceptions table", {}, 450_000),
    ],
    ids=["all", "a scope", "errors"],
)
def test_no_more_is_read_than_the_newest_days(
    settled: Store, dashboards: dict[str, Dashboard], name: str, values: dict[str, Any], most: int
) -> None:
    sql = panel_sql(dashboards, name, EVERYTHING, values)
    answer = json.loads(settled.post(sql, user="grafana"))
    assert answer["rows"] == TABLES[name]
    assert answer["statistics"]["rows_read"] < most


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
def test_of_days_one_after_the_other_little_is_read_ahead(settled: Store, direction: str) -> None:
    sql = f"SELECT DISTINCT timestamp FROM events_as_stored ORDER BY toDate(timestamp) {direction} LIMIT 5000 FORMAT JSONCompact"
    answer = json.loads(settled.post(sql, user="grafana"))
    assert answer["rows"] == 5000
    assert answer["statistics"]["rows_read"] < 60_000


def test_where_there_is_nothing_it_is_looked_for_once(
    settled: Store, dashboards: dict[str, Dashboard]
) -> None:
    for name in TABLES:
        answer = json.loads(
            settled.post(panel_sql(dashboards, name, EVERYTHING, {"organizations": ["77"]}), user="grafana")
        )
        assert answer["rows"] == 0
        assert answer["statistics"]["rows_read"] < 650_000


def test_the_newest_arrival_is_known_without_events(settled: Store, dashboards: dict[str, Dashboard]) -> None:
    sql = panel_sql(dashboards, "Pipeline: Newest event", EVERYTHING, {})
    settled.post("SYSTEM STOP MERGES events")
    settled.post(
        "INSERT INTO events (scope, timestamp, received_at) SELECT 'save:job', now64(3, 'UTC') - INTERVAL number HOUR, now('UTC') - 1000 * number - 100 "
        "FROM numbers(100) SETTINGS insert_allow_materialized_columns = 1"
    )
    # of the month of the smoke tests' events, and so late that they would be the newest: neither counts, nor is it read
    settled.post(
        "INSERT INTO events (scope, timestamp) SELECT 'save:job', toDateTime64('2075-02-03 00:00:00', 3, 'UTC') + number FROM numbers(20000)"
    )
    # of a clock that was wrong for a while
    settled.post(
        "INSERT INTO events (scope, timestamp, received_at) SELECT 'save:job', now64(3, 'UTC') + INTERVAL 30 DAY, now('UTC') + INTERVAL 30 DAY "
        "SETTINGS insert_allow_materialized_columns = 1"
    )
    settled.post("INSERT INTO events (scope, timestamp) SELECT 'save:job', now64(3, 'UTC') + INTERVAL 5 DAY")
    answer = json.loads(settled.post(sql, user="grafana"))
    assert 100 <= int(answer["data"][0][0]) < 1000
    # some for each day at most, of which there are 66
    assert answer["statistics"]["rows_read"] <= 70
