"""Of a payload, which may be of many megabytes, tables read and send the beginning; a click shows the event whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.dashboards import Dashboard, Query, TimeRange, Values, expand
from tests.clickhouse import Store, running
from tests.dashboards.shown import beginning

RANGE = TimeRange(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
SHORT = {"message": "短い", "stack": "s"}
LONG = {"message": "é" * 3000, "stack": "日" * 3000}
PAYLOADS = [
    None,
    json.dumps(SHORT),
    "",
    "x" * 1000,
    "x" * 1001,
    json.dumps(LONG, ensure_ascii=False),
    json.dumps(LONG),
]


@pytest.fixture(scope="module")
def database(store: Store) -> str:
    """Return a database with an exception for each payload, two of them at the same moment."""
    store.create("long")
    rows = [
        {"scope": "send:exception", "source": "client", "timestamp": f"2026-01-01 00:00:0{number // 2}.001", "payload": text}
        for number, text in enumerate(PAYLOADS)
    ]  # fmt: skip
    body = "\n".join(map(json.dumps, rows))
    store.post(f"INSERT INTO events FORMAT JSONEachRow\n{body}", database="long")
    store.post(
        "INSERT INTO events_dead_letter (received_at, reason, original) SELECT now64(3), 'r', repeat('é', 3000)",
        database="long",
    )
    return "long"


def rows(
    store: Store, database: str, query: Query, dashboard: Dashboard, values: Values
) -> list[dict[str, Any]]:
    answer = json.loads(store.post(expand(query, dashboard, RANGE, values=values), database=database))
    names = [column["name"] for column in answer["meta"]]
    return [dict(zip(names, row, strict=True)) for row in answer["data"]]


def query_of(dashboard: Dashboard, title: str) -> Query:
    (query,) = next(
        panel for panel in dashboard.panels if panel.title == title and panel.type == "table"
    ).queries
    return query


@pytest.mark.parametrize(
    ("board", "title"), [("All events", "All events"), ("Monitoring", "Exceptions table")]
)
def test_a_table_has_the_beginning_and_a_click_the_whole(
    store: Store, database: str, dashboards: dict[str, Dashboard], board: str, title: str
) -> None:
    shown = rows(store, database, query_of(dashboards[board], title), dashboards[board], {})
    assert sorted(str(row["payload"]) for row in shown) == sorted(str(beginning(text)) for text in PAYLOADS)
    whole = set()
    for row in shown:
        chosen = {"event": row["event"], "request_id": "no such", "scopes": ["no:such"]}
        (one,) = rows(
            store,
            database,
            query_of(dashboards["All events"], "All events"),
            dashboards["All events"],
            chosen,
        )
        assert beginning(one["payload"]) == row["payload"]
        assert (one["timestamp"], one["event"]) == (row["timestamp"], row["event"])
        whole.add(one["payload"])
    assert whole == set(PAYLOADS)


@pytest.mark.parametrize(
    "odd", ["x", "_", "1767225600001", "1767225600001_", "_1", "99999999999999999999_1", "'", "1_2_3"]
)
def test_an_event_that_is_none_shows_nothing(
    store: Store, database: str, dashboards: dict[str, Dashboard], odd: str
) -> None:
    board = dashboards["All events"]
    assert rows(store, database, query_of(board, "All events"), board, {"event": odd}) == []


def test_a_dead_letter_shows_its_beginning(
    store: Store, database: str, dashboards: dict[str, Dashboard]
) -> None:
    board = dashboards["Pipeline"]
    now = datetime.now(UTC)
    query = query_of(board, "Newest dead letters")
    sql = expand(query, board, TimeRange(now - timedelta(hours=1), now + timedelta(minutes=1)))
    (row,) = json.loads(store.post(sql, database=database))["data"]
    assert row[-1] == "é" * 1000 + "…"


def test_no_table_selects_whole_payloads(dashboards: dict[str, Dashboard]) -> None:
    for dashboard in dashboards.values():
        for panel in dashboard.panels:
            if panel.type == "table":
                for query in panel.queries:
                    for column in ("payload", "original"):
                        for line in query.sql.splitlines():
                            plain = f", {column}" in line or line.strip().startswith(f"{column},")
                            assert not plain, f"{query.where}: {line}"


def test_the_beginnings_of_more_than_the_memory_holds_can_be_shown(
    tmp_path: Path, dashboards: dict[str, Dashboard]
) -> None:
    """80 events of 8 MB are more than a query may use here: the beginning is cut off before rows are sorted."""
    board = dashboards["All events"]
    with running(tmp_path, clickhouse_memory_limit="1GiB") as store:
        for hour in range(10):
            store.post(
                "INSERT INTO events (scope, source, timestamp, payload) SELECT 'create:shapes', 'client',"
                f" toDateTime64('2026-01-01 {hour:02}:00:00', 3) + number, repeat(repeat(toString(number), 8), 1000000) FROM numbers(8)"
            )
        assert len(store.rows(expand(query_of(board, "All events"), board, RANGE))) == 80
