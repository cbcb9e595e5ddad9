"""`working-time refresh` makes the figures exact at once; `compare` says where they differ from the reported ones, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config.validation import validate
from cvat_analytics.connect.access import Access, pairs
from cvat_analytics.store import migrations, working_time_report
from tests.clickhouse import Store, way_to

DAY = datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        store.post(
            "CREATE MATERIALIZED VIEW never REFRESH EVERY 1 SECOND (x UInt8) ENGINE = Memory EMPTY AS SELECT 1 AS x"
        )
        store.post("SYSTEM STOP VIEW never")
        yield store


@pytest.fixture
def access(engine: Store) -> Access:
    only_when_asked(engine, 20)
    for table in ("events", "working_time_days", "working_time_results", "working_time_by_day"):
        engine.post(f"TRUNCATE TABLE {table}")
    return way_to(engine.context)


def only_when_asked(engine: Store, seconds: int) -> None:
    """Let no round begin by itself: one that overtakes a test has computed what the test finds due, or brings back what was there.

    The view keeps its interval, which the settings are compared with, and waits for another one that never is refreshed.
    """
    engine.post(
        f"ALTER TABLE working_time_refresh MODIFY REFRESH EVERY {seconds} SECOND DEPENDS ON never APPEND"
    )
    engine.post("SYSTEM WAIT VIEW working_time_refresh")


def event(seconds: float, **fields: Any) -> dict[str, Any]:
    time = DAY + timedelta(seconds=seconds)
    return {
        "scope": "draw:object", "source": "client", "timestamp": time.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "user_id": 1, "user_name": "anna", "job_id": 5, **fields,
    }  # fmt: skip


def computed(engine: Store) -> dict[int, int]:
    rows = engine.rows("SELECT job_id, sum(computed_ms) AS ms FROM working_time GROUP BY job_id")
    return {int(row["job_id"]): int(row["ms"]) for row in rows}


def apply(engine: Store, access: Access, **values: Any) -> list[str]:
    """Bring the database to other settings, as a deploy does, and return the statements that it took."""
    client = access.client()
    client.database = engine.database
    current = pairs(client, migrations.working_time_query(engine.database))
    scripts = migrations.read(ROOT / "clickhouse")
    settings = validate({"database": engine.database, **values}, where="test")
    statements = migrations.working_time(settings, current, scripts)
    for statement in statements:
        client.command(statement)
    only_when_asked(engine, int(settings.working_time_delay.total_seconds()))
    return statements


def test_a_refresh_makes_it_exact_at_once_and_then_has_nothing_to_do(engine: Store, access: Access) -> None:
    engine.insert([event(0), event(60)])
    list(working_time_report.refresh(access))
    assert computed(engine) == {5: 60_000}
    # late, and before what was there
    engine.insert([event(-30)])
    assert list(working_time_report.refresh(access))[-1] == 0
    assert computed(engine) == {5: 90_000}
    assert list(working_time_report.refresh(access)) == [0, 0]
    assert list(working_time_report.refresh(access, date(2026, 1, 1))) == [1, 0]
    assert list(working_time_report.refresh(access, date(2026, 1, 6))) == [0, 0]


def test_a_changed_rule_is_applied_to_everything(engine: Store, access: Access) -> None:
    engine.insert([event(0, duration=7000), event(60), event(200), event(350)])
    list(working_time_report.refresh(access))
    assert computed(engine) == {5: 60_000}

    assert apply(engine, access) == []
    assert len(apply(engine, access, working_time_threshold="145s")) == 1
    list(working_time_report.refresh(access))
    assert computed(engine) == {5: 200_000}

    # durations of draw:object count now: 7 s of the first event lie inside the pause, those of the last one do not
    engine.insert([event(400, duration=30_000)])
    values = {
        "working_time_threshold": "145s",
        "working_time_duration_scopes": ["draw:object"],
        "working_time_delay": "7s",
    }
    assert len(apply(engine, access, **values)) > 3
    assert apply(engine, access, **values) == []
    list(working_time_report.refresh(access))
    assert computed(engine) == {5: 200_000 + 80_000}

    apply(engine, access)
    list(working_time_report.refresh(access))
    assert computed(engine) == {5: 60_000 + 50_000}


def test_a_night_shift_is_divided_where_people_are(engine: Store, access: Access) -> None:
    # 23:30 to 00:30 in Berlin, which is one day in UTC
    engine.insert([event(12.5 * 3600 + 90 * minute) for minute in range(41)])
    apply(engine, access, time_zone="Europe/Berlin")
    list(working_time_report.refresh(access))
    rows = engine.rows("SELECT day, computed_ms FROM working_time_local ORDER BY day")
    assert [(row["day"], int(row["computed_ms"])) for row in rows] == [
        ("2026-01-05", 1_800_000),
        ("2026-01-06", 1_800_000),
    ]
    (row,) = engine.rows("SELECT day, computed_ms FROM working_time")
    assert (row["day"], int(row["computed_ms"])) == ("2026-01-05", 3_600_000)
    apply(engine, access)


def reasons(access: Access, **arguments: Any) -> dict[tuple[int | None, int | None], tuple[int, int, str]]:
    list(working_time_report.refresh(access))
    report = working_time_report.compare(
        access, date(2026, 1, 1), date(2026, 1, 31), timedelta(seconds=10), **arguments
    )
    return {(row.user_id, row.job_id): (row.computed_ms, row.reported_ms, row.reason) for row in report}


def reported(seconds: float, milliseconds: int, **fields: Any) -> dict[str, Any]:
    return event(seconds, scope="send:working_time", source="server", duration=milliseconds, **fields)


def test_each_difference_has_its_likeliest_reason(engine: Store, access: Access) -> None:
    for user in (1, 2, 3, 4, 5):
        engine.insert([event(n * 50, user_id=user, user_name=f"user {user}", payload=None) for n in range(7)])
    engine.insert(
        [
            reported(400, 300_000, user_id=1),  # as computed: not shown
            reported(400, 200_000, user_id=3),
            event(460, user_id=4),
            reported(470, 500_000, user_id=4),
            *(event(n * 50 + 1, user_id=5, payload=f'{{"client_id": "{n % 2}"}}') for n in range(6)),
            reported(400, 600_000, user_id=5),
            reported(400, 60_000, user_id=6, user_name=None, job_id=None),
        ]
    )
    rows = reasons(access)
    assert {key: reason for key, (_, _, reason) in rows.items()} == {
        (2, 5): "the server has reported nothing for it",
        (3, 5): "7 events arrived more than 10 minutes late",
        (
            4,
            5,
        ): "8 events arrived more than 10 minutes late; pauses just over the threshold (1), which signs of life may have shortened",
        (
            5,
            5,
        ): "13 events arrived more than 10 minutes late; two tabs at once (in 1 times 5 minutes), which the server counts twice",
        (6, None): "no event of the browser is stored for it; the server counted signs of life",
    }
    assert rows[3, 5][:2] == (300_000, 200_000)
    assert set(reasons(access, user=2)) == {(2, 5)}


FORGED = '{"client_id": "1", "is_active": true, "working_time": 99999999}'


def test_what_clients_claim_is_reported_only_from_the_time_when_the_server_wrote_it(
    engine: Store, access: Access
) -> None:
    """CVAT 2.14.1 of 2024-06-05 was the first with an event of its own for it; each field here is a real event's."""
    engine.insert(
        [
            event(0, scope="save:job", payload=FORGED),
            event(10, scope="send:working_time", duration=99_999_999, payload=FORGED),
            event(20, scope="send:working_time", duration=99_999_999, source="unknown"),
            reported(30, 12_000),
            event(
                0, timestamp="2024-06-04 23:59:59.999", scope="save:job", payload='{"working_time": 70000}'
            ),
            event(0, timestamp="2024-06-05 00:00:00.000", scope="save:job", payload=FORGED),
        ]
    )
    list(working_time_report.refresh(access))
    for view in ("working_time", "working_time_local"):
        days = engine.rows(f"SELECT day, sum(reported_ms) AS ms FROM {view} GROUP BY day ORDER BY day")
        assert {row["day"]: int(row["ms"]) for row in days} == {
            "2024-06-04": 70_000,
            "2024-06-05": 0,
            "2026-01-05": 12_000,
        }, view
    everything = "working_time_in_range(since = '2024-01-01', until = '2026-12-31')"
    (row,) = engine.rows(f"SELECT sum(reported_ms) AS ms FROM {everything}")  # what the dashboards read
    assert int(row["ms"]) == 82_000
    (difference,) = working_time_report.compare(
        access, date(2026, 1, 1), date(2026, 1, 31), timedelta(milliseconds=1)
    )
    assert (difference.computed_ms, difference.reported_ms) == (10_000, 12_000)


def test_what_was_counted_before_is_put_right_by_the_next_deploy(engine: Store, access: Access) -> None:
    engine.insert([event(0, scope="save:job", payload=FORGED)])
    list(working_time_report.refresh(access))
    # as an earlier version had it
    engine.post(
        "INSERT INTO working_time_results SELECT user_id, day, now64(3), [(NULL, NULL, NULL, 5, day, 0, 99999999, 1)], "
        "[(NULL, NULL, NULL, 5, toUInt32(toUnixTimestamp(toDateTime(day, 'UTC')) / 900 + 40), 0, 99999999, 1)] FROM working_time_results FINAL"
    )
    (row,) = engine.rows("SELECT sum(reported_ms) AS ms FROM working_time")
    assert int(row["ms"]) == 99_999_999
    (script,) = (
        each for each in migrations.read(ROOT / "clickhouse") if each.name == "views/working_time.sql"
    )
    for statement in migrations.statements(script.sql):
        engine.post(statement)
    only_when_asked(engine, 20)
    list(working_time_report.refresh(access))
    (row,) = engine.rows("SELECT sum(reported_ms) AS ms FROM working_time")
    assert int(row["ms"]) == 0


def test_days_in_the_wrong_order_are_refused(access: Access) -> None:
    with pytest.raises(
        InputError, match="--since 2026-02-01 is after --until 2026-01-01: give the earlier day first"
    ):
        working_time_report.compare(access, date(2026, 2, 1), date(2026, 1, 1), timedelta(0))


def test_what_retention_has_dropped_keeps_its_working_time(engine: Store, access: Access) -> None:
    old = datetime.now(UTC) - timedelta(days=500)
    text = old.replace(hour=10).strftime("%Y-%m-%d %H:%M:%S")
    engine.insert(
        [event(0, timestamp=text), event(0, timestamp=text[:-2] + "59", job_id=6), event(0), event(60)]
    )
    list(working_time_report.refresh(access))
    before = engine.rows("SELECT * FROM working_time ORDER BY day, job_id")
    assert len(before) >= 2

    apply(engine, access, events_retention="400d")
    engine.post(f"ALTER TABLE events DROP PARTITION '{text[:4]}{text[5:7]}'")
    for keep in ("forever", "400d"):  # a changed rule is applied to what is left only
        apply(engine, access, events_retention=keep)
        list(working_time_report.refresh(access))
        assert engine.rows("SELECT * FROM working_time ORDER BY day, job_id") == before
    # a straggler of that day: it is about to be dropped too, and must not replace what was computed from all events
    engine.insert([event(0, timestamp=text[:-2] + "30")])
    list(working_time_report.refresh(access))
    assert engine.rows("SELECT * FROM working_time ORDER BY day, job_id") == before
    apply(engine, access)


@pytest.mark.parametrize(
    ("table", "lost"),
    [("working_time_by_day", "job_id = 5"), ("working_time_by_day", "1"), ("working_time_results", "1")],
)
def test_what_a_crash_has_torn_apart_is_computed_again(
    engine: Store, access: Access, table: str, lost: str
) -> None:
    engine.insert([event(0), event(60), event(70, job_id=6), event(80, job_id=6)])
    list(working_time_report.refresh(access))
    expected = engine.rows("SELECT * FROM working_time ORDER BY job_id")
    assert computed(engine) == {5: 70_000, 6: 10_000}
    # an insert that computes writes both tables; one of the two parts may be lost
    engine.post(f"ALTER TABLE {table} DELETE WHERE {lost} SETTINGS mutations_sync = 1")
    assert list(working_time_report.refresh(access)) == [1, 0]
    assert engine.rows("SELECT * FROM working_time ORDER BY job_id") == expected


def test_a_time_that_goes_to_another_job_leaves_nothing_behind(engine: Store, access: Access) -> None:
    engine.insert([event(0), event(60)])
    list(working_time_report.refresh(access))
    assert computed(engine) == {5: 60_000}
    engine.insert([event(0, job_id=4, timestamp=event(1)["timestamp"])])
    list(working_time_report.refresh(access))
    assert computed(engine) == {5: 1_000, 4: 59_000}
    engine.post("TRUNCATE TABLE events")
    engine.insert([event(0, job_id=9), event(60, job_id=9)])
    list(working_time_report.refresh(access))
    assert computed(engine) == {9: 60_000}
    assert len(engine.rows("SELECT * FROM working_time")) == 1
