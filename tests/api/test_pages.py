"""Events as pages: put together they are all events in order of time, and each page costs what is on it, not what there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cvat_analytics.api import queries
from cvat_analytics.api.clickhouse import Answer, ClickHouse
from cvat_analytics.api.config import ClickHouseConfig
from cvat_analytics.api.filters import LAST_MS, Selection
from tests.clickhouse import Store

START_MS, DAY_MS = 1_700_000_000_000, 86_400_000
RANGE = Selection(
    ("e.timestamp BETWEEN fromUnixTimestamp64Milli({first_ms:Int64}, 'Etc/UTC') AND fromUnixTimestamp64Milli({last_ms:Int64}, 'Etc/UTC')",),
    {"first_ms": START_MS, "last_ms": LAST_MS},
)  # fmt: skip


class Counting(ClickHouse):
    """The client, which notes how many rows the server has read."""

    rows = 0

    def ask(self, *arguments: Any, **options: Any) -> Answer:
        """Return the answer as the client does."""
        answer = super().ask(*arguments, **options)
        summary = answer._response.getheader("X-ClickHouse-Summary")
        self.rows = int(json.loads(summary or "{}")["read_rows"])
        return answer


def client(store: Store) -> Counting:
    """Return a client that reads as the service does."""
    password = store.context.secrets["clickhouse_events_api"]
    return Counting(
        ClickHouseConfig(
            "127.0.0.1",
            store.http_port,
            store.database,
            "events_api",
            password,
            settings={"wait_end_of_query": "1"},
        )
    )


def insert(store: Store, condition: str, count: int, days: int, step_ms: int) -> None:
    """Insert events in no order of time, whose moments are `step_ms` apart at least."""
    store.post(
        "INSERT INTO events (scope, source, timestamp, user_id, obj_id, payload) SELECT if(number % 9 = 0, 'save:job', 'change:frame'), 'client', "
        f"fromUnixTimestamp64Milli(toInt64({START_MS} + intDiv(cityHash64(number) % {days * DAY_MS}, {step_ms}) * {step_ms})), number % 20, number, "
        f"if(number % 2 = 0, NULL, 'text') FROM numbers({count}) WHERE {condition} SETTINGS max_partitions_per_insert_block = 0"
    )


@pytest.fixture(scope="module", params=[1, 5 * DAY_MS], ids=["moments", "one moment"])
def repeated(shared_engine: Store, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Return a store of events that came in any order, some of them more than once, in parts that are not merged."""
    with shared_engine.another() as store:
        store.post("SYSTEM STOP MERGES events")
        for condition in ("number % 3 != 0", "number % 4 = 1", "number % 3 = 0", "number < 100"):
            insert(store, condition, 600, 5, request.param)
        yield store


@pytest.mark.parametrize("limit", [97, 5000])
@pytest.mark.parametrize("chosen", ["1", "e.scope = 'save:job'", "e.user_id = 99"])
def test_pages_hold_every_event_once_and_in_order(repeated: Store, chosen: str, limit: int) -> None:
    asking, selection = client(repeated), RANGE.and_(chosen)
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        events, cursor = queries.page(asking, selection, limit, cursor, START_MS, LAST_MS)
        found += events
        if cursor is None:
            break
        assert len(events) == limit
    expected = repeated.rows(f"SELECT obj_id FROM events AS e FINAL WHERE {chosen}")
    assert sorted(event["obj_id"] for event in found) == sorted(row["obj_id"] for row in expected)
    assert [event["timestamp"] for event in found] == sorted(event["timestamp"] for event in found)


def test_a_page_does_not_read_what_comes_after_it(shared_engine: Store) -> None:
    with shared_engine.another() as store:
        insert(store, "1", 600_000, 60, 1)
        store.post("OPTIMIZE TABLE events FINAL")
        asking = client(store)
        tenth_day = queries.Cursor(START_MS + 10 * DAY_MS, 0, START_MS, LAST_MS)
        for cursor in (None, tenth_day):
            events, following = queries.page(asking, RANGE, 1000, cursor, START_MS, LAST_MS)
            assert len(events) == 1000
            assert following is not None
            assert asking.rows < 300_000
