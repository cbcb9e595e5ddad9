"""A database of an earlier version keeps showing the right counts after every statement that brings it to this one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.operate.disclosure import Disclosure, Stored
from cvat_analytics.store import migrations
from cvat_analytics.store.erasing import Erasing, now
from cvat_analytics.store.personal import PLACES
from tests.clickhouse import Store, way_to
from tests.store import former_table
from tests.store.test_event_counts import ROUNDS, counted, made, only_when_asked, read, settle, settled

FORMER = Path(__file__).parent / "former" / "event_counts.sql"
"""The views of before there were projections."""
MIGRATIONS = (
    "migrations/0012_counts_by_projection.sql",
    "migrations/0013_newest_arrival.sql",
    "migrations/0015_durations_packed.sql",
)


@pytest.fixture
def store(shared_engine: Store) -> Iterator[Store]:
    """Return a database as the earlier version has left it: every day counted by its own views, but one."""
    with shared_engine.another() as made_anew:
        yield made_anew


def told_of(store: Store, who: int) -> tuple[int, int]:
    """Return how many events of the person's are in the counts that are given out, and check how many rows are said to be there."""
    disclosure = Disclosure(Stored(way_to(store.context)), str(who))
    (place,) = (each for each in PLACES if each.table == "event_counts_settled")
    rows = list(disclosure.rows(place))
    assert {each.rows for each in disclosure.found() if each.place == place.table} == {len(rows)}
    assert {row["user_id"] for row in rows} == {who}
    erasing = Erasing(disclosure.client, store.database, disclosure.person, now(disclosure.client))
    return sum(row["events"] for row in rows), erasing.found()["hourly counts"]


def test_numbers_are_right_after_every_statement_of_an_upgrade(store: Store) -> None:
    scripts = {script.name: script for script in migrations.read(ROOT / "clickhouse")}
    former_table.drop_counts(store)
    for script in (
        scripts["migrations/0002_event_counts.sql"].sql,
        jinja2.Template(FORMER.read_text()).render(),
    ):
        for statement in migrations.statements(script):
            store.post(statement)
    only_when_asked(store)
    store.post(
        "INSERT INTO working_time_settings (threshold_ms, duration_scopes, retention_seconds, settle_seconds) "
        "SELECT threshold_ms, duration_scopes, retention_seconds, 0 FROM working_time_settings"
    )
    dice = random.Random(5)
    there = [made(dice) for _ in range(200)]
    store.insert(there)
    settle(store)
    assert settled(store)["0"] == 0
    late = [made(dice)]
    store.insert(late)
    there += late
    assert read(store) == counted(there)
    for name in (*MIGRATIONS, "views/event_counts.sql"):
        for statement in migrations.statements(scripts[name].text(store.database)):
            store.post(statement)
            # its first round begins at once; without seconds to settle in, an insert must not come into it
            only_when_asked(store, [view for view in ROUNDS if f"MATERIALIZED VIEW {view}\n" in statement])
            if "event_days_touched" not in statement:
                more = [made(dice)]
                store.insert(more)
                there += more
            assert read(store) == counted(there), statement
    only_when_asked(store)
    for _ in range(2):
        settle(store)
        assert settled(store)["0"] == 0
        assert read(store) == counted(there)
        # a person is told each hour once, whatever is left of the former counts
        for who in (1, 2):
            mine = counted(event for event in there if event["user_id"] == who)
            # what is of a later day than today is none of an erasure's
            gone = sum(hour < "2099" for hour, *_ in mine)
            assert told_of(store, who) == (sum(events for events, *_ in mine.values()), gone)
        store.post(
            "INSERT INTO event_counts_settled SELECT * REPLACE ('' AS browser, '' AS system, counted_at - 1 AS counted_at) FROM event_counts_settled"
        )
        store.post("OPTIMIZE TABLE event_counts_settled FINAL")
    # twice is as once
    for name in MIGRATIONS:
        for statement in migrations.statements(scripts[name].text(store.database)):
            store.post(statement)
    assert read(store) == counted(there)
