"""The numbers of the Pipeline dashboard, against what really happened (`flow`) and what the server's own tables say."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cvat_analytics.dashboards import Dashboard, TimeRange, expand
from cvat_analytics.render import ROOT
from tests.dashboards.events import Event, time_of
from tests.dashboards.flow import GAUGES, HOSTS, Flow, Reading
from tests.dashboards.shown import Shown, bucket
from tests.store import Store

INTERVALS = [timedelta(minutes=1), timedelta(minutes=5), timedelta(hours=1)]
every_interval = pytest.mark.parametrize("interval", INTERVALS, ids=str)


@pytest.fixture
def pipeline(store: Store, dashboards: dict[str, Dashboard], flow: Flow) -> Shown:
    return Shown(store, dashboards["Pipeline"], flow.events, {}, flow.range, timedelta(minutes=5))


def _system(store: Store, sql: str) -> list[dict[str, Any]]:
    """Return what the administrator reads from the system's own tables."""
    answer = json.loads(store.post(sql))
    columns = [column["name"] for column in answer["meta"]]
    return [dict(zip(columns, row, strict=True)) for row in answer["data"]]


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
        (name, component, tags["output"]) == (SENDS, "normalise", "_default")
        if component == "normalise" and name == SENDS
        else False
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


def test_events_waiting_is_the_latest_of_each_buffer(pipeline: Shown, flow: Flow) -> None:
    latest = {
        (reading.host, reading.counter): reading.value
        for reading in flow.readings
        if reading.counter[0] == "buffer_size_events" and reading.counter[1] != "metrics"
    }
    assert len(latest) == 4
    assert pipeline.rows("Events waiting") == [{"events": sum(latest.values())}]


def _first(store: Store, dashboard: Dashboard, title: str, database: str) -> Any:
    (query,) = next(panel for panel in dashboard.panels if panel.title == title).queries
    now = datetime.now(UTC)
    sql = expand(query, dashboard, TimeRange(now - timedelta(hours=1), now))
    return json.loads(store.post(sql, database=database))["data"][0][0]


@pytest.fixture(scope="session")
def resting(store: Store) -> str:
    """Return the name of a database in which nothing has happened for ten minutes."""
    store.create("resting")
    store.post(
        "INSERT INTO pipeline_metrics SELECT now() - 600 - number, 'one', 'uptime_seconds', '', map(), 1 FROM numbers(9)",
        database="resting",
    )
    store.post("INSERT INTO events (scope, timestamp) SELECT 'save:job', now() - 60", database="resting")
    return "resting"


def test_how_long_ago(store: Store, dashboards: dict[str, Dashboard], resting: str) -> None:
    assert 600 <= _first(store, dashboards["Pipeline"], "Vector's last report", resting) < 900
    assert 0 <= _first(store, dashboards["Pipeline"], "Newest event", resting) < 300


@every_interval
def test_delay_until_readable(pipeline: Shown, store: Store, flow: Flow, interval: timedelta) -> None:
    pipeline.interval = interval
    delays: dict[tuple[str, str], list[float]] = defaultdict(list)
    arrived = _system(
        store,
        "SELECT timestamp, source, received_at FROM events FINAL WHERE timestamp > now() - INTERVAL 1 DAY",
    )
    for event in arrived:
        time, arrival = time_of(event), datetime.fromisoformat(event["received_at"]).replace(tzinfo=UTC)
        if flow.range.start <= time <= flow.range.end:
            delays[bucket(time, interval), event["source"]].append(max((arrival - time).total_seconds(), 0))
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


def test_events_and_bytes_per_day(pipeline: Shown, store: Store, events: list[Event]) -> None:
    pipeline.range = TimeRange(datetime(2026, 3, 5, tzinfo=UTC), datetime(2026, 3, 9, 12, tzinfo=UTC))
    (month,) = _system(
        store,
        "SELECT sum(bytes_on_disk) AS bytes, sum(rows) AS rows FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = 'events' AND partition = '202603'",
    )
    days = Counter(time_of(event).date() for event in events)
    rows = pipeline.rows("Events and bytes per day")
    assert rows == [
        {"time": f"{day} 00:00:00", "events": count, "bytes": pytest.approx(count * month["bytes"] / month["rows"], rel=0.05)}
        for day, count in sorted(days.items())
        if 5 <= day.day <= 9 and day.month == 3
    ]  # fmt: skip


def test_storage(pipeline: Shown, store: Store) -> None:
    truth = _system(
        store,
        "SELECT name, total_rows AS rows, total_bytes AS bytes FROM system.tables "
        "WHERE database = currentDatabase() AND engine LIKE '%MergeTree'",
    )
    found = {row["table"]: row for row in pipeline.rows("Storage")}
    assert found.keys() == {table["name"] for table in truth}
    rows = {table["name"]: table["rows"] for table in truth}
    for table in ("events_dead_letter", "pipeline_metrics", "deployments"):
        assert found[table]["rows"] == rows[table] > 0
        assert found[table]["bytes_per_row"] == found[table]["bytes"] / found[table]["rows"]
    assert (found["pipeline_metrics"]["kept"], found["events"]["kept"]) == (30, None)


def test_retention_is_shown(store: Store, pipeline: Shown, resting: str) -> None:
    store.post(
        "ALTER TABLE events MODIFY TTL toDateTime(timestamp) + toIntervalSecond(34560000)", database=resting
    )
    (query,) = next(panel for panel in pipeline.dashboard.panels if panel.title == "Storage").queries
    answer = json.loads(store.post(expand(query, pipeline.dashboard, pipeline.range), database=resting))
    assert {row[0]: row[4] for row in answer["data"]}["events"] == 400


def test_disks(pipeline: Shown, store: Store) -> None:
    (disk,) = _system(store, "SELECT path, total_space FROM system.disks")
    rows = {row["part"]: row for row in pipeline.rows("Disks")}
    assert rows.keys() == {"ClickHouse", *(f"Vector, {host}" for host in HOSTS)}
    assert (rows["ClickHouse"]["path"], rows["ClickHouse"]["total"]) == (disk["path"], disk["total_space"])
    assert 0 < rows["ClickHouse"]["used"] == 1 - rows["ClickHouse"]["free"] / rows["ClickHouse"]["total"] < 1
    sizes = {name: most for (name, _, _), most in GAUGES.items() if name.startswith("filesystem")}
    total, free = sizes["filesystem_total_bytes"], sizes["filesystem_free_bytes"]
    for host in HOSTS:
        row = rows[f"Vector, {host}"]
        assert row == {
            "part": f"Vector, {host}",
            "path": "/",
            "total": total,
            "free": free,
            "used": 1 - free / total,
        }


def test_versions(pipeline: Shown, store: Store) -> None:
    (server,) = _system(store, "SELECT version() AS version")
    rows = {(row["part"], row["host"]): row["version"] for row in pipeline.rows("Versions")}
    assert rows.pop(("Database schema", "")) is not None
    assert rows == {
        ("ClickHouse", ""): server["version"],
        **{("Vector", host): "0.58.0" for host in HOSTS},
        ("cvat-analytics", "one"): "0.5.0",
        ("cvat-analytics", "two'\\"): "0.4.1",
    }


def test_deploys(pipeline: Shown, store: Store, flow: Flow) -> None:
    for annotation in pipeline.dashboard.model["annotations"]["list"]:
        sql = annotation["target"]["rawSql"]
        for letter, time in (("$__timeFilter_ms(at)", "1"),):
            assert store.rows(sql.replace(letter, time)) == [
                {"time": flow.deploys[0]["at"], "text": "Deploy of cvat-analytics 0.4.0, changes: 1", "tags": "one"},
                {"time": flow.deploys[1]["at"], "text": "Deploy of cvat-analytics 0.5.0 (abcdef012345), changes: 2", "tags": "one"},
                {"time": flow.deploys[2]["at"], "text": "Deploy of cvat-analytics 0.4.1, changes: 3", "tags": "two'\\"},
            ]  # fmt: skip


def test_days_until_the_disk_is_full(store: Store, dashboards: dict[str, Dashboard]) -> None:
    title, board = "Days until the disk is full", dashboards["Pipeline"]
    store.create("growing")
    for view in ("event_counts_refresh", "event_days_refresh", "working_time_refresh"):
        store.post(f"SYSTEM STOP VIEW {view}", database="growing")  # nothing else grows meanwhile
    assert _first(store, board, title, "growing") is None  # nothing comes, so it never fills
    store.post(
        "INSERT INTO events (scope, timestamp, user_id, payload) "
        "SELECT 'save:job', toStartOfDay(now('UTC')) - 60 - intDiv(number, 700) * 86400 - number % 700, number, hex(rand64()) FROM numbers(5600)",
        database="growing",
    )
    (size,) = _system(store, "SELECT sum(total_bytes) AS bytes FROM system.tables WHERE database = 'growing'")
    per_day = 700 * size["bytes"] / 5600  # eight days, of which the last seven are looked at
    store.post(  # a disk with room for ten more days
        f"CREATE OR REPLACE VIEW storage_disks AS SELECT 'default' AS disk, '/' AS path, 1e12 AS total_bytes, {10 * per_day} AS free_bytes",
        database="growing",
    )
    assert _first(store, board, title, "growing") == pytest.approx(10, rel=0.01)
    for days, left in {
        400: pytest.approx(10, rel=0.01),
        12: None,
    }.items():  # twelve days are full after four more
        store.post(
            f"ALTER TABLE events MODIFY TTL toDateTime(timestamp) + toIntervalSecond({days * 86400}) SETTINGS materialize_ttl_after_modify = 0",
            database="growing",
        )
        assert _first(store, board, title, "growing") == left


def test_what_the_panels_ask_for_is_what_vector_sends(pipeline: Shown) -> None:
    templates = ROOT / "templates" / "vector"
    measure = (templates / "measure.vrl").read_text()
    sent = set(re.search(r'kept = split\("([^"]+)"', measure)[1].split())  # type: ignore[index]
    components = set(
        re.findall(
            r"^\[(?:sources|transforms)\.(\w+)\]|clickhouse_sink\(\"(\w+)\"|^\[sinks\.(\w+)\]",
            (templates / "vector.toml.j2").read_text(),
            re.M,
        )
    )
    known = {name for groups in components for name in groups if name} | {"journal"}
    for query in pipeline.dashboard.queries:
        if "FROM pipeline_metrics" in query.sql:
            names, asked = set(), set()
            for column, found in (("name", names), ("component", asked)):
                for match in re.findall(rf"\b{column} (?:= |IN \()((?:'\w+'(?:, )?)+)", query.sql):
                    found |= set(re.findall(r"'(\w+)'", match))
            assert names, query.where
            assert names - sent == set(), query.where
            assert asked - known == set(), query.where
