"""A move of ClickHouse on the real engine, by real agents and restic, killed at each step while events come in; and what keeps one from its end."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config import moves
from cvat_analytics.operate.backup import questions
from cvat_analytics.operate.move import copying, finishing
from tests.clickhouse import Store, way_to
from tests.operate.backup_site import Site, events, site
from tests.operate.moving import Hands
from tests.waiting import until

STEPS = (
    "table events done", "noted copied", "switched", "table events done", "noted moved",
)  # fmt: skip
"""Where the process is killed, one after the other, in the first copy and in the second; each time the same command goes on. All steps, without
an engine, are those of test_move_of_hosts.py."""
WORK = "SELECT user_id, day, sum(computed_ms), sum(reported_ms), sum(events) FROM working_time GROUP BY user_id, day ORDER BY user_id, day"
DAYS = "SELECT toDate(hour) AS day, sum(events) FROM event_counts GROUP BY day ORDER BY day"
STORED = "SELECT count(), uniqExact(JSONExtractUInt(ifNull(payload, ''), 'number')) FROM events FINAL WHERE user_id = 3"


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("checks") / "checks.json"
    file.write_text(questions.text())
    return file


@pytest.fixture
def two(shared_engine: Store, checks: Path, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """Return a database with events of two months, and an empty one, with one place for backups in common."""
    with shared_engine.another() as first, shared_engine.another() as second:
        old, new = (
            site(store, tmp_path / name, str(tmp_path / "repository"), checks)
            for name, store in (("old", first), ("new", second))
        )
        old.store.insert(events(50) + events(40, user=2) + events(30, month=1))
        # which the scripts throw away
        old.store.post("INSERT INTO event_counts_settled (hour) VALUES (now() - 86400)")
        yield old, new


class Sender:
    """Sends numbered events to whichever database is in use, as Vector does: again where it does not know, and across a switch to both."""

    def __init__(self, old: Site, new: Site, in_use: Path) -> None:
        self._old, self._new, self._in_use = old, new, in_use
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def _run(self) -> None:
        before = self._old
        while not self._stop.wait(0.3):
            batch = events(3, user=3, first=self.sent)
            now = self._new if self._in_use.exists() else self._old
            for place in dict.fromkeys((id(before), id(now))):
                (self._old if place == id(self._old) else self._new).store.insert(batch)
            before = now
            self.sent += len(batch)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Send in the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()


def run(hands: Hands) -> subprocess.CompletedProcess[str]:
    file = hands.directory / "hands"
    file.write_bytes(pickle.dumps(hands))
    return subprocess.run(
        [sys.executable, "-m", "tests.operate.moving", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_killed_at_each_step_under_load_nothing_is_lost_and_nothing_doubles(
    two: tuple[Site, Site], shared_engine: Store, tmp_path: Path
) -> None:
    old, new = two
    hands = Hands(old, new, tmp_path)
    sender = Sender(old, new, tmp_path / "in use")
    with sender.at_work():
        for step in STEPS:
            killed = run(replace(hands, dies_at=step))
            assert killed.returncode == -signal.SIGKILL, f"{step}: {killed.stdout}{killed.stderr}"
        done = run(hands)
        assert done.returncode == 0, done.stderr
        there = sender.sent
        until(lambda: sender.sent, "events go on", lambda sent: sent > there)
    assert hands.move.step == moves.MOVED
    assert (tmp_path / "cleared").exists()
    assert json.loads(new.store.post(STORED))["data"] == [[sender.sent, sender.sent]]
    assert 0 < json.loads(old.store.post(STORED))["data"][0][0] < sender.sent

    # what is made of events is what it is where they came once and to one place
    with shared_engine.another() as other:
        other.insert(events(50) + events(40, user=2) + events(30, month=1) + events(sender.sent, user=3))
        for store in (other, new.store):
            store.refresh()
        for query in (WORK, DAYS):
            assert json.loads(new.store.post(query))["data"] == json.loads(other.post(query))["data"], query
    scratch = f"SELECT count() FROM system.databases WHERE name = '{new.store.database}_restored'"
    assert json.loads(new.store.post(scratch))["data"] == [[0]]


def test_a_row_that_is_lacking_is_found_and_one_that_came_since_is_none(
    two: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = two
    monkeypatch.setattr(copying, "_AT_ONCE", 7)
    client = new.reached.access.client()
    for table in ("events", "event_days"):
        new.store.post(f"INSERT INTO {table} SELECT * FROM {old.store.database}.{table}")
    new.store.insert(events(5, user=4))
    month = f"{events(1)[0]['timestamp'][:7].replace('-', '')}"
    told = {
        (each.table, each.month): each
        for each in copying._counted(client, new.store.database, old.store.database)
        if each.table == "events"
    }
    assert (told["events", month].old, told["events", month].new) == (90, 95)
    new.store.post(
        "ALTER TABLE events DELETE WHERE user_id = 2 AND timestamp = (SELECT max(timestamp) FROM events WHERE user_id = 2) SETTINGS mutations_sync = 2"
    )
    with pytest.raises(
        CvatAnalyticsError,
        match=rf"events`, month {month}: 1 of 90 rows of the old ClickHouse are not in the new one",
    ):
        list(copying._counted(client, new.store.database, old.store.database))


def test_the_old_vector_is_needed_until_its_port_is_silent_and_its_buffer_empty(shared_engine: Store) -> None:
    def told(store: Store, *readings: tuple[str, str, int, float]) -> None:
        rows = [
            {
                "time": f"{datetime.now(UTC) - timedelta(seconds=ago):%Y-%m-%d %H:%M:%S}",
                "host": "a",
                "name": name,
                "component": component,
                "value": value,
            }
            for name, component, ago, value in readings
        ]
        store.post("INSERT INTO pipeline_metrics FORMAT JSONEachRow\n" + "\n".join(map(json.dumps, rows)))

    with shared_engine.another() as store:
        access = way_to(store.context)
        assert "has said nothing of itself" in finishing.still_there(access, "a")[0]
        up = ("uptime_seconds", "", 5, 9000.0)
        received = "component_received_events_total", "cvat_8686"
        told(
            store,
            up,
            (*received, 600, 40.0),
            (*received, 60, 47.0),
            (*received, 5, 47.0),
            ("buffer_size_events", "events", 5, 3.0),
        )
        arrived, waiting = finishing.still_there(access, "a")
        assert "7 events have come to it in the last 2 minutes. Tell CVAT" in arrived
        assert "3 events wait in it" in waiting
        # another host's are nothing to it
        store.post("TRUNCATE TABLE pipeline_metrics")
        told(
            store,
            up,
            (*received, 600, 40.0),
            (*received, 300, 47.0),
            (*received, 5, 47.0),
            ("buffer_size_events", "events", 20, 3.0),
            ("buffer_size_events", "events", 5, 0.0),
        )
        assert finishing.still_there(access, "a") == []


def test_a_night_without_events_is_not_taken_for_a_cvat_that_was_told(shared_engine: Store) -> None:
    now = datetime.now(UTC)
    since = f"{now - timedelta(hours=2):%Y-%m-%d %H:%M} UTC"

    def told(store: Store, host: str, *readings: tuple[int, int]) -> None:
        rows = [
            {
                "time": f"{now - timedelta(seconds=ago):%Y-%m-%d %H:%M:%S}", "host": host,
                "name": "component_received_events_total", "component": "cvat_8686", "value": value,
            }
            for ago, value in readings
        ]  # fmt: skip
        store.post("INSERT INTO pipeline_metrics FORMAT JSONEachRow\n" + "\n".join(map(json.dumps, rows)))

    def event(store: Store, ago: int, **values: str) -> None:
        store.insert(
            [{**events(1)[0], "timestamp": f"{now - timedelta(seconds=ago):%Y-%m-%d %H:%M:%S}", **values}]
        )

    with shared_engine.another() as store:
        access = way_to(store.context)
        told(store, "a", (9000, 30), (7000, 40), (600, 47), (5, 47))
        told(store, "b", (600, 0), (5, 0))
        event(store, 610)
        (refused,) = finishing.not_told(access, "a", "b", since)
        assert "no event has come to that on b since the last one came to it. Tell CVAT" in refused
        # a smoke test is no CVAT
        told(store, "b", (300, 3), (200, 3))
        event(store, 300, user_email="smoke-00000000-0000-0000-0000-000000000000@example.org")
        assert finishing.not_told(access, "a", "b", since)
        event(store, 300)
        assert finishing.not_told(access, "a", "b", since) == []
        # which another worker still sends to the old one
        told(store, "a", (4, 48))
        assert finishing.not_told(access, "a", "b", since)
