"""What a team does to a small host: events all the time, dashboards open on several screens, an export and a large save now and then."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx

from benchmarks.dashboards import GRAFANA_CONNECTIONS, Viewer
from benchmarks.report import BenchmarkError
from benchmarks.store import histories, queries
from benchmarks.store.engine import Engine
from cvat_analytics import dashboards
from cvat_analytics.dashboards import TimeRange
from cvat_analytics.embedded import stack
from cvat_analytics.pipeline.events import BATCH_SIZE
from tests.waiting import until

RATE = 50
"""Events a second: twenty times what 77 people at work make."""
VIEWERS = 4
PAUSE = 20.0
"""Seconds between two looks of one person."""
LARGE, NOW_AND_THEN = 20_000, 600.0
"""Events of one large request, some 8 MB, and how many seconds lie between two of them, and between two exports."""


class Load:
    """Everybody's work, as long as the context lasts, and what they saw."""

    def __init__(self, running: stack.Stack, engine: Engine, sessions: int) -> None:
        self._running, self._engine = running, engine
        self._done = threading.Event()
        self._began = engine.value("SELECT toUnixTimestamp64Milli(now64(3))")
        self._pool = _events(engine, sessions)
        self._pool_of_grafana = threading.BoundedSemaphore(GRAFANA_CONNECTIONS)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.taken = self.tracked = self.parts = 0
        self.refused: Counter[str] = Counter()
        self.ages: list[float] = []
        self.exports: list[float] = []
        self.looks: dict[str, list[float]] = defaultdict(list)
        self.described = (
            f"{RATE} events/s in requests of {BATCH_SIZE}; {VIEWERS} people who open one dashboard after the other, over 7 days and over "
            f"everything in turn, with {PAUSE:g} s between; every {NOW_AND_THEN / 60:g} minutes a request of {LARGE} events and an export of 30 days."
        )

    def __enter__(self) -> None:
        work: list[tuple[Callable[[int], None], float]] = [
            (self._send, 0),
            (self._watch, 1),
            (self._send_large, NOW_AND_THEN),
        ]
        work += [(self._export, NOW_AND_THEN), *[(self._look, PAUSE)] * VIEWERS]
        for number, (step, pause) in enumerate(work):
            self._threads.append(
                threading.Thread(target=self._repeat, args=[step, pause, number], daemon=True)
            )
            self._threads[-1].start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for each in self._threads:
            each.join()

    def _repeat(self, step: Callable[[int], None], pause: float, number: int) -> None:
        if step == self._send:
            self._steadily()
            return
        for turn in itertools.count(number):
            try:
                step(turn)
            except (BenchmarkError, httpx.HTTPError, OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.refused[f"{step.__name__.strip('_')}: {str(error).partition(chr(10))[0][:200]}"] += 1
            if self._done.wait(pause):
                return

    def _steadily(self) -> None:
        began = time.monotonic()
        for number in itertools.count():
            if self._done.wait(max(0.0, began + number * BATCH_SIZE / RATE - time.monotonic())):
                return
            self._send(number)

    def _send(self, number: int, count: int = BATCH_SIZE) -> None:
        """Send events of now; what Vector does not take is sent again, as CVAT does."""
        first = number * count % len(self._pool)
        now = time.time()
        events = [each | {"timestamp": f"{now:.6f}"} for each in self._pool[first : first + count]]
        body = json.dumps(events).encode()

        def takes() -> bool:
            connection = http.client.HTTPConnection(*self._running.access().vector.address, timeout=60)
            try:
                connection.request("POST", "/", body)
                return connection.getresponse().status == 200
            finally:
                connection.close()

        until(takes, "Vector takes the events", despite=OSError)
        with self._lock:
            self.taken += len({json.dumps(each, sort_keys=True) for each in events})

    def _send_large(self, turn: int) -> None:
        self._send(turn, LARGE)

    def _watch(self, _: int) -> None:
        ask = self._engine
        newest = f"SELECT toFloat64(now64(3)) - toFloat64(max(timestamp)), count() FROM events WHERE toUnixTimestamp64Milli(timestamp) >= {self._began}"
        ((age, there),) = ask.ask(newest).cells
        if int(there):
            self.ages.append(float(age))
        self.tracked = max(
            self.tracked, int(ask.value("SELECT value FROM system.metrics WHERE metric = 'MemoryTracking'"))
        )
        self.parts = max(self.parts, ask.parts(ask.store.database, "events"))

    def _look(self, turn: int) -> None:
        span_name, span = list(queries.spans(self._engine).items())[turn // 4 % 2]
        dashboard = list(dashboards.load())[turn % 4]
        viewer = Viewer(self._engine, dashboard, span)
        viewer.connections = self._pool_of_grafana
        self.looks[span_name].append(viewer.look())

    def _export(self, _: int) -> None:
        span: TimeRange = queries.spans(self._engine)["everything"]
        about = self._running.describe()["events_api"]
        login = (about["user"], about["password"])
        with httpx.Client(base_url=about["http"], auth=login, timeout=120, trust_env=False) as client:
            began = time.perf_counter()
            first = span.end - timedelta(days=30)
            query = {"from": f"{first:%Y-%m-%dT%H:%M:%SZ}", "to": f"{span.end:%Y-%m-%dT%H:%M:%SZ}"}
            query_id = client.get("/api/events", params=query).raise_for_status().json()["query_id"]
            while (answer := client.get("/api/events", params={"query_id": query_id})).status_code == 202:
                time.sleep(0.2)
            if answer.status_code != 201:
                raise BenchmarkError(f"HTTP {answer.status_code} {answer.text[:200]}")
            self.exports.append(time.perf_counter() - began)
            client.delete(f"/api/requests/{query_id}")

    def stored(self) -> int:
        """Return how many of the events are stored."""
        return int(
            self._engine.value(
                f"SELECT count() FROM events FINAL WHERE toUnixTimestamp64Milli(timestamp) >= {self._began}"
            )
        )

    def failures(self) -> int:
        """Return how many kinds of background work fail now."""
        return int(
            self._engine.value("SELECT countIf(state = 'failing') FROM background_failures(at = now())")
        )

    def text(self) -> str:
        """Return what was seen in one line."""
        looks = sum(map(len, self.looks.values()))
        return f"{self.taken} events, {looks} dashboards, {len(self.exports)} exports, {sum(self.refused.values())} refused {dict(self.refused) or ''}"


def _events(engine: Engine, sessions: int) -> list[dict[str, Any]]:
    """Return events of a day of the history's people that come after it, in the form in which CVAT sends them."""
    day = histories.generator(sessions, sessions + histories.DAY_SESSIONS)
    answer = engine.ask(
        f"SELECT {histories.COLUMNS} FROM ({day}) ORDER BY cityHash64(payload, timestamp) FORMAT JSONEachRow",
        output_format_json_quote_64bit_integers=0,
    )
    return [json.loads(line) for line in answer.text.splitlines()]
