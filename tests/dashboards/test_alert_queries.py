"""Each alert's query runs on the real engine, and fires over what it is for and over nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cvat_analytics.pipeline.dead_letters import MARK
from cvat_analytics.store import smoke_events
from cvat_analytics.store.smoke_events import LETTER
from tests.clickhouse import Store, running
from tests.dashboards.alerting import (
    MONDAY,
    NAMES,
    event_at,
    insert_rows,
    rule_named,
    sql_at,
    values_at,
)
from tests.waiting import until


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an engine of their own: one alert reads the list of errors, which is the whole server's."""
    with running(tmp_path_factory.mktemp("store")) as engine:
        yield engine


@pytest.fixture
def empty(store: Store) -> Store:
    """Return it with nothing in it."""
    for table in ("events", "events_dead_letter", "pipeline_metrics", "backups", "deployments"):
        store.post(f"TRUNCATE TABLE {table}")
    return store


@pytest.mark.parametrize("name", NAMES)
def test_nothing_fires_over_nothing_at_night(empty: Store, name: str) -> None:
    assert [crossed for _, crossed in values_at(empty, name, MONDAY + timedelta(hours=3)) if crossed] == []


@pytest.mark.parametrize(
    ("at", "last", "minutes"),
    [
        (timedelta(hours=12), timedelta(hours=11, minutes=50), 10),
        (timedelta(hours=12), timedelta(hours=10, minutes=30), 90),
        # the night and the weekend do not count
        (timedelta(hours=8, minutes=20), timedelta(hours=-60), 20),
        (timedelta(hours=9, minutes=30), timedelta(hours=-60), 90),
        (timedelta(hours=7, minutes=59), timedelta(hours=1), 0),
        (timedelta(hours=18), timedelta(hours=9), 0),
        (timedelta(hours=17, minutes=59), timedelta(hours=9), 539),
        (timedelta(days=-1, hours=12), timedelta(days=-1, hours=1), 0),  # a Sunday
    ],
)
def test_silence_is_counted_in_working_hours(
    empty: Store, at: timedelta, last: timedelta, minutes: int
) -> None:
    insert_rows(empty, "events", [event_at(MONDAY + last), event_at(MONDAY + last - timedelta(hours=1))])
    assert values_at(empty, "no-events", MONDAY + at) == [(minutes, minutes > 60)]
    assert values_at(empty, "no-events", MONDAY + at, alert_silence="10m") == [(minutes, minutes > 10)]


def test_silence_with_no_event_at_all(empty: Store) -> None:
    assert values_at(empty, "no-events", MONDAY + timedelta(hours=10)) == [(120, True)]


def test_working_hours_are_those_of_the_time_zone_and_the_days(empty: Store) -> None:
    at = MONDAY + timedelta(hours=1, minutes=30)  # 10:30 in Tokyo
    assert values_at(empty, "no-events", at, time_zone="Asia/Tokyo") == [(150, True)]
    assert values_at(empty, "no-events", at) == [(0, False)]
    assert values_at(empty, "no-events", at, time_zone="Asia/Tokyo", alert_working_days=["tue"]) == [
        (0, False)
    ]
    assert values_at(empty, "no-events", at, alert_working_hours="00:00-24:00") == [(90, True)]


def test_an_old_event_that_arrives_now_is_an_event_that_arrives(empty: Store) -> None:
    noon = MONDAY + timedelta(hours=12)
    insert_rows(empty, "events", [event_at(noon - timedelta(hours=5), noon - timedelta(minutes=3))])
    assert values_at(empty, "no-events", noon) == [(3, False)]


def _exceptions(count: int, before: timedelta, spread: timedelta) -> list[dict[str, Any]]:
    noon = MONDAY + timedelta(hours=12)
    return [
        event_at(
            noon - before - spread * n / max(count, 1), scope="send:exception", user_id=n, source="server"
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("recent", "usual_week", "fires"),
    [
        (0, 0, False),
        (20, 0, False),  # not more than the setting
        (21, 0, True),
        (21, 671 * 4, True),  # 4 in each quarter of an hour, now more than 20
        (30, 671 * 7, False),  # 7 is usual there
        (36, 671 * 7, True),
    ],
)
def test_exceptions_fire_when_there_are_many_and_far_more_than_usual(
    empty: Store, recent: int, usual_week: int, fires: bool
) -> None:
    noon = MONDAY + timedelta(hours=12)
    rows = _exceptions(recent, timedelta(0), timedelta(minutes=14))
    rows += _exceptions(usual_week, timedelta(minutes=16), timedelta(days=6.9))
    rows += [event_at(noon - timedelta(minutes=1), user_id=n) for n in range(100)]  # others do not count
    insert_rows(empty, "events", rows)
    assert values_at(empty, "exceptions", noon) == [(recent if fires or recent == 20 else 0, fires)]


def test_dead_letters_fire_when_there_is_one(empty: Store) -> None:
    noon = MONDAY + timedelta(hours=12)
    letter = {"received_at": f"{noon - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}.500", "reason": "r", "message": "m", "original": "o"}  # fmt: skip
    insert_rows(empty, "events_dead_letter", [letter])
    assert values_at(empty, "dead-letters", noon) == [(1, True)]
    assert values_at(empty, "dead-letters", noon + timedelta(minutes=10)) == [(0, False)]
    assert rule_named("dead-letters")["for"] == "120s"


def test_a_backup_fires_when_it_is_too_old_and_when_it_failed(empty: Store) -> None:
    noon = MONDAY + timedelta(hours=12)
    target = {"backup_target": "sftp:keeper@store:/srv/cvat"}

    def note(
        name: str, started: datetime, state: str, message: str = "", place: str = target["backup_target"]
    ) -> None:
        row = {
            "name": name,
            "target": place,
            "started": f"{started:%Y-%m-%d %H:%M:%S}.000",
            "state": state,
            "message": message,
        }
        insert_rows(empty, "backups", [row])

    def says(at: datetime, **settings: Any) -> list[str]:
        rule = rule_named("backup", **target, **settings)
        assert all(crossed for _, crossed in values_at(empty, "backup", at, **target, **settings))
        return [row["problem"] for row in empty.rows(sql_at(rule, at))]

    assert says(noon) == []  # of a stack that is just being deployed
    empty.post(f"INSERT INTO deployments (at) VALUES ('{noon - timedelta(days=3):%Y-%m-%d %H:%M:%S}')")
    assert says(noon) == ["There is no good backup."]
    assert values_at(empty, "backup", noon) == [(0, False)]  # without a target nobody watches
    note("one", noon - timedelta(hours=47), "complete")
    note("elsewhere", noon - timedelta(hours=1), "complete", place="/mnt/another")
    assert says(noon) == []
    assert says(noon, backup_too_old="46h") == [
        f"The last good backup is of {noon - timedelta(hours=47):%Y-%m-%d %H:%M:%S} UTC."
    ]
    note("two", noon - timedelta(hours=23), "failed", "it is full")
    assert says(noon) == ["The last backup failed: it is full"]
    # until one has ended better
    note("three", noon - timedelta(hours=2), "running")
    assert says(noon) == ["The last backup failed: it is full"]
    note("three", noon - timedelta(hours=2), "incomplete", "it lacks journal of host in")
    assert says(noon) == ["The last backup is incomplete: it lacks journal of host in"]
    note("one", noon - timedelta(hours=47), "damaged", "a byte")
    note("four", noon - timedelta(hours=1), "complete")
    assert says(noon) == ["The backup one is damaged: a byte"]


def test_background_work_that_fails_fires_with_its_name_and_reason(empty: Store) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=2)
    assert values_at(empty, "background-work", soon) == []
    empty.post("SYSTEM STOP VIEW event_counts_refresh")
    try:
        found = until(lambda: values_at(empty, "background-work", soon), "it is told", bool)
        assert found == [(1, True)]
        (row,) = empty.rows(sql_at(rule_named("background-work"), soon))
        assert (row["work"], row["why"]) == ("event_counts_refresh", "it was stopped")
        assert row["since"].endswith(" UTC")
    finally:
        empty.post("SYSTEM START VIEW event_counts_refresh")


@pytest.mark.parametrize("ours", [LETTER, f"{MARK}1"])
def test_dead_letters_of_our_own_fire_nothing(empty: Store, ours: str) -> None:
    noon = MONDAY + timedelta(hours=12)
    letter = {"received_at": f"{noon - timedelta(minutes=10):%Y-%m-%d %H:%M:%S}.500", "reason": "r", "message": "m", "original": ours}  # fmt: skip
    insert_rows(empty, "events_dead_letter", [letter])
    assert values_at(empty, "dead-letters", noon) == [(0, False)]


def test_a_smoke_test_is_no_sign_of_life(empty: Store) -> None:
    insert_rows(empty, "events", [event_at(smoke_events.MONTH)])
    assert values_at(empty, "no-events", MONDAY + timedelta(hours=10)) == [(120, True)]


def _metrics(
    name: str, values: Sequence[float], component: str = "events", **tags: str
) -> list[dict[str, Any]]:
    """Return readings every 15 seconds that end at noon."""
    noon = MONDAY + timedelta(hours=12)
    return [
        {
            "time": f"{noon - timedelta(seconds=15 * (len(values) - 1 - position)):%Y-%m-%d %H:%M:%S}",
            "host": "h",
            "name": name,
            "component": component,
            "tags": tags,
            "value": value,
        }
        for position, value in enumerate(values)
    ]


ANSWERS = "http_client_responses_total"


@pytest.mark.parametrize(
    ("refused", "delivered", "fires"),
    [
        ([0] * 10 + [1, 3, 5], range(13), False),  # others are delivered in between
        ([0] * 10 + [1, 3, 5], [*range(10), 9, 9, 9], True),
        ([0] * 9 + [1, 1, 1, 1], [*range(10), 10, 10, 10], False),  # once, and mended before the next reading
        ([0] * 11 + [1, 3], [*range(11), 10, 10], False),  # the next reading tells
        ([7] * 13, [9] * 13, False),  # long ago
        ([1], [], False),
        (range(1, 14), [], True),  # never anything but that
        ([9] * 10 + [1, 2, 3], [9] * 13, True),  # Vector was started anew
        ([], [], False),
    ],
)
def test_a_batch_that_is_refused_again_and_again_fires_within_two_minutes(
    empty: Store, refused: Sequence[float], delivered: Sequence[float], fires: bool
) -> None:
    noon = MONDAY + timedelta(hours=12)
    rows = _metrics(ANSWERS, list(refused), status="500") + _metrics(ANSWERS, list(delivered), status="200")
    # ClickHouse away, and what waits for nobody, are other things
    rows += _metrics("http_client_errors_total", [0, 1, 2], component="dead_letters")
    rows += _metrics(ANSWERS, [0, 1, 2, 3], component="metrics", status="500")
    insert_rows(
        empty,
        "pipeline_metrics",
        [*rows, *_metrics("uptime_seconds", [1e6 + 15 * n for n in range(13)], component="")],
    )
    found = values_at(empty, "refused", noon)
    assert [crossed for _, crossed in found] == [True] * fires
    assert values_at(empty, "refused", noon + timedelta(minutes=6)) == [], "Vector has not been heard since"


@pytest.mark.parametrize(("uptime", "fires"), [(1000, True), (70, True), (40, False), (15, False), (3, True)])
def test_a_vector_that_was_started_without_its_buffer_is_refused_no_more(
    empty: Store, uptime: float, fires: bool
) -> None:
    noon = MONDAY + timedelta(hours=12)
    # the last refusal was 45 s ago
    rows = _metrics(ANSWERS, [1, 2, 3, 4, 4, 4, 4], status="500")
    insert_rows(empty, "pipeline_metrics", rows + _metrics("uptime_seconds", [uptime], component=""))
    assert [crossed for _, crossed in values_at(empty, "refused", noon)] == [True] * fires


def _people(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Return changes of annotations, one a minute and person until noon."""
    noon = MONDAY + timedelta(hours=12)
    agent = json.dumps({"request": {"id": "x", "user_agent": "Mozilla/5.0 (X11)"}})
    event: dict[str, Any] = {"scope": "create:shapes", "source": "server", "payload": agent} | changes
    return [
        event_at(noon - timedelta(minutes=minute), **{"user_id": person, **event})
        for person in range(1, count + 1)
        for minute in range(20)
    ]


NOBODY = json.dumps({"request": {"id": "x", "user_agent": None}})


@pytest.mark.parametrize(
    ("rows", "fires"),
    [
        ([], False),
        (_people(1), True),
        (_people(3), True),
        (_people(3) + _people(1, scope="change:frame", source="client", user_id=2)[:1], False),
        (_people(1)[:9], False),  # little
        (_people(1)[:12], False),  # its browser may send yet
        (_people(3, payload='{"request": {"id": "x", "user_agent": "cvat_sdk/2.42.0"}}'), False),
        (_people(3, payload=NOBODY), False),  # a worker
        (_people(3, payload='{"request_id": "x"}'), True),  # an older server
        (_people(3, scope="create:task"), False),
        (_people(3, source="unknown"), False),
    ],
)
def test_people_whose_browsers_send_nothing_fire(
    empty: Store, rows: list[dict[str, Any]], fires: bool
) -> None:
    if rows:
        insert_rows(empty, "events", [row | {"payload": row.get("payload")} for row in rows])
    noon = MONDAY + timedelta(hours=12)
    ((_, crossed),) = values_at(empty, "no-client-events", noon)
    assert crossed == fires
    assert [crossed for _, crossed in values_at(empty, "no-client-events", noon + timedelta(hours=8))] == [
        False
    ]


DROPS = "component_discarded_events_total"


@pytest.mark.parametrize(
    ("rows", "losses"),
    [
        ([], 0),
        (_metrics(DROPS, [7] * 70, intentional="false"), 0),  # of long ago
        (_metrics(DROPS, [7] * 69 + [9], intentional="false"), 2),
        (_metrics(DROPS, [3] * 10, intentional="false"), 3),  # the counter appeared with the first drop
        (_metrics(DROPS, [0] * 30 + [5] * 20 + [1] * 20, intentional="false"), 6),  # Vector was started anew
        (_metrics(DROPS, [0] * 69 + [9], intentional="true"), 0),
        (_metrics("component_errors_total", [0] * 69 + [2], error_type="request_failed"), 2),
        (_metrics("component_sent_events_total", [0] * 69 + [2]), 0),
    ],
)
def test_what_vector_loses_fires(empty: Store, rows: list[dict[str, Any]], losses: int) -> None:
    insert_rows(empty, "pipeline_metrics", [*_metrics("uptime_seconds", range(70), component=""), *rows])
    assert values_at(empty, "vector", MONDAY + timedelta(hours=12)) == [(losses, losses > 0)]


def _free(days: float, per_day: float, left: float) -> list[dict[str, Any]]:
    """Return hourly readings of a file system that had `left` bytes at noon and loses `per_day`."""
    noon = MONDAY + timedelta(hours=12)
    return [
        {
            "time": f"{noon - timedelta(hours=hour):%Y-%m-%d %H:%M:%S}",
            "host": "h",
            "name": "filesystem_free_bytes",
            "component": "",
            "tags": {"mountpoint": "/"},
            "value": left + per_day * hour / 24,
        }
        for hour in range(int(days * 24) + 1)
    ]


@pytest.mark.parametrize(
    ("readings", "days"),
    [
        ((6, 10e9, 100e9), 10.0),
        ((6, 10e9, 200e9), 20.0),
        ((6, 0, 100e9), 99999.0),
        ((6, -5e9, 100e9), 99999.0),
        ((0.5, 10e9, 100e9), None),  # a trend of hours
    ],
)
def test_vector_s_disk_fires_by_its_trend(
    empty: Store, readings: tuple[float, ...], days: float | None
) -> None:
    insert_rows(empty, "pipeline_metrics", _free(*readings))
    clickhouse, *vector = values_at(empty, "disk", MONDAY + timedelta(hours=12))
    assert clickhouse == (99999, False)
    assert vector == ([] if days is None else [(days, days < 14)])
    if days is not None:
        assert values_at(empty, "disk", MONDAY + timedelta(hours=12), alert_disk_full_within="30d")[1] == (
            days,
            days < 30,
        )


@pytest.mark.parametrize(
    ("retention_days", "free", "days"),
    [
        (None, 1000, 14.0),
        (None, 500, 7.0),
        (None, 700, 9.8),
        (365, 500, 7.0),
        (6, 500, 99999),  # what it will hold at most is less than that
    ],
)
def test_clickhouse_s_disk_fires_by_what_arrives(
    empty: Store, retention_days: int | None, free: int, days: float
) -> None:
    """500 events in a week, 1 byte each: 71.4 bytes a day."""
    noon = MONDAY + timedelta(hours=12)
    insert_rows(empty, "events", [event_at(noon - timedelta(minutes=20 * n + 60)) for n in range(500)])
    definitions = {
        view: empty.post(f"SELECT create_table_query FROM system.tables WHERE name = '{view}' AND database = currentDatabase() FORMAT TSVRaw")
        for view in ("storage_disks", "storage_tables")
    }  # fmt: skip
    retention = "NULL" if retention_days is None else str(retention_days * 86400)
    empty.post(
        f"CREATE OR REPLACE VIEW storage_disks AS SELECT 'default' AS disk, '/' AS path, toUInt64({free}) AS free_bytes"
    )
    empty.post(
        "CREATE OR REPLACE VIEW storage_tables AS SELECT 'events' AS table, toUInt64(500) AS rows, toUInt64(500) AS bytes, "
        f"CAST({retention} AS Nullable(UInt64)) AS retention_seconds"
    )
    try:
        assert values_at(empty, "disk", noon) == [(days, days < 14)]
    finally:
        for definition in definitions.values():
            empty.post(definition.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
