"""The numbers of the Pipeline dashboard, against what really happened (`flow`)."""

from __future__ import annotations

import re
import statistics
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.dashboards import Dashboard, TimeRange
from tests.clickhouse import Store
from tests.dashboards.events import Event, time_of
from tests.dashboards.flow import Flow, Reading
from tests.dashboards.shown import Shown, bucket, first_value, system_rows
from tests.vector.configuration import write_configuration

INTERVALS = [timedelta(minutes=1), timedelta(minutes=5), timedelta(hours=1)]
every_interval = pytest.mark.parametrize("interval", INTERVALS, ids=str)


def _grown(flow: Flow, is_wanted: Callable[[str, str, dict[str, str]], bool]) -> Iterator[Reading]:
    """Yield by how much the wanted counters grew in the range."""
    for reading in flow.growth:
        name, component, tags = reading.counter
        time = reading.time.replace(microsecond=0)
        if flow.range.start <= time <= flow.range.end and is_wanted(name, component, dict(tags)):
            yield reading


def _sums(readings: Iterator[Reading], width: timedelta) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for reading in readings:
        sums[bucket(reading.time, width)] += reading.value
    return dict(sums)


SENDS = "component_sent_events_total"
FLOWS: dict[str, Callable[[str, str, dict[str, str]], bool]] = {
    "accepted": lambda name, component, tags: (
        (name, component, tags.get("output")) == (SENDS, "normalise", "_default")
    ),
    "written": lambda name, component, tags: (name, component) == (SENDS, "events"),
    "refused": lambda name, component, tags: (name, component) == (SENDS, "dead_letter"),
}
TROUBLES: dict[str, Callable[[str, str, dict[str, str]], bool]] = {
    "refusals": lambda name, component, tags: (component, tags.get("status")) == ("events", "503"),
    "silences": lambda name, component, tags: name == "http_client_errors_total",
    "errors": lambda name, component, tags: (name, component) == ("component_errors_total", "cvat_9282"),
    "dropped": lambda name, component, tags: tags.get("intentional") == "false",
}


@every_interval
def test_events_per_second_survive_restarts_and_gaps(
    pipeline: Shown, flow: Flow, interval: timedelta
) -> None:
    pipeline.interval = interval
    rows = {row["time"]: row for row in pipeline.rows("Events per second")}
    for column, is_wanted in FLOWS.items():
        found = {time: row[column] for time, row in rows.items() if row[column]}
        expected = _sums(_grown(flow, is_wanted), interval)
        assert found == {time: pytest.approx(n / interval.total_seconds()) for time, n in expected.items()}, (
            column
        )


@every_interval
def test_retries_errors_and_drops(pipeline: Shown, flow: Flow, interval: timedelta) -> None:
    pipeline.interval = interval
    rows = {row["time"]: row for row in pipeline.rows("Retries, errors and drops")}
    for column, is_wanted in TROUBLES.items():
        found = {time: row[column] for time, row in rows.items() if row[column]}
        assert found == _sums(_grown(flow, is_wanted), interval), column
    # a row for each interval in which Vector said anything, so that nothing wrong is seen to be nothing
    said = {
        bucket(r.time, interval)
        for r in flow.readings
        if flow.range.start <= r.time.replace(microsecond=0) <= flow.range.end
    }
    assert rows.keys() == said


def test_events_dropped(pipeline: Shown, flow: Flow) -> None:
    (row,) = pipeline.rows("Events dropped")
    dropped = sum(reading.value for reading in _grown(flow, TROUBLES["dropped"]))
    assert dropped > 0
    assert row == {"events": dropped}


@every_interval
@pytest.mark.parametrize(
    ("title", "query", "gauge", "column"),
    [
        ("Buffer", 0, "buffer_size_events", "waiting"),
        ("Buffer and journal on disk", 0, "buffer_size_bytes", "size"),
        ("Buffer and journal on disk", 1, "journal_size_bytes", "size"),
    ],
)
def test_buffers(
    pipeline: Shown, flow: Flow, interval: timedelta, title: str, query: int, gauge: str, column: str
) -> None:
    pipeline.interval = interval
    most: dict[tuple[str, str, str], float] = defaultdict(float)
    for reading in flow.readings:
        name, component, _ = reading.counter
        if name == gauge and component != "metrics" and flow.range.start <= reading.time <= flow.range.end:
            key = (bucket(reading.time, interval), component, reading.host)
            most[key] = max(most[key], reading.value)
    expected: dict[tuple[str, str], float] = defaultdict(float)
    for (time, component, _), value in most.items():
        expected[time, component] += value
    rows = pipeline.rows(title, query)
    assert {(row["time"], row["component"]): row[column] for row in rows} == expected


JUST_NOW = -60
"""Seconds ago, and some in hand: on a busy machine it takes a while until somebody looks."""


def _says(store: Store, host: str, ago: int, **buffers: int) -> None:
    """Store what Vector on a host said of itself and its buffers that many seconds ago."""
    readings = [
        ("uptime_seconds", "", 1),
        *(("buffer_size_events", name, size) for name, size in buffers.items()),
    ]
    rows = ", ".join(
        f"(now() - {ago}, '{host}', '{name}', '{component}', {value})" for name, component, value in readings
    )
    store.post(f"INSERT INTO pipeline_metrics (time, host, name, component, value) VALUES {rows}")


def test_events_waiting_is_the_latest_of_each_buffer_or_not_known(
    shared_engine: Store, dashboards: dict[str, Dashboard]
) -> None:
    with shared_engine.another() as store:

        def waiting() -> Any:
            return first_value(store, dashboards["Pipeline"], "Events waiting", store.database)

        assert waiting() is None, "nobody has said anything"
        _says(store, "one", 200, events=70, dead_letters=7)
        assert waiting() is None, "nobody says anything any more"
        _says(store, "one", JUST_NOW, events=40, dead_letters=4, metrics=9)
        _says(store, "two", JUST_NOW, events=1)
        assert waiting() == 40 + 4 + 1
        _says(store, "three", JUST_NOW)
        assert waiting() == 40 + 4 + 1, "an empty buffer is not spoken of"
        _says(store, "four", 3600, events=5)
        assert waiting() is None, "what waits there nobody knows"


def test_the_host_that_has_been_silent_longest_is_told(
    shared_engine: Store, dashboards: dict[str, Dashboard]
) -> None:
    with shared_engine.another() as store:

        def age() -> Any:
            return first_value(store, dashboards["Pipeline"], "Vector's last report", store.database)

        assert age() is None
        _says(store, "gone", 3 * 86400)
        assert 3 * 86400 <= age() < 3 * 86400 + 300
        _says(store, "one", JUST_NOW)
        assert age() < 300, "one that was taken away is not waited for"
        _says(store, "two", 4000)
        assert 4000 <= age() < 4300


def test_events_from_the_future(shared_engine: Store, dashboards: dict[str, Dashboard]) -> None:
    with shared_engine.another() as store:
        insert = "INSERT INTO events (scope, source, timestamp, user_id) SELECT 'create:task', '{}', {}, number FROM numbers({})"
        for source, moment, count in (
            ("server", "now64(3) - 20", 10),
            ("server", "now64(3) + 3", 10),
            ("server", "now64(3) + 4000", 2),
            ("server", "toDateTime64('2075-02-11 12:00:00', 3)", 1),
            ("client", "now64(3) + 600", 3),
        ):
            store.post(insert.format(source, moment, count))
        dashboard = dashboards["Pipeline"]
        rows = Shown(store, dashboard, [], {}, _hour(), timedelta(minutes=5)).rows("Events from the future")
        assert [(row["source"], row["events"]) for row in rows] == [("client", 3), ("server", 2)]
        assert [round(row["ahead"], -1) for row in rows] == [600, 4000]


def _hour() -> TimeRange:
    now = datetime.now(UTC)
    return TimeRange(now - timedelta(hours=1), now)


def test_how_long_ago(store: Store, dashboards: dict[str, Dashboard], resting: str) -> None:
    assert 600 <= first_value(store, dashboards["Pipeline"], "Vector's last report", resting) < 900
    assert 0 <= first_value(store, dashboards["Pipeline"], "Newest event", resting) < 300


@every_interval
def test_delay_until_readable(pipeline: Shown, store: Store, flow: Flow, interval: timedelta) -> None:
    pipeline.interval = interval
    delays: dict[tuple[str, str], list[float]] = defaultdict(list)
    arrived = system_rows(
        store,
        "SELECT timestamp, source, received_at FROM events FINAL WHERE timestamp > now() - INTERVAL 1 DAY",
    )
    for event in arrived:
        time, arrival = time_of(event), datetime.fromisoformat(event["received_at"]).replace(tzinfo=UTC)
        if flow.range.start <= time <= flow.range.end:
            delay = (arrival - time).total_seconds()
            if delay >= -5:  # what comes from the future tells nothing of the way
                delays[bucket(time, interval), event["source"]].append(max(delay, 0))
    rows = pipeline.rows("Delay until readable")
    assert {row["time"] for row in rows} == {time for time, _ in delays}
    for row in rows:
        for source in ("server", "client"):
            each = delays.get((row["time"], source), [])
            assert row[f"{source}_half"] == (pytest.approx(statistics.median(each)) if each else None)
            most = statistics.quantiles(each, n=20, method="inclusive")[-1] if len(each) > 1 else sum(each)
            assert row[f"{source}_most"] == (pytest.approx(most) if each else None)


def _letters(flow: Flow) -> list[Event]:
    def is_in_range(letter: Event) -> bool:
        return flow.range.start <= _arrival(letter) <= flow.range.end

    return sorted(filter(is_in_range, flow.letters), key=_arrival, reverse=True)


def _arrival(letter: Event) -> datetime:
    return datetime.fromisoformat(letter["received_at"]).replace(tzinfo=UTC)


@every_interval
def test_dead_letters(pipeline: Shown, flow: Flow, interval: timedelta) -> None:
    pipeline.interval = interval
    letters = _letters(flow)
    assert 0 < len(letters) < len(flow.letters)
    assert pipeline.rows("Dead letters") == [{"letters": len(letters)}]
    assert pipeline.rows("Newest dead letters") == letters
    reasons = Counter((bucket(_arrival(letter), interval), letter["reason"]) for letter in letters)
    rows = pipeline.rows("Dead letters by reason")
    assert {(row["time"], row["reason"]): row["letters"] for row in rows} == reasons


def test_what_the_panels_ask_for_is_what_vector_sends(pipeline: Shown, tmp_path: Path) -> None:
    measure = (ROOT / "templates" / "vector" / "measure.vrl").read_text()
    sent = set(re.search(r'kept = split\("([^"]+)"', measure)[1].split())  # type: ignore[index]
    configuration = tomllib.loads(write_configuration(tmp_path).read_text())
    known = {name for kind in ("sources", "transforms", "sinks") for name in configuration[kind]}
    for query in pipeline.dashboard.queries:
        if "FROM pipeline_metrics" in query.sql:
            names, asked = set[str](), set[str]()
            for column, found in (("name", names), ("component", asked)):
                for match in re.findall(rf"\b{column} (?:= |IN \()((?:'\w+'(?:, )?)+)", query.sql):
                    found |= set(re.findall(r"'(\w+)'", match))
            assert names, query.where
            assert names - sent == set(), query.where
            assert asked - known == set(), query.where
