"""Events that were stored before dates were looked at leave reports, counts and working time, and are kept as dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import event_dates, migrations
from tests.clickhouse import Store
from tests.waiting import until

MIGRATION = "migrations/0011_implausible_dates.sql"
NOW = datetime.now(UTC)
VIEWS = ("event_counts_refresh", "event_days_refresh", "working_time_refresh")


@pytest.fixture
def store(shared_engine: Store) -> Iterator[Store]:
    """Return a database of its own in which no round begins by itself, and a day is settled as soon as it is counted."""
    with shared_engine.another() as store:
        only_when_asked(store)
        store.post(
            "INSERT INTO working_time_settings (threshold_ms, duration_scopes, retention_seconds, settle_seconds) "
            "SELECT threshold_ms, duration_scopes, retention_seconds, 0 FROM working_time_settings"
        )
        yield store


def only_when_asked(store: Store) -> None:
    for view in VIEWS:
        store.post(f"ALTER TABLE {view} MODIFY REFRESH EVERY 1 YEAR APPEND")
        store.post(f"SYSTEM WAIT VIEW {view}")


def text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.000"


def event(moment: datetime, **fields: Any) -> dict[str, Any]:
    return {"scope": "change:frame", "source": "client", "timestamp": text(moment), "duration": 3000, "user_id": 1, "job_id": 5} | fields  # fmt: skip


def computed(store: Store) -> None:
    """Compute everything that is due."""

    def rounds() -> tuple[Any, ...]:
        for view in VIEWS:
            for word in ("REFRESH", "WAIT"):
                store.post(f"SYSTEM {word} VIEW {view}")
        due = "SELECT (SELECT count() FROM event_days_state WHERE is_due), (SELECT count() FROM working_time_stale WHERE is_pending)"
        return tuple(int(each) for each in json.loads(store.post(due))["data"][0])

    until(rounds, "all is computed", lambda due: due == (0, 0))


def deployed(store: Store) -> None:
    """Apply the migration, and the views, which have changed with it."""
    for script in migrations.read(ROOT / "clickhouse"):
        if script.name == MIGRATION or script.kind == "view":
            for statement in migrations.statements(script.text(store.database)):
                store.post(statement)
    only_when_asked(store)


def seen(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Return what readers see."""
    return {
        "events": store.rows("SELECT * FROM events ORDER BY ALL"),
        "counts": store.rows("SELECT hour, user_id, events FROM event_counts ORDER BY ALL"),
        "time": store.rows("SELECT * EXCEPT day, toString(day) AS day FROM working_time ORDER BY ALL"),
        "slots": store.rows("SELECT * FROM working_time_slots ORDER BY ALL"),
        "jobs": store.rows("SELECT * FROM completed_jobs ORDER BY ALL"),
    }


def test_they_are_as_if_they_had_become_dead_letters_when_they_arrived(store: Store) -> None:
    yesterday = (NOW - timedelta(days=1)).replace(hour=10)
    completed = {
        "scope": "update:job",
        "source": "server",
        "obj_name": "state",
        "obj_val": "completed",
        "duration": 0,
    }
    good = [
        *(event(yesterday + timedelta(seconds=20 * n)) for n in range(4)),
        event(datetime(2018, 1, 1, tzinfo=UTC)),
        event(NOW + timedelta(hours=20)),
        event(yesterday, **completed),
        # the smoke tests' month
        event(datetime(2075, 2, 11, tzinfo=UTC), source="smoke", user_email="smoke-0a1b2c3d-0000-4000-8000-000000000000"),
    ]  # fmt: skip
    wrong = [
        event(datetime(1970, 1, 1, tzinfo=UTC), payload='{"a": "é"}'),
        event(datetime(2017, 12, 31, 23, 59, 59, tzinfo=UTC), user_id=None),
        event(datetime(2099, 12, 31, tzinfo=UTC), **completed),
        # in days that have other events, of the same person and of nobody else
        event(NOW + timedelta(hours=30), duration=2**32 - 1),
        event(NOW + timedelta(hours=30), user_id=2),
    ]
    store.insert(good)
    computed(store)
    expected = seen(store)
    store.insert(wrong)
    store.insert(wrong[:2])
    computed(store)
    assert seen(store)["time"] != expected["time"]
    # events of then whose day has come since: one of a time at which the same job was completed indeed
    received = text(yesterday - timedelta(days=3))[:19]
    store.post(
        "INSERT INTO events (scope, obj_name, obj_val, source, timestamp, duration, user_id, job_id, received_at) "
        "SETTINGS insert_allow_materialized_columns = 1 VALUES "
        f"('change:frame', NULL, NULL, 'client', '{text(yesterday + timedelta(seconds=200))}', 90000, 1, 5, '{received}'), "
        f"('update:job', 'state', 'completed', 'server', '{text(yesterday + timedelta(seconds=210))}', 0, 1, 5, '{received}'), "
        f"('update:job', 'state', 'completed', 'server', '{text(yesterday)}', 0, 2, 5, '{received}')"
    )
    assert len(seen(store)["jobs"]) == len(expected["jobs"]) + 3
    for _ in range(2):  # an interrupted run is completed by the next one
        deployed(store)
        computed(store)
        assert seen(store) == expected
    letters = store.rows(
        "SELECT message, original FROM events_dead_letter WHERE reason = 'implausible date' ORDER BY original"
    )
    assert len(letters) == len(wrong) + 3
    originals = [json.loads(letter["original"]) for letter in letters]
    for each in wrong:
        assert any(each.items() <= original.items() for original in originals), each
    for letter, original in zip(letters, originals, strict=True):
        early = original["timestamp"] < "2018"
        assert letter["message"] == (
            "before 2018, when there was no CVAT" if early else "more than a day after it arrived"
        )


def test_what_is_made_of_them_elsewhere_is_the_same_letter(store: Store) -> None:
    """Imports and replays have the rule in Python."""
    store.post(
        "INSERT INTO events (scope, source, timestamp, payload) VALUES ('x', 'client', '1999-01-01 00:00:00.000', '{\"a\": 1}'), "
        "('x', 'client', '2099-01-01 00:00:00.000', NULL), ('x', 'client', '2024-01-01 00:00:00.000', NULL)"
    )
    names = [column["name"] for column in json.loads(store.post("SELECT * FROM events LIMIT 0"))["meta"]]
    store.post(event_dates.letters(store.database, names, f"events WHERE {event_dates.IMPLAUSIBLE}"))
    deployed(store)
    assert len(store.rows("SELECT reason, message, original FROM events_dead_letter")) == 2
