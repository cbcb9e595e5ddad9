"""The last hours of an invented pipeline: what Vector's counters said, and what really happened in between.

Two hosts. On one of them Vector is restarted (its counters begin anew); for some minutes nothing can be written (the
counters go on, unseen); counters of rare things appear with the first of them, and are forgotten when they rest.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cvat_analytics.dashboards import TimeRange
from tests.clickhouse import Store
from tests.dashboards.events import MESSAGES, Event, text

SCRAPE = timedelta(seconds=15)
"""How often Vector says its figures."""
EXPIRY = 20
"""After how many scrapes without a change Vector forgets a counter (global option expire_metrics_secs, 300 by default)."""
HOSTS = ("one", "two'\\")
RESTART = 333
"""The scrape before which Vector is started anew on the first host."""
SILENCE = range(700, 720)
"""Scrapes that could not be written."""

Counter = tuple[str, str, tuple[tuple[str, str], ...]]
"""Name, component and tags."""

COUNTERS: dict[Counter, float] = {
    ("component_sent_events_total", "normalise", (("output", "_default"),)): 1,
    ("component_sent_events_total", "normalise", (("output", "dropped"),)): 0.1,
    ("component_sent_events_total", "events", ()): 0.9,
    ("component_sent_events_total", "metrics", ()): 1,
    ("component_sent_events_total", "dead_letter", (("output", "_default"),)): 0.05,
    ("http_client_responses_total", "events", (("status", "200"),)): 0.9,
    ("http_client_responses_total", "events", (("status", "503"),)): 0.02,
    ("http_client_responses_total", "metrics", (("status", "503"),)): 0.02,
    ("http_client_errors_total", "dead_letters", ()): 0.02,
    ("component_errors_total", "cvat_9282", (("error_type", "reader_failed"),)): 0.02,
    ("component_errors_total", "normalise", (("error_type", "conversion_failed"),)): 0.1,
    ("component_discarded_events_total", "events", (("intentional", "false"),)): 0.01,
    ("component_discarded_events_total", "measure", (("intentional", "true"),)): 0.5,
    ("buffer_discarded_events_total", "dead_letters", (("intentional", "false"),)): 0.01,
}
"""How often each of them grows, per scrape."""
GAUGES: dict[Counter, float] = {
    ("buffer_size_events", "events", ()): 5000,
    ("buffer_size_events", "dead_letters", ()): 10,
    ("buffer_size_events", "metrics", ()): 99,
    ("buffer_size_bytes", "events", ()): 1e6,
    ("journal_size_bytes", "journal", ()): 1e9,
    ("filesystem_total_bytes", "", (("mountpoint", "/"),)): 4e10,
    ("filesystem_free_bytes", "", (("mountpoint", "/"),)): 3e10,
    ("build_info", "", (("version", "0.58.0"),)): 1,
}
"""How large each of them is at most."""


@dataclass(frozen=True)
class Reading:
    """One row of pipeline_metrics."""

    time: datetime
    host: str
    counter: Counter
    value: float

    def row(self) -> dict[str, Any]:
        """Return it as ClickHouse reads it."""
        name, component, tags = self.counter
        return {
            "time": f"{self.time:%Y-%m-%d %H:%M:%S}",
            "host": self.host,
            "name": name,
            "component": component,
            "tags": dict(tags),
            "value": self.value,
        }


class Flow:
    """What the store holds of the last hours."""

    def __init__(self, seed: int = 5) -> None:
        self._dice = random.Random(seed)
        end = datetime.now(UTC).replace(second=0, microsecond=0)
        self.range = TimeRange(end - timedelta(hours=6), end)
        self.growth: list[Reading] = []
        """By how much each counter really grew, at the time of the reading that shows it."""
        self.readings = [reading for host in HOSTS for reading in self._host(host)]
        self.letters = [self._letter(number) for number in range(60)]
        self.events = [self._event() for _ in range(80)]
        self.deploys = [
            {"at": text(self.range.start + timedelta(hours=h)), "version": version, "revision": revision, "host": host, "changes": h}
            for h, version, revision, host in [(1, "0.4.0", "", "one"), (2, "0.5.0", "abcdef0123456789", "one"), (3, "0.4.1", "", "two'\\")]
        ]  # fmt: skip

    def insert(self, store: Store, database: str | None = None) -> None:
        """Put everything into the store."""
        for table, rows in {
            "pipeline_metrics": [reading.row() for reading in self.readings],
            "events_dead_letter": self.letters,
            "events": self.events,
            "deployments": self.deploys,
        }.items():
            lines = "\n".join(json.dumps(row) for row in rows)
            store.post(f"INSERT INTO {table} FORMAT JSONEachRow\n{lines}", database=database)

    def _host(self, host: str) -> Iterator[Reading]:
        """Yield a host's readings, from well before the range until well after it."""
        begin = self.range.start - timedelta(minutes=10)
        values: dict[Counter, float] = {}
        unseen: dict[Counter, float] = {}
        rested: dict[Counter, int] = {}
        for scrape in range(int((self.range.end - begin) / SCRAPE) + 240):
            time = begin + scrape * SCRAPE + timedelta(seconds=3 * HOSTS.index(host))
            if host == HOSTS[0] and scrape == RESTART:
                values.clear()
            for counter, chance in COUNTERS.items():
                grown = self._dice.randrange(1, 50) if self._dice.random() < chance else 0
                rested[counter] = 0 if grown else rested.get(counter, 0) + 1
                if rested[counter] > EXPIRY:
                    values.pop(counter, None)
                if grown:
                    values[counter] = values.get(counter, 0) + grown
                    unseen[counter] = unseen.get(counter, 0) + grown
            if scrape in SILENCE:
                continue
            self.growth += [Reading(time, host, counter, grown) for counter, grown in unseen.items()]
            unseen.clear()
            yield Reading(time, host, ("uptime_seconds", "own_metrics", ()), 15.0 * scrape)
            yield from (Reading(time, host, counter, value) for counter, value in values.items())
            for gauge, most in GAUGES.items():
                fixed = gauge[0].startswith(("filesystem", "build"))
                yield Reading(time, host, gauge, most if fixed else self._dice.randrange(int(most)))

    def _moment(self) -> datetime:
        """Return a time in the range, or a little outside."""
        return self.range.start + timedelta(hours=self._dice.uniform(-1, 6.9))

    def _letter(self, number: int) -> dict[str, str]:
        return {
            "received_at": text(self._moment()),
            "sender": self._dice.choice(["", "203.0.113.7", "2001:db8::7"]),
            "reason": self._dice.choice(["not JSON", "no scope", "it's \\ odd"]),
            "message": self._dice.choice(MESSAGES),
            "original": self._dice.choice(['{"scope": 1}', "'); DROP TABLE events; --", "\\"]) + str(number),
        }

    def _event(self) -> Event:
        return {
            "scope": self._dice.choice(["save:job", "create:task"]),
            "source": self._dice.choice(["client", "server"]),
            "timestamp": text(self._moment()),
            "user_id": 1,
            "user_name": "anna",
        }
