"""Days in Management are those of the people who look at it: of the time zone in the settings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cvat_analytics.dashboards import Dashboard, TimeRange, expand
from tests.clickhouse import Store

TOKYO = "tokyo"
BEGIN = datetime(2026, 3, 4, 14, 59, tzinfo=UTC)
"""One minute to midnight in Tokyo."""


@pytest.fixture(scope="module")
def tokyo(store: Store) -> str:
    """Return the name of a database whose time zone is Tokyo's, with two minutes of work around a midnight there."""
    store.create(TOKYO)
    store.post(
        "INSERT INTO working_time_settings (threshold_ms, duration_scopes, retention_seconds, time_zone, changed_at) "
        "VALUES (100000, ['change:frame'], 0, 'Asia/Tokyo', now64(3))",
        database=TOKYO,
    )
    events = [
        {"timestamp": f"{BEGIN + timedelta(seconds=30 * n):%Y-%m-%d %H:%M:%S}", "user_id": 1, "user_name": "花子", "job_id": 7}
        | ({"scope": "save:job", "source": "client"} if n % 2 == 0 else {"scope": "update:job", "source": "server", "obj_name": "state", "obj_val": "completed"})
        for n in range(5)
    ]  # fmt: skip
    lines = "\n".join(json.dumps(event) for event in events)
    store.post(f"INSERT INTO events FORMAT JSONEachRow\n{lines}", database=TOKYO)
    store.refresh(TOKYO)
    return TOKYO


def _rows(store: Store, dashboard: Dashboard, title: str, time_range: TimeRange) -> list[list[Any]]:
    (query,) = next(panel for panel in dashboard.panels if panel.title == title).queries
    # Grafana's user may read one database only; its profile has `final`
    sql = f"{expand(query, dashboard, time_range)}\nSETTINGS final = 1"
    answer = json.loads(store.post(sql, database=TOKYO))
    return list(answer["data"])


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        (timedelta(minutes=-14), timedelta(minutes=2), [60 / 3600, 60 / 3600]),
        (timedelta(minutes=-14), timedelta(minutes=1), [60 / 3600]),
        (timedelta(minutes=1), timedelta(minutes=2), [60 / 3600]),
    ],
    ids=["both days", "the day before", "the day after"],
)
def test_a_night_is_divided_at_the_local_midnight(
    store: Store,
    dashboards: dict[str, Dashboard],
    tokyo: str,
    start: timedelta,
    end: timedelta,
    hours: list[float],
) -> None:
    time_range = TimeRange(BEGIN + start, BEGIN + end)
    rows = _rows(store, dashboards["Management"], "Working hours by day (${time_zone})", time_range)
    assert [row[2] for row in rows] == pytest.approx(hours)
    (row,) = _rows(store, dashboards["Management"], "Working time", time_range)
    assert row[7] == pytest.approx(sum(hours))


def test_local_days_are_marked_where_they_are(
    store: Store, dashboards: dict[str, Dashboard], tokyo: str
) -> None:
    time_range = TimeRange(BEGIN - timedelta(minutes=14), BEGIN + timedelta(minutes=2))
    rows = _rows(store, dashboards["Management"], "Working hours by day (${time_zone})", time_range)
    # written in the zone of the column, Tokyo: noon of the day around which the cell is drawn
    assert [row[0] for row in rows] == ["2026-03-04 12:00:00", "2026-03-05 12:00:00"]
    time_range = TimeRange(BEGIN, BEGIN + timedelta(minutes=2))
    jobs = _rows(store, dashboards["Management"], "Jobs completed (${time_zone})", time_range)
    assert jobs == [["2026-03-04 23:59:00", "unknown", 1], ["2026-03-05 00:00:00", "unknown", 1]]
