"""What ClickHouse does by itself goes on whatever dates events have, and what fails of it is said: since when, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.clickhouse import Store, running
from tests.waiting import until

PART_LOG = """CREATE TABLE system.part_log (event_date Date, event_time DateTime, database String, table String,
merged_from Array(String), error UInt16, exception String, more UInt8) ENGINE = Memory"""
"""As ClickHouse's own, as far as it is read: a substitute, as the engine library keeps none."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an engine of their own: a log of merges is the whole server's."""
    with running(tmp_path_factory.mktemp("store")) as engine:
        yield engine


def failures(store: Store, later: int = 0) -> dict[str, dict[str, Any]]:
    """Return what readers are told, so many seconds from now, by the name of what fails."""
    rows = store.rows(f"SELECT * FROM background_failures(at = now() + {later}) WHERE NOT early")
    return {row["work"]: row for row in rows}


def refresh(store: Store, view: str) -> None:
    for word in ("REFRESH", "WAIT"):
        store.post(f"SYSTEM {word} VIEW {view}")


def monthly(months: int) -> list[dict[str, Any]]:
    """Return an event in each of the months before this one, as Vector stores them."""
    now = datetime.now(UTC)
    numbers = [12 * now.year + now.month - 2 - each for each in range(months)]
    return [
        {"scope": "save:job", "source": "client", "user_id": 1, "timestamp": f"{number // 12}-{number % 12 + 1:02}-03 10:00:00.000"}
        for number in numbers
    ]  # fmt: skip


def test_events_of_110_months_in_one_insert_stop_nothing(store: Store) -> None:
    store.insert(monthly(110))
    # only now: without these seconds a day is counted, and settled, in the middle of the insert
    store.post(
        "INSERT INTO working_time_settings (threshold_ms, duration_scopes, retention_seconds, settle_seconds) "
        "SELECT threshold_ms, duration_scopes, retention_seconds, 0 FROM working_time_settings"
    )
    store.refresh()

    def settled() -> list[dict[str, Any]]:
        refresh(store, "event_counts_refresh")
        return store.rows("SELECT is_settled, count() AS days FROM event_days_state GROUP BY is_settled")

    until(settled, "every day is counted", lambda rows: rows == [{"is_settled": 1, "days": 110}])
    for table in ("event_counts", "working_time"):
        (row,) = store.rows(f"SELECT sum(events) AS events FROM {table}")
        assert int(row["events"]) == 110, table
    assert failures(store, 120) == {}


def test_whatever_fills_a_table_of_months_by_itself_takes_any_number_of_them(store: Store) -> None:
    """A round, or an insert that a view follows, is refused as a whole with events of more than 100 months otherwise."""
    answer = store.post(
        "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView'"
    )
    targets = store.post(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND partition_key != ''"
    )
    partitioned = {name for (name,) in json.loads(targets)["data"]}
    assert {"events", "event_counts_settled"} <= partitioned
    views = dict(json.loads(answer)["data"])
    filling = {
        name: text
        for name, text in views.items()
        if any(f" TO {store.database}.{table} " in text for table in partitioned)
    }
    assert "event_counts_refresh" in filling
    unlimited = "max_partitions_per_insert_block = 0"
    # one that follows an insert has the limit of who inserts: `vector`, which the test above is
    assert [name for name, text in filling.items() if " REFRESH " in text and unlimited not in text] == []


def test_a_view_that_fails_is_told_with_its_reason_until_it_works_again(store: Store) -> None:
    assert failures(store, 120) == {}
    store.post("CREATE TABLE broken (x UInt8) ENGINE = Memory")
    store.post(
        "CREATE MATERIALIZED VIEW often REFRESH EVERY 1 SECOND (x UInt8) ENGINE = Memory AS "
        "SELECT throwIf((SELECT count() FROM broken) > 0, 'no such thing')::UInt8 AS x"
    )
    try:
        ((before,),) = json.loads(store.post("SELECT now()"))["data"]
        refresh(store, "often")
        store.post("INSERT INTO broken VALUES (1)")
        until(
            lambda: store.post("SELECT exception FROM system.view_refreshes WHERE view = 'often'"),
            "a refresh that fails",
            lambda seen: "no such thing" in seen,
        )
        told = until(lambda: failures(store, 120), "the failure is told", bool)
        assert told["often"]["state"] == "failing"
        assert told["often"]["since"] >= before, "when it last worked"
        assert told["often"]["why"].startswith("no such thing")
        assert "Stack trace" not in told["often"]["why"]
        assert "version" not in told["often"]["why"]
        store.post("TRUNCATE TABLE broken")
        until(lambda: failures(store, 30), "it works again", lambda told: told == {})
    finally:
        store.post("DROP VIEW often SYNC")
        store.post("DROP TABLE broken SYNC")


def test_a_failure_that_the_next_attempt_may_mend_is_not_told_yet(store: Store) -> None:
    """Nothing is, before what is happening now; and of what never worked only when the server has been there for a while."""
    store.post(
        "CREATE MATERIALIZED VIEW never REFRESH EVERY 1 HOUR (x UInt8) ENGINE = Memory AS SELECT throwIf(1, 'no such thing')::UInt8 AS x"
    )
    try:
        until(
            lambda: store.post("SELECT exception FROM system.view_refreshes WHERE view = 'never'"),
            "the failure",
            lambda seen: "no such thing" in seen,
        )
        seconds = int(json.loads(store.post("SELECT uptime()"))["data"][0][0])
        sql = "SELECT work, since, early FROM background_failures(at = now() + {}) WHERE work = 'never'"
        told = store.rows(sql.format(10 - seconds))
        assert told == [{"work": "never", "since": None, "early": 1}]
        assert store.rows(sql.format(120)) == [{"work": "never", "since": None, "early": 0}]
    finally:
        store.post("DROP VIEW never SYNC")


def test_a_view_that_was_stopped_or_does_nothing_is_told(store: Store) -> None:
    store.post("SYSTEM STOP VIEW working_time_refresh")
    try:
        told = until(lambda: failures(store), "it is stopped", bool)
        assert told["working_time_refresh"]["state"] == "stopped"
    finally:
        store.post("SYSTEM START VIEW working_time_refresh")
    until(
        lambda: {row["state"] for row in failures(store, 3600).values()},
        "all are refreshed, and do nothing, as it were, for an hour",
        lambda states: states == {"idle"},
    )


def test_a_mutation_that_fails_is_told_without_its_words(store: Store) -> None:
    store.post("CREATE TABLE changed (x UInt8, name String) ENGINE = MergeTree ORDER BY x")
    store.post("INSERT INTO changed VALUES (1, 'anna')")
    store.post(
        "ALTER TABLE changed UPDATE name = if(throwIf(x = 1, 'it cannot') = 0, 'bert', '') WHERE name = 'anna' SETTINGS mutations_sync = 0"
    )
    try:
        told = until(lambda: failures(store, 120), "the mutation fails", lambda told: "changed" in told)
        assert told["changed"]["state"] == "mutation"
        assert "it cannot" in told["changed"]["why"]
        assert "anna" not in str(told)
        assert "changed" not in failures(store, -3600), "the next attempt may do it"
    finally:
        store.post("KILL MUTATION WHERE table = 'changed' SYNC")
        store.post("DROP TABLE changed SYNC")


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ([(900, 0), (500, 0)], None),
        ([(900, 0), (500, 241), (120, 241)], 900),
        ([(500, 241), (120, 241)], 0),
        ([(500, 241), (120, 241), (100, 0)], None),  # it has been done since
        ([(900, 0), (30, 241)], None),  # the next attempt may do it
        ([(900, 0), (500, 236), (120, 236)], None),  # the server was stopped
        ([(9000, 0), (5000, 241)], None),  # nobody has tried again
    ],
    ids=["none", "some", "always", "mended", "the first", "a stop", "long ago"],
)
def test_merges_that_fail_are_told(store: Store, log: list[tuple[int, int]], told: int | None) -> None:
    store.post(PART_LOG)
    ((now,),) = json.loads(store.post("SELECT toUnixTimestamp(now())"))["data"]
    try:
        for ago, error in log:
            words = (
                "Code: 241. DB::Exception: no memory. (MEMORY_LIMIT_EXCEEDED) (version 26.8)" if error else ""
            )
            at = f"toDateTime({int(now) - ago})"
            store.post(
                "INSERT INTO system.part_log (event_date, event_time, database, table, merged_from, error, exception) "
                f"SELECT toDate({at}), {at}, currentDatabase(), 'events', ['a', 'b'], {error}, '{words}'"
            )
        store.post(  # an insert is no merge
            "INSERT INTO system.part_log (event_date, event_time, database, table, error) "
            f"SELECT today(), toDateTime({now}), currentDatabase(), 'events', 0"
        )
        rows = store.rows(
            "SELECT state, toUnixTimestamp(since) AS since, why "
            f"FROM background_failures(at = toDateTime({now})) WHERE work = 'events'"
        )
        if told is None:
            assert rows == []
        else:
            (row,) = rows
            assert (row["state"], row["why"]) == ("merges", "no memory. (MEMORY_LIMIT_EXCEEDED)")
            assert row["since"] == (int(now) - told if told else None)
    finally:
        store.post("DROP TABLE system.part_log SYNC")
