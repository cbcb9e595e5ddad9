"""The event table as its users see it: CVAT's contract outside, each event once, and nobody with more rights than needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clickhouse import Store

COLUMNS = [
    "scope", "obj_name", "obj_id", "obj_val", "source", "timestamp", "count", "duration", "project_id", "task_id",
    "job_id", "user_id", "user_name", "user_email", "org_id", "org_slug", "payload", "access_token_id",
]  # fmt: skip
"""CVAT's own columns in CVAT's own order (17 of old, the last one since newer servers)."""


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        # a round by itself could bring back what was there before the tables were emptied
        store.post("ALTER TABLE working_time_refresh MODIFY REFRESH EVERY 1 YEAR APPEND")
        yield store


@pytest.fixture(autouse=True)
def _empty(engine: Store) -> None:
    for table in ("events", "working_time_days", "working_time_results", "working_time_by_day"):
        engine.post(f"TRUNCATE TABLE {table}")


def event(**fields: Any) -> dict[str, Any]:
    return {
        "scope": "save:job",
        "source": "client",
        "timestamp": "2024-12-06 10:27:53.184",
        "user_id": 68,
        **fields,
    }


def test_a_star_shows_cvats_columns_in_cvats_order(engine: Store) -> None:
    engine.insert([event()])
    (row,) = engine.rows("SELECT * FROM events")
    assert list(row) == COLUMNS


def test_a_repeated_event_is_read_once_and_one_that_differs_in_any_column_stays(engine: Store) -> None:
    different = [
        event(**{name: value})
        for name, value in {
            "scope": "load:job", "obj_name": "a", "obj_id": 1, "obj_val": "b", "source": "server", "count": 1,
            "timestamp": "2024-12-06 10:27:53.185", "duration": 1, "project_id": 1, "task_id": 1, "job_id": 1,
            "user_id": 1, "user_name": "u", "user_email": "e", "org_id": 1, "org_slug": "o", "payload": "{}",
            "access_token_id": 1,
        }.items()
    ]  # fmt: skip
    for _ in range(3):
        engine.insert([event(), *different])
        engine.insert([*reversed(different), event(), event()])
    engine.insert([event()])
    assert engine.rows("SELECT count() AS events FROM events") == [{"events": len(COLUMNS) + 1}]


def test_null_and_empty_are_two_things(engine: Store) -> None:
    engine.insert([event(obj_val=None), event(obj_val=""), event()])
    assert engine.rows("SELECT obj_val FROM events ORDER BY obj_val NULLS LAST") == [
        {"obj_val": ""},
        {"obj_val": None},
    ]


@pytest.mark.parametrize("payload", [{"request": {"id": "5f3a"}}, {"request_id": "5f3a"}])
def test_the_request_id_is_found_in_both_of_its_places(engine: Store, payload: dict[str, Any]) -> None:
    engine.insert([event(payload=json.dumps(payload)), event(payload="not json"), event(payload=None)])
    assert engine.rows("SELECT payload FROM events WHERE request_id = '5f3a'") == [
        {"payload": json.dumps(payload)}
    ]


def test_one_insert_may_hold_events_of_many_months(engine: Store) -> None:
    months = [
        event(timestamp=f"{year}-{month:02}-01 00:00:00.000")
        for year in range(2010, 2021)
        for month in range(1, 13)
    ]
    engine.insert(months)
    assert engine.rows("SELECT count() AS events FROM events") == [{"events": len(months)}]


@pytest.mark.parametrize(
    ("user", "sql"),
    [
        ("vector", "SELECT count() FROM events"),
        ("vector", "SELECT count() FROM system.users"),
        ("vector", "INSERT INTO schema_migrations (name) VALUES ('x')"),
        ("vector", "TRUNCATE TABLE events"),
        ("grafana", "INSERT INTO events (scope, source, timestamp) VALUES ('x', 'y', now())"),
        ("grafana", "DROP TABLE events"),
        ("grafana", "SELECT * FROM url('http://127.0.0.1:1', CSV, 'a String')"),
        ("grafana", "SELECT count() FROM events SETTINGS max_memory_usage = 0"),
        ("grafana", "SELECT count() FROM events SETTINGS max_execution_time = 100000"),
        ("grafana", "SELECT count() FROM events SETTINGS readonly = 0"),
        ("events_api", "INSERT INTO events (scope, source, timestamp) VALUES ('x', 'y', now())"),
        ("grafana", "SELECT count() FROM schema_migrations"),
        ("grafana", "SELECT count() FROM working_time_days"),
        ("events_api", "SELECT count() FROM working_time"),
        ("events_api", "SELECT count() FROM events_dead_letter"),
        ("events_api", "SELECT query FROM system.processes"),
        ("admin", "CREATE USER intruder"),
        ("admin", "GRANT SELECT ON *.* TO grafana"),
        # of the function file() the engine's library asks nobody's rights
        ("admin", "SELECT * FROM filesystem('/etc/hostname')"),
        ("admin", "CREATE TABLE reads (line String) ENGINE = File(LineAsString, '/etc/hostname')"),
        (
            "admin",
            "INSERT INTO FUNCTION url('http://127.0.0.1:1/', LineAsString, 'line String') VALUES ('x')",
        ),
        ("admin", "SELECT * FROM remote('127.0.0.1', system.one)"),
        ("cvat", "DROP TABLE events"),
        ("cvat", "CREATE USER intruder"),
        ("cvat", "SELECT count() FROM system.users"),
        ("default", "SELECT count() FROM events"),
    ],
)
def test_nobody_may_more_than_he_needs(engine: Store, user: str, sql: str) -> None:
    context = engine.context
    if user == "default":
        object.__setattr__(context.secrets, "_values", dict(context.secrets) | {"clickhouse_default": ""})
    with pytest.raises(
        AssertionError, match=r"ACCESS_DENIED|READONLY|SETTING_CONSTRAINT_VIOLATION|UNKNOWN_DATABASE"
    ):
        engine.post(sql, user=user)


def test_grafana_may_set_what_its_plugin_sets(engine: Store) -> None:
    sql = "SELECT 1 SETTINGS max_execution_time = 30, additional_table_filters = {'events': 'user_id = 1'}"
    engine.post(sql, user="grafana")


def test_grafana_may_leave_final_out_of_one_table(engine: Store) -> None:
    twice = event()
    engine.insert([twice])
    engine.insert([twice | {"duration": 7}])
    engine.post("SYSTEM STOP MERGES events")
    engine.post("INSERT INTO events SELECT * FROM events", user="admin")
    sql = "SELECT (SELECT count() FROM events) AS once, count() AS stored FROM (SELECT * FROM events SETTINGS final = 0)"
    assert engine.rows(sql) == [{"once": 2, "stored": 4}]


def test_what_readers_ask_again_is_unpacked_already(engine: Store) -> None:
    engine.insert([event()])

    def hits() -> int:
        return int(
            engine.rows("SELECT sum(value) AS hits FROM system.events WHERE event = 'UncompressedCacheHits'")[
                0
            ]["hits"]
        )

    before = hits()
    for _ in range(2):
        engine.rows("SELECT max(timestamp) FROM events WHERE NOT ignore(user_id)")
    assert hits() > before


def test_a_cvat_server_finds_what_it_would_make_at_its_start(engine: Store) -> None:
    engine.insert([event()])
    for sql in (
        f"CREATE DATABASE IF NOT EXISTS {engine.database}",
        f"CREATE TABLE IF NOT EXISTS {engine.database}.events (scope String) ENGINE = MergeTree ORDER BY scope",
        f"ALTER TABLE {engine.database}.events ADD COLUMN IF NOT EXISTS access_token_id Nullable(UInt64)",
    ):
        engine.post(sql, user="cvat")
    answer = json.loads(engine.post(f"SELECT count() FROM {engine.database}.events", user="cvat"))
    assert answer["data"] in ([[1]], [["1"]])


# The example of docs/why/working-time.md
EXAMPLE = [
    ("10:00:00", "load:job", 5, 0),
    ("10:00:10", "change:frame", 5, 3000),
    ("10:00:20", "save:job", 6, 0),
    ("10:02:30", "draw:object", 6, 0),
    ("10:02:50", "save:job", 6, 500),
]


def test_working_time_is_what_the_documentation_says(engine: Store) -> None:
    engine.insert(
        [
            event(timestamp=f"2026-01-05 {time}.000", scope=scope, job_id=job, duration=ms)
            for time, scope, job, ms in EXAMPLE
        ]
    )
    engine.insert(
        [
            event(
                scope="send:working_time",
                source="server",
                duration=33000,
                job_id=5,
                timestamp="2026-01-05 10:03:00.000",
            )
        ]
    )
    engine.refresh()
    rows = engine.rows("SELECT job_id, day, computed_ms, reported_ms FROM working_time ORDER BY job_id")
    assert [
        {name: int(value) if name != "day" else value for name, value in row.items()} for row in rows
    ] == [
        {"job_id": 5, "day": "2026-01-05", "computed_ms": 20000, "reported_ms": 33000},
        {"job_id": 6, "day": "2026-01-05", "computed_ms": 20000, "reported_ms": 0},
    ]
