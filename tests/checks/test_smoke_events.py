"""What a smoke test sends lies apart: in no count, no working time and no watch, and it goes without a mutation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from cvat_analytics.base.project import LIBRARY, ROOT
from cvat_analytics.checks import flow
from cvat_analytics.checks.smoke_case import read_cases
from cvat_analytics.pipeline import journal, replay
from cvat_analytics.pipeline.dead_letters import Choice, DeadLetters
from cvat_analytics.store import smoke_events
from tests.clickhouse import Store, way_to
from tests.waiting import until

IN_MONTH = "2075-02-11 10:00:00.000"
OF_AN_EVENT: dict[str, Any] = {"scope": "debug:info", "source": "smoke", "timestamp": IN_MONTH}


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    """Return an engine with a database of this file's own, in which no round of computing begins by itself."""
    with shared_engine.another() as store:
        for view in ("event_counts_refresh", "event_days_refresh", "working_time_refresh"):
            store.post(f"ALTER TABLE {view} MODIFY REFRESH EVERY 1 YEAR APPEND")
            store.post(f"SYSTEM WAIT VIEW {view}")
        yield store


@pytest.fixture
def store(engine: Store) -> Store:
    """Return it with nothing in it."""
    for table in ("events", "event_days", "events_dead_letter", "working_time_days", "working_time_results"):
        engine.post(f"TRUNCATE TABLE {table}")
    return engine


@pytest.fixture
def client(store: Store) -> Client:
    return way_to(store.context).client()


def by_api(marker: str, **more: Any) -> dict[str, Any]:
    """Return an event as it is stored that came through the events API, where `source` is always the client's."""
    payload = json.dumps({"request": {"id": marker}})
    return OF_AN_EVENT | {"source": "client", "user_id": 1, "user_email": "a@b", "payload": payload} | more


def of(marker: str, **more: Any) -> dict[str, Any]:
    """Return an event of a run as it is stored."""
    return OF_AN_EVENT | {"user_email": f"{marker}-01-event-is-readable"} | more


def number(store: Store, query: str) -> int:
    (answer,) = store.rows(query)
    return int(next(iter(answer.values())))


def received_before(store: Store, seconds: int, event: dict[str, Any]) -> None:
    """Insert an event that arrived so long ago."""
    moment = f"{datetime.now(UTC) - timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"
    store.post(
        "INSERT INTO events (scope, source, timestamp, user_email, received_at) SETTINGS insert_allow_materialized_columns = 1 "
        f"VALUES ('debug:info', 'smoke', '{event['timestamp']}', '{event['user_email']}', '{moment}')"
    )


def test_they_are_in_no_count_and_no_working_time_and_nobody_takes_them_for_a_sign_of_life(
    store: Store,
) -> None:
    marker = smoke_events.new_marker()
    store.insert([of(marker), *(by_api(marker, obj_id=each) for each in range(3))])
    store.post(
        "INSERT INTO events_dead_letter (received_at, reason, message, original) "
        f"VALUES (now(), 'not JSON', '', '{smoke_events.LETTER}')"
    )
    store.refresh()
    assert number(store, "SELECT count() FROM events") == 4
    for table in ("event_counts", "event_days", "working_time_days", "working_time_results", "working_time"):
        assert number(store, f"SELECT count() FROM {table}") == 0, table
    seen = flow.of(way_to(store.context))
    assert (seen.recent_events, seen.last_event, seen.sources.last, seen.dead_letters) == (0, None, {}, 0)
    assert seen.from_future == 0
    letters = DeadLetters(way_to(store.context))
    assert letters.reasons(Choice()) == []
    assert letters.letters(Choice(), 10) == []


def test_a_run_takes_what_it_has_sent_away_without_a_mutation(store: Store, client: Client) -> None:
    marker = smoke_events.new_marker()
    store.insert([of(marker), OF_AN_EVENT | {"timestamp": "2026-01-01 00:00:00.000", "user_email": "real"}])
    store.insert([by_api(marker)])
    store.post("OPTIMIZE TABLE events FINAL")
    smoke_events.remove(client, store.database, marker)
    assert store.rows("SELECT user_email FROM events") == [{"user_email": "real"}]
    mutations = (
        f"SELECT count() FROM system.mutations WHERE database = '{store.database}' AND table = 'events'"
    )
    assert client.query(mutations).result_rows == [(0,)]


def test_what_a_killed_run_has_left_goes_with_the_next(store: Store, client: Client) -> None:
    received_before(store, smoke_events.IN_USE_SECONDS + 5, of(smoke_events.new_marker()))
    smoke_events.remove(client, store.database, smoke_events.new_marker())
    assert number(store, "SELECT count() FROM events") == 0


def test_what_another_run_still_waits_for_stays(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke_events, "IN_USE_SECONDS", 3600)  # on a busy machine a moment may be long
    store.insert([of(smoke_events.new_marker())])
    smoke_events.remove(client, store.database, smoke_events.new_marker())
    assert number(store, "SELECT count() FROM events") == 1


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize(
    "real",
    [
        OF_AN_EVENT,
        OF_AN_EVENT | {"user_email": "smoke-signals@example.org"},
        by_api("a request"),
    ],
    ids=["without a name", "with a name that begins so", "of the API"],
)
def test_an_event_that_nobody_has_marked_is_never_dropped(
    store: Store, client: Client, real: dict[str, Any], merged: bool
) -> None:
    marker = smoke_events.new_marker()
    store.post("SYSTEM STOP MERGES events")
    try:
        store.insert([real])
        store.insert([of(marker)])
        if merged:
            store.post("SYSTEM START MERGES events")
            store.post("OPTIMIZE TABLE events FINAL")
        smoke_events.remove(client, store.database, marker)
    finally:
        store.post("SYSTEM START MERGES events")
    left = store.rows("SELECT user_email, payload FROM events")
    assert {"user_email": real.get("user_email"), "payload": real.get("payload")} in left
    # where both are one part, what stays is no worse than an event of its month
    assert len(left) == (2 if merged else 1)


def test_parts_that_are_merged_while_they_are_dropped_are_looked_at_again(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = smoke_events.new_marker()
    store.insert([of(marker)])
    store.insert([of(marker, timestamp="2075-02-12 10:00:00.000")])
    command, merged = client.command, list[str]()

    def after_a_merge(text: str) -> object:
        if not merged:
            merged.append(store.post("OPTIMIZE TABLE events FINAL"))
        return command(text)

    monkeypatch.setattr(client, "command", after_a_merge)
    smoke_events.remove(client, store.database, marker)
    assert merged
    assert number(store, "SELECT count() FROM events") == 0


def test_every_moment_lies_in_the_month_and_is_another_one() -> None:
    now = datetime(2026, 1, 31, 23, 59, 59, 999000, tzinfo=UTC)
    moments = [smoke_events.moment(now + timedelta(hours=each)) for each in range(24 * 28)]
    assert {f"{moment:%Y%m}" for moment in moments} == {smoke_events.PARTITION}
    assert len(set(moments)) == len(moments)


def test_where_the_month_is_written_out_it_is_that_month() -> None:
    found: dict[str, list[str]] = {}
    for directory in (LIBRARY, *(ROOT / name for name in ("clickhouse", "templates", "grafana"))):
        for file in sorted(directory.rglob("*")):
            if file.suffix in (".sql", ".j2", ".json", ".yml", ".yaml", ".vrl", ".py"):
                for number, line in enumerate(file.read_text().splitlines(), 1):
                    if months := re.findall(r"toYYYYMM\([^()]*\) *(?:=|!=|<>|IN) *[('\" ]*(\d+)", line):
                        found[f"{file.relative_to(ROOT)}:{number}"] = months
    assert len(found) > 5, "they are found at all"
    wrong = {place: months for place, months in found.items() if set(months) != {smoke_events.PARTITION}}
    assert wrong == {}
    assert [place for place in found if ".py:" in place] == [], "Python has NOT_IN_MONTH and PARTITION"


def test_a_replay_leaves_them_where_they_are(store: Store, tmp_path: Path) -> None:
    marker = smoke_events.new_marker()
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    real = {
        "scope": "load:job",
        "source": "client",
        "user_email": "smoke-signals@example.org",
        "timestamp": f"{hour:%Y-%m-%d %H:%M:%S}.000",
    }
    before = {"timestamp": real["timestamp"]}  # where earlier versions had them
    lines = [real, of(marker), by_api(marker), of(marker, **before), by_api(marker, **before)]
    path = tmp_path / f"events-{hour:%Y-%m-%dT%H}.jsonl"
    path.write_text("".join(json.dumps(line | {"duration": 0}) + "\n" for line in lines))
    files = journal.find(tmp_path)
    access = way_to(store.context)
    for since, until_ in ((hour - timedelta(days=1), None), (hour, hour + timedelta(hours=1))):
        chosen = replay.Range(since, until_, "arrival")
        outcome = replay.Replay(access, "here", files, chosen).run(lambda _: None)
        assert (outcome.read, outcome.strange) == (1, 0)
    assert store.rows("SELECT scope FROM events") == [{"scope": "load:job"}]


@pytest.mark.parametrize(
    "case",
    [case for case in read_cases() if case.events and not case.events.startswith(smoke_events.LETTER)],
    ids=lambda case: case.name,
)
def test_what_a_case_sends_is_in_the_month_and_marked(store: Store, client: Client, case: Any) -> None:
    now = str(smoke_events.moment(datetime.now(UTC)).timestamp())
    marker = smoke_events.new_marker()
    sent = json.loads(case.events.replace("MARKER", f"{marker}-{case.name}").replace("NOW", now))
    for event in sent:
        moment = datetime.fromtimestamp(float(event["timestamp"]), UTC)
        store.insert([event | {"timestamp": f"{moment:%Y-%m-%d %H:%M:%S}.000"}])
    assert number(store, "SELECT count() FROM events") >= 1
    smoke_events.remove(client, store.database, marker)
    assert number(store, "SELECT count() FROM events") == 0


def test_the_letter_comes_and_goes_as_one(store: Store) -> None:
    (case,) = [case for case in read_cases() if case.before]
    letter = (
        "INSERT INTO events_dead_letter (received_at, reason, message, original) "
        f"SELECT now64(3), 'not JSON', 'm', '{smoke_events.LETTER}'"
    )
    store.post(letter)
    (before,) = store.rows(case.before.strip())[0].values()
    query = case.query.replace("{before:String}", f"'{before}'")
    assert list(store.rows(query)[0].values()) == [1, 1, 0]

    def again() -> list[Any]:
        store.post(letter)
        return list(store.rows(query)[0].values())

    until(again, "the letter has another time", lambda found: found == case.expected[0])
