"""Counts per hour are what the events say at any instant: settled or not, late, repeated, dropped, half written."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations
from tests.clickhouse import Store
from tests.waiting import until

KEY = ("scope", "source", "user_id", "org_id", "project_id", "task_id", "job_id")
BORDERS = ("1970-01-01", "2025-02-28", "2025-03-01", "2026-02-01", "2099-12-31")
TABLES = ("events", "event_days", "event_counts_settled")

Event = dict[str, Any]
Counts = dict[tuple[Any, ...], tuple[int, int, list[int], int]]


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    """Return an engine on which a day is settled as soon as it is counted, and counted only when a test says so."""
    with shared_engine.another() as store:
        only_when_asked(store)
        store.post(
            "INSERT INTO working_time_settings (threshold_ms, duration_scopes, retention_seconds, settle_seconds) "
            "SELECT threshold_ms, duration_scopes, retention_seconds, 0 FROM working_time_settings"
        )
        yield store


@pytest.fixture
def store(engine: Store) -> Store:
    for table in TABLES:
        engine.post(f"TRUNCATE TABLE {table}")
    return engine


ROUNDS = ("event_counts_refresh", "event_days_refresh")


def only_when_asked(store: Store, views: Iterable[str] = ROUNDS) -> None:
    """Let no round of counting begin by itself: a view that is stopped and started between rounds makes up for one it has missed."""
    for view in views:
        store.post(f"ALTER TABLE {view} MODIFY REFRESH EVERY 1 YEAR APPEND")
        store.post(f"SYSTEM WAIT VIEW {view}")


def settle(store: Store, view: str = "event_counts_refresh", then: str = "event_days_refresh") -> None:
    """Count the days that are due, and find them complete."""
    for name in filter(None, (view, then)):
        for action in ("REFRESH", "WAIT"):
            store.post(f"SYSTEM {action} VIEW {name}")


def made(dice: random.Random) -> Event:
    """Return an event like many others, near the border of a day."""
    border = datetime.fromisoformat(dice.choice(BORDERS)).replace(tzinfo=UTC)
    time = border + timedelta(milliseconds=dice.choice([0, 1, 899_999, 900_000, 3_600_000, 86_399_999]))
    if border.year > 1970 and dice.random() < 0.3:
        time -= timedelta(milliseconds=1)
    one = dice.choice([None, 0, 1, 2**64 - 1])
    return {
        "scope": dice.choice(["save:job", "change:frame", "send:exception", "load:cvat", ""]),
        "source": dice.choice(["client", "server"]),
        "timestamp": time.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        "duration": dice.choice([0, 0, 1, 250, 2**32 - 1]),
        "user_id": dice.choice([None, 1, 2]),
        "org_id": dice.choice([None, 1]),
        "project_id": one,
        "task_id": one,
        "job_id": dice.choice([None, 1, 2]),
        "payload": dice.choice(
            [
                None,
                "",
                "{}",
                '{"platform": {"name": "Chrome", "os": "Windows"}}',
                '{"platform": {"os": "Linux"}}',
            ]
        ),
    }


def counted(events: Iterable[Event]) -> Counts:
    """Return what `event_counts` must hold for these events."""
    groups: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
    for event in {json.dumps(event): event for event in events}.values():
        groups[(event["timestamp"][:13] + ":00:00", *(event[name] for name in KEY))].append(event)
    return {
        key: (
            len(group),
            sum(event["duration"] for event in group),
            sorted(event["duration"] for event in group if event["duration"]),
            sum({1 << int(event["timestamp"][14:16]) // 15 for event in group}),
        )
        for key, group in groups.items()
    }


def read(store: Store, where: str = "1") -> Counts:
    """Return what a reader sees."""
    sql = f"SELECT hour, {', '.join(KEY)}, events, duration_ms, durations, quarters FROM event_counts WHERE {where}"
    counts: Counts = {}
    for hour, scope, source, *rest in json.loads(store.post(sql, user="grafana"))["data"]:
        *ids, events, duration_ms, durations, quarters = rest
        key = (hour, scope, source, *(None if each is None else int(each) for each in ids))
        former = counts.get(key, (0, 0, [], 0))
        # browsers and systems have rows of their own
        assert key not in counts or scope == "load:cvat", f"two rows for {key}"
        counts[key] = (
            former[0] + int(events),
            former[1] + int(duration_ms),
            sorted(former[2] + durations),
            former[3] | quarters,
        )
    return counts


def settled(store: Store) -> Counter[str]:
    """Return how many days are settled ("1") and how many are not ("0")."""
    rows = store.rows("SELECT is_settled, count() AS days FROM event_days_state GROUP BY is_settled")
    return Counter({str(row["is_settled"]): int(row["days"]) for row in rows})


def test_a_day_is_not_counted_again_before_its_count_is_noted(store: Store) -> None:
    """Else the count that is noted and the one whose rows a merge keeps are two, and the day has no events."""
    dice = random.Random(1)
    there = [made(dice) for _ in range(100)]
    store.insert(there)
    settle(store, then="")
    settle(store, then="")
    sql = "SELECT max(counts) FROM (SELECT uniqExact(counted_at) AS counts FROM event_counts_settled GROUP BY toDate(hour))"
    assert json.loads(store.post(sql))["data"] == [[1]]
    settle(store)
    store.post("OPTIMIZE TABLE event_counts_settled FINAL")
    assert settled(store)["0"] == 0
    assert read(store) == counted(there)
    # of a day to which something came between the count and the note, another count is needed
    late = [made(dice) for _ in range(100)]
    store.insert(late[:50])
    settle(store, then="")
    store.insert(late[50:])
    settle(store)
    assert settled(store)["0"] == 0
    assert read(store) == counted(there + late)


@pytest.mark.parametrize("chance", range(12))
def test_counts_are_right_whenever_they_are_asked_for(store: Store, chance: int) -> None:
    dice = random.Random(chance)
    there: list[Event] = []
    for step in range(8):
        action = dice.choice(["insert", "insert", "insert again", "settle", "count only", "drop a month"])
        if action.startswith("insert"):
            again = there if action == "insert again" else []
            new = [made(dice) for _ in range(dice.randint(1, 40))] + dice.sample(again, len(again) // 2)
            store.insert(new)
            there += new
        elif action == "drop a month" and there:
            month = dice.choice(there)["timestamp"][:7]
            store.post(f"ALTER TABLE events DROP PARTITION '{month.replace('-', '')}'")
            there = [event for event in there if event["timestamp"][:7] != month]
        elif action == "settle":
            settle(store)
            assert settled(store)["0"] == 0
        elif action == "count only":
            settle(store, then="")
        assert read(store) == counted(there), f"after step {step}: {action}"


def test_filters_reach_the_tables_below(store: Store) -> None:
    dice = random.Random(1)
    events = [made(dice) for _ in range(300)]
    store.insert(events)
    for _ in range(2):
        conditions: dict[str, Callable[[Any], bool]] = {
            "hour >= '2025-03-01 00:00:00'": lambda key: key[0] >= "2025-03-01 00:00:00",
            "user_id = 1 AND scope IN ('save:job', '')": lambda key: (
                key[3] == 1 and key[1] in ("save:job", "")
            ),
            "job_id IS NULL": lambda key: key[7] is None,
        }
        for where, holds in conditions.items():
            expected = {key: counts for key, counts in counted(events).items() if holds(key)}
            assert read(store, where) == expected, where
        settle(store)


def test_a_settled_day_is_not_read_from_the_events(store: Store) -> None:
    store.insert([made(random.Random(number)) for number in range(50)])
    sql = "EXPLAIN ESTIMATE SELECT sum(events) FROM event_counts"
    for table in ("events", "event_counts_settled"):
        rows = {row["table"]: int(row["rows"]) for row in store.rows(sql)}
        assert {name for name, count in rows.items() if count} == {table}
        settle(store)


def test_a_day_that_is_half_written_is_not_settled(store: Store) -> None:
    dice = random.Random(3)
    events = [made(dice) for _ in range(100)]
    store.insert(events)
    # as after a crash in the middle of writing: rows of a day, of which there should be one more
    store.post(
        "INSERT INTO event_counts_settled SELECT * EXCEPT (day_rows, counted_at), 2, now64(3), '', '' FROM "
        "(SELECT toDateTime(toDate(arrayJoin(['2025-02-28', '2026-02-01'])), 'UTC') AS hour, 'save:job' AS scope, 'x' AS source, "
        "NULL AS user_id, NULL AS org_id, NULL AS project_id, NULL AS task_id, NULL AS job_id, "
        "7 AS events, 7 AS duration_ms, [7] AS durations, 1 AS quarters, 0 AS day_rows, now64(3) AS counted_at)"
    )
    settle(store, view="")
    assert settled(store)["1"] == 0
    assert read(store) == counted(events)
    # the round after that takes back what should not be there
    settle(store)
    assert settled(store)["0"] == 0
    assert read(store) == counted(events)


def test_today_is_counted_while_it_is_asked_for(store: Store) -> None:
    today = made(random.Random(1)) | {"timestamp": f"{datetime.now(UTC):%Y-%m-%d} 00:00:00.000"}
    store.insert([today])
    settle(store)
    assert settled(store) == {"0": 1}
    assert read(store) == counted([today])


def test_no_round_takes_more_days_than_it_must(store: Store) -> None:
    events = [made(random.Random(number)) for number in range(200)]
    store.insert(events)
    store.post("INSERT INTO event_days (day, inserted) SELECT DISTINCT day, 2000000 FROM event_days")
    days = sum(settled(store).values())
    for done in range(1, days + 1):
        settle(store)
        assert settled(store)["1"] == done
        assert read(store) == counted(events)


def test_expired_days_are_not_settled_while_their_month_may_go_in_pieces(engine: Store, store: Store) -> None:
    rule = "threshold_ms, duration_scopes, {}, settle_seconds FROM working_time_settings FINAL"
    names = "threshold_ms, duration_scopes, retention_seconds, settle_seconds"
    old = made(random.Random(1)) | {"timestamp": "2025-03-01 10:00:00.000"}
    engine.post("SYSTEM STOP MERGES events")
    try:
        store.insert([old])
        settle(store)
        assert settled(store) == {"1": 1}
        engine.post(f"INSERT INTO working_time_settings ({names}) SELECT {rule.format(86400)}")
        assert settled(store) == {"1": 1}
        newer = old | {"timestamp": "2025-03-02 10:00:00.000"}
        store.insert([newer])
        settle(store)
        assert settled(store) == {"0": 2}
        assert read(store) == counted([old, newer])
    finally:
        engine.post(f"INSERT INTO working_time_settings ({names}) SELECT {rule.format(0)}")
        engine.post("SYSTEM START MERGES events")


def apply(store: Store) -> None:
    """Apply the views' script once more, as an upgrade does, and let nothing be counted by itself."""
    (script,) = (
        each for each in migrations.read(ROOT / "clickhouse") if each.name == "views/event_counts.sql"
    )
    for statement in migrations.statements(script.sql):
        store.post(statement)
    only_when_asked(store)


def test_a_view_made_anew_counts_everything_anew(store: Store) -> None:
    events = [made(random.Random(number)) for number in range(50)]
    store.insert(events)
    settle(store)
    apply(store)
    assert read(store) == counted(events)
    settle(store)
    assert settled(store)["0"] == 0
    assert read(store) == counted(events)


def test_a_view_made_anew_adds_only_the_events_that_it_does_not_know(store: Store) -> None:
    """A round of counting takes so many events, by this: with each upgrade that added all of them, a round took fewer days."""
    noted = "SELECT day, sum(inserted) AS events FROM event_days GROUP BY day HAVING events > 0 ORDER BY day"
    stored = "SELECT toDate(timestamp) AS day, count() AS events FROM events GROUP BY day ORDER BY day SETTINGS final = 0"

    def is_right() -> bool:
        return bool(json.loads(store.post(noted))["data"] == json.loads(store.post(stored))["data"])

    store.insert([made(random.Random(number)) for number in range(50)])
    assert is_right()
    for _ in range(2):
        apply(store)
        assert is_right()
    # by an earlier version of the script, and of a day that is gone
    store.post(
        "INSERT INTO event_days (day, inserted) SELECT day, 2 * sum(inserted) FROM event_days GROUP BY day"
    )
    store.post("INSERT INTO event_days (day, inserted) VALUES ('2020-01-01', 5)")
    assert not is_right()
    # and while there was no view
    store.post("DROP VIEW event_days_touched SYNC")
    store.insert([made(random.Random(number)) for number in range(50, 90)])
    apply(store)
    assert is_right()
    store.post("OPTIMIZE TABLE event_days FINAL")
    assert is_right()


def test_a_view_made_anew_leaves_no_rows_of_former_counts(store: Store) -> None:
    events = [made(random.Random(number)) for number in range(50)]
    store.insert(events)
    settle(store)
    # a month that an operator has dropped, and another browser of a count before that
    store.post("ALTER TABLE events DROP PARTITION '202602'")
    left = [event for event in events if event["timestamp"][:7] != "2026-02"]
    store.post(
        "INSERT INTO event_counts_settled SELECT * REPLACE ('Opera' AS browser, counted_at - 1 AS counted_at) FROM event_counts_settled"
    )
    apply(store)
    assert read(store) == counted(left)
    settle(store)
    assert read(store) == counted(left)
    there = "SELECT count(), sum(events) FROM {}"
    current = f"WITH (SELECT days FROM counted_days) AS days {there.format('settled_counts')} WHERE counted_at = days.counted_at[toUInt32(toDate(hour) - days.first_day) + 1]"
    settled_rows = there.format("event_counts_settled FINAL")
    assert json.loads(store.post(settled_rows))["data"] == json.loads(store.post(current))["data"]


def test_inserts_while_days_are_counted(store: Store) -> None:
    """Nothing waits for anything here, and no event is missing at the end."""
    dice = random.Random(7)
    events = [made(dice) for _ in range(2000)]
    with ThreadPoolExecutor(2) as pool:
        inserts = [pool.submit(store.insert, events[start::20]) for start in range(20)]
        while not all(insert.done() for insert in inserts):
            settle(store)
        for insert in inserts:
            insert.result()
    # what an insert that was still running has noted too early is what the time to settle is there for
    store.post("INSERT INTO event_days (day, touched_at) SELECT DISTINCT day, now64(3) FROM event_days")
    settle(store)
    assert read(store) == counted(events)


def test_when_the_newest_event_of_each_day_arrived_is_known_of_former_events_too(
    shared_engine: Store,
) -> None:
    with shared_engine.another() as store:
        only_when_asked(store)
        stored = (
            "SELECT toDate(timestamp) AS day, max(received_at) AS at FROM events GROUP BY day ORDER BY day"
        )
        noted = "SELECT day, max(received_at) AS at FROM event_days GROUP BY day ORDER BY day"
        arrivals = (
            "INSERT INTO events (scope, timestamp, received_at) SELECT 'save:job', toDateTime64('2026-02-01', 3, 'UTC') + 43200 * number, "
            "toDateTime('2026-02-02 10:00:00', 'UTC') + 7 * number % 5 FROM numbers({}) SETTINGS insert_allow_materialized_columns = 1"
        )
        store.post("DROP VIEW event_days_touched")
        store.post("ALTER TABLE event_days DROP COLUMN received_at")
        store.post(arrivals.format(9))
        scripts = {script.name: script for script in migrations.read(ROOT / "clickhouse")}
        for name in ("migrations/0013_newest_arrival.sql", "views/event_counts.sql"):
            for statement in migrations.statements(scripts[name].text(store.database)):
                store.post(statement)
        assert store.rows(noted) == store.rows(stored)
        # what is touched without an arrival, as by an erasure, is no arrival
        store.post("INSERT INTO event_days (day, touched_at) VALUES ('2026-02-01', now64(3))")
        store.post(arrivals.format(14).replace("10:00:00", "09:00:00").replace("save:job", "change:frame"))
        assert store.rows(noted) == store.rows(stored)


def test_former_durations_are_packed_as_those_of_today(store: Store) -> None:
    numbers = (
        "INSERT INTO event_counts_settled (hour, scope, events, durations, day_rows, counted_at) SELECT toDateTime('2026-02-01', 'UTC'), "
        "toString(number), 20, arraySort(arrayMap(i -> toUInt32(20 + cityHash64(number, i) % 400), range(20))), 2000, toDateTime64('2026-02-02', 3, 'UTC') FROM numbers(2000)"
    )
    size = (
        "SELECT sum(data_compressed_bytes) AS bytes FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = 'event_counts_settled'"
    )
    content = "SELECT sum(cityHash64(*)) AS rows FROM event_counts_settled"
    store.post(numbers)
    today, rows = store.rows(size), store.rows(content)
    store.post("TRUNCATE TABLE event_counts_settled")
    store.post("ALTER TABLE event_counts_settled MODIFY COLUMN durations Array(UInt32) CODEC(ZSTD(1))")
    store.post(numbers)
    assert store.rows(size)[0]["bytes"] > today[0]["bytes"]
    (script,) = (
        each
        for each in migrations.read(ROOT / "clickhouse")
        if each.name == "migrations/0015_durations_packed.sql"
    )
    for statement in migrations.statements(script.text(store.database)):
        store.post(statement)
    until(lambda: store.rows(size) == today, "all durations are packed anew")
    assert store.rows(content) == rows
