"""Storage, disks, versions and deploys on the Pipeline dashboard, against what the server's own tables say."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from cvat_analytics.dashboards import Dashboard, Query, TimeRange, expand
from tests.clickhouse import Store
from tests.dashboards.events import Event, time_of
from tests.dashboards.flow import GAUGES, HOSTS, Flow
from tests.dashboards.shown import Shown, first_value, system_rows


def test_events_and_bytes_per_day(pipeline: Shown, store: Store, events: list[Event]) -> None:
    pipeline.range = TimeRange(datetime(2026, 3, 5, 9, tzinfo=UTC), datetime(2026, 3, 9, 12, tzinfo=UTC))
    store.post("SYSTEM STOP MERGES events")  # one between the two questions would change what a row takes
    try:
        (month,) = system_rows(
            store,
            "SELECT sum(bytes_on_disk) AS bytes, sum(rows) AS rows FROM system.parts "
            "WHERE active AND database = currentDatabase() AND table = 'events' AND partition = '202603'",
        )
        rows = pipeline.rows("Events and bytes per day")
    finally:
        store.post("SYSTEM START MERGES events")
    days = Counter(time_of(event).date() for event in events)
    assert rows == [
        {"time": f"{day} 00:00:00" if day.day > 5 else "2026-03-05 09:00:00", "events": count, "bytes": pytest.approx(count * month["bytes"] / month["rows"], rel=0.05)}
        for day, count in sorted(days.items())
        if 5 <= day.day <= 9 and day.month == 3
    ]  # fmt: skip


def test_storage(pipeline: Shown, store: Store) -> None:
    truth = system_rows(
        store,
        "SELECT name, total_rows AS rows, total_bytes AS bytes FROM system.tables "
        "WHERE database = currentDatabase() AND engine LIKE '%MergeTree'",
    )
    tables = {row["table"]: row for row in pipeline.rows("Storage")}
    assert tables.keys() == {table["name"] for table in truth}
    rows = {table["name"]: table["rows"] for table in truth}
    for table in ("events_dead_letter", "pipeline_metrics", "deployments"):
        assert tables[table]["rows"] == rows[table] > 0
        assert tables[table]["bytes_per_row"] == tables[table]["bytes"] / tables[table]["rows"]
    assert (tables["pipeline_metrics"]["kept"], tables["events"]["kept"]) == (30, None)


def test_retention_is_shown(store: Store, pipeline: Shown, resting: str) -> None:
    store.post(
        "ALTER TABLE events MODIFY TTL toDateTime(timestamp) + toIntervalSecond(34560000)", database=resting
    )
    (query,) = next(panel for panel in pipeline.dashboard.panels if panel.title == "Storage").queries
    answer = json.loads(store.post(expand(query, pipeline.dashboard, pipeline.range), database=resting))
    assert {row[0]: row[4] for row in answer["data"]}["events"] == 400


def test_disks(pipeline: Shown, store: Store) -> None:
    (disk,) = system_rows(store, "SELECT path, total_space FROM system.disks")
    rows = {row["part"]: row for row in pipeline.rows("Disks")}
    assert rows.keys() == {"ClickHouse", *(f"Vector, {host}" for host in HOSTS)}
    assert (rows["ClickHouse"]["path"], rows["ClickHouse"]["total"]) == (disk["path"], disk["total_space"])
    assert 0 < rows["ClickHouse"]["used"] == 1 - rows["ClickHouse"]["free"] / rows["ClickHouse"]["total"] < 1
    sizes = {name: most for (name, _, _), most in GAUGES.items() if name.startswith("filesystem")}
    total, free = sizes["filesystem_total_bytes"], sizes["filesystem_free_bytes"]
    for host in HOSTS:
        row = rows[f"Vector, {host}"]
        assert row == {
            "part": f"Vector, {host}",
            "path": "/",
            "total": total,
            "free": free,
            "used": 1 - free / total,
        }


def test_versions(pipeline: Shown, store: Store) -> None:
    (server,) = system_rows(store, "SELECT version() AS version")
    rows = {(row["part"], row["host"]): row["version"] for row in pipeline.rows("Versions")}
    assert rows.pop(("Database schema", "")) is not None
    assert rows == {
        ("ClickHouse", ""): server["version"],
        **{("Vector", host): "0.58.0" for host in HOSTS},
        ("cvat-analytics", "one"): "0.5.0",
        ("cvat-analytics", "two'\\"): "0.4.1",
    }


def test_deploys(pipeline: Shown, store: Store, flow: Flow) -> None:
    (annotation,) = pipeline.dashboard.model["annotations"]["list"]
    query = Query("annotation", annotation["target"]["rawSql"])
    assert store.rows(expand(query, pipeline.dashboard, flow.range)) == [
        {"time": flow.deploys[0]["at"], "text": "Deploy of cvat-analytics 0.4.0, changes: 1", "tags": "one"},
        {"time": flow.deploys[1]["at"], "text": "Deploy of cvat-analytics 0.5.0 (abcdef012345), changes: 2", "tags": "one"},
        {"time": flow.deploys[2]["at"], "text": "Deploy of cvat-analytics 0.4.1, changes: 3", "tags": "two'\\"},
    ]  # fmt: skip
    before = TimeRange(flow.range.start, flow.range.start + timedelta(minutes=30))
    assert store.rows(expand(query, pipeline.dashboard, before)) == []


def test_days_until_the_disk_is_full(store: Store, dashboards: dict[str, Dashboard]) -> None:
    title, board = "Days until the disk is full", dashboards["Pipeline"]
    store.create("growing")
    for view in ("event_counts_refresh", "event_days_refresh", "working_time_refresh"):
        store.post(f"SYSTEM STOP VIEW {view}", database="growing")  # nothing else grows meanwhile
    assert first_value(store, board, title, "growing") is None  # nothing comes, so it never fills
    store.post(
        "INSERT INTO events (scope, timestamp, user_id, payload) "
        "SELECT 'save:job', toStartOfDay(now('UTC')) - 60 - intDiv(number, 700) * 86400 - number % 700, number, hex(rand64()) FROM numbers(5600)",
        database="growing",
    )
    (size,) = system_rows(
        store, "SELECT sum(total_bytes) AS bytes FROM system.tables WHERE database = 'growing'"
    )
    per_day = 700 * size["bytes"] / 5600  # eight days, of which the last seven are looked at
    _room(store, 10 * per_day)
    assert first_value(store, board, title, "growing") == pytest.approx(10, rel=0.01)
    for room, left in {3600: pytest.approx(3600, rel=0.01), 3700: None}.items():  # ten years and more
        _room(store, room * per_day)
        assert first_value(store, board, title, "growing") == left
    _room(store, 10 * per_day)
    for days, left in {
        400: pytest.approx(10, rel=0.01),
        12: None,
    }.items():  # twelve days are full after four more
        store.post(
            f"ALTER TABLE events MODIFY TTL toDateTime(timestamp) + toIntervalSecond({days * 86400}) SETTINGS materialize_ttl_after_modify = 0",
            database="growing",
        )
        assert first_value(store, board, title, "growing") == left


def _room(store: Store, free: float) -> None:
    """Give the store a disk with so many bytes free."""
    store.post(
        f"CREATE OR REPLACE VIEW storage_disks AS SELECT 'default' AS disk, '/' AS path, 1e12 AS total_bytes, {free} AS free_bytes",
        database="growing",
    )
