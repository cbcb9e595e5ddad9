"""What nobody knows is no number: of a Vector that has fallen silent neither what waits nor what came is shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from cvat_analytics.checks import flow
from scripts import status
from scripts.target import Target
from tests.clickhouse import Store, way_to


@pytest.fixture(scope="module")
def database(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as another:
        yield another


@pytest.fixture
def store(database: Store) -> Store:
    for table in ("pipeline_metrics", "events"):
        database.post(f"TRUNCATE TABLE {table}")
    return database


def say(store: Store, host: str, ago: timedelta, **readings: float) -> None:
    """Store what Vector on `host` said of itself that long ago, as `component__name`, how long it had been running, and what had come."""
    (source,) = store.context.settings.vector_sources
    time = f"{datetime.now(UTC) - ago:%Y-%m-%d %H:%M:%S}"
    values = {("", "uptime_seconds"): 500.0, (source, "component_received_events_total"): 3.0} | {
        (key.partition("__")[0], key.partition("__")[2]): value for key, value in readings.items()
    }
    rows = ", ".join(
        f"('{time}', '{host}', '{name}', '{component}', {value})"
        for (component, name), value in values.items()
    )
    store.post(f"INSERT INTO pipeline_metrics (time, host, name, component, value) VALUES {rows}")


BUFFER = {
    "events__buffer_max_size_bytes": 1000,
    "events__buffer_size_bytes": 250,
    "events__buffer_size_events": 7,
    "journal__journal_size_bytes": 4096,
}
# with a minute in hand: on a busy machine it takes a while until somebody looks
NOW, MINUTES, LONG_AGO = timedelta(minutes=-1), timedelta(minutes=3), timedelta(minutes=40)


def shown(found: flow.Flow) -> str:
    """Return what people see of it."""
    from click import command

    @command()
    def show() -> None:
        status._show(found, Target())

    return CliRunner().invoke(show, catch_exceptions=False).output


def test_what_vector_says_is_shown(store: Store) -> None:
    say(store, "one", NOW, **BUFFER)
    found = flow.of(way_to(store.context))
    assert found.buffers == [flow.Buffer("events", "one", 7, 250, 1000)]
    assert (found.journal_bytes, found.ports[0].recent_requests, found.silent) == (4096, 3, {})
    assert "events: 7 events wait, 25.0% of 1000 bytes on one" in shown(found)


def test_events_whose_date_cannot_be_are_shown(store: Store) -> None:
    assert "date" not in shown(flow.of(way_to(store.context)))
    store.post(
        "INSERT INTO events_dead_letter (received_at, reason, message, original) VALUES (now(), 'implausible date', 'm', 'a'), "
        "(now(), 'implausible date', 'm', 'b'), (now(), 'bad count', 'm', 'c'), (now() - 90000, 'implausible date', 'm', 'd')"
    )
    found = flow.of(way_to(store.context))
    store.post("TRUNCATE TABLE events_dead_letter")
    assert (found.dead_letters, found.implausible) == (3, 2)
    assert "of these 2 are events whose date cannot be, before 2018 or more than a day ahead" in shown(found)


def test_a_vector_that_started_anew_and_has_nothing_waiting_says_so(store: Store) -> None:
    say(store, "one", MINUTES, **BUFFER)
    say(store, "one", NOW, events__buffer_max_size_bytes=1000)
    assert flow.of(way_to(store.context)).buffers == [flow.Buffer("events", "one", 0, 0, 1000)]


@pytest.mark.parametrize("ago", [MINUTES, LONG_AGO], ids=str)
def test_a_silent_vector_has_no_numbers(store: Store, ago: timedelta) -> None:
    say(store, "one", ago, **BUFFER)
    found = flow.of(way_to(store.context))
    assert found.buffers == [flow.Buffer("events", "one", None, None, 1000)]
    assert (found.journal_bytes, found.ports[0].recent_requests) == (None, None)
    assert list(found.silent) == ["one"]
    text = shown(found)
    assert "events wait" not in text
    assert "requests in the last" not in text
    assert "events: what waits is not known, on one" in text
    assert "journal     not known" in text
    assert f"Vector of one has not said anything of itself for {ago.seconds // 60} min:" in text


def test_one_silent_vector_of_two_takes_what_is_known_of_both(store: Store) -> None:
    say(store, "one", NOW, **BUFFER)
    say(store, "two", MINUTES, **BUFFER)
    found = flow.of(way_to(store.context))
    assert [(each.host, each.events) for each in found.buffers] == [("one", 7), ("two", None)]
    assert (found.journal_bytes, found.ports[0].recent_requests) == (None, None)


def test_one_that_took_nothing_in_these_minutes_does_not(store: Store) -> None:
    say(store, "one", NOW, **BUFFER)
    say(store, "two", LONG_AGO, **BUFFER)
    assert flow.of(way_to(store.context)).ports[0].recent_requests == 3


def test_before_the_first_word_nothing_is_known(store: Store) -> None:
    found = flow.of(way_to(store.context))
    assert (found.buffers, found.silent, found.ports[0].recent_requests) == ([], {}, None)
    text = shown(found)
    assert (
        "Vector has not said anything of itself yet: what it takes and what waits there is not known." in text
    )
    assert "0 events wait" not in text


def test_events_from_the_future_are_counted(store: Store) -> None:
    insert = "INSERT INTO events (scope, source, timestamp, user_id) SELECT 'create:task', 'server', now64(3) + {}, {}"
    store.post(insert.format(-3, 1))
    store.post(insert.format(4, 2))  # what clocks that are set may differ by
    found = flow.of(way_to(store.context))
    assert found.from_future == 0
    assert "future" not in shown(found)
    store.post(insert.format(3 * 3600 + 60, 3))
    store.post(insert.format(30, 4))
    found = flow.of(way_to(store.context))
    assert found.from_future == 2
    assert 0 <= 3 * 3600 + 60 - found.future_seconds < 60
    assert (
        "future      2 events of the last day were dated later than they arrived, by up to 3 h: a clock is wrong"
        in shown(found)
    )
