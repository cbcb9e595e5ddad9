"""What a team does to a small host: events all the time, dashboards open on several screens, an export and a large save now and then."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
"""One person opens a dashboard every so many seconds, if the one before it is there by then."""
SENDERS = 64
"""Requests that are on their way at most, as CVAT has many workers: there are as many as the rate needs."""
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
        self._dashboards = dashboards.load()
        self.taken = self.steady = self.tracked = self.parts = 0
        """Events that Vector took; of these those of the small requests. ClickHouse's memory and the parts of events, at most."""
        self.refused: Counter[str] = Counter()
        self.ages: list[float] = []
        self.exports: list[float] = []
        self.looks: dict[str, list[float]] = defaultdict(list)
        self.described = (
            f"{RATE} events/s in requests of {BATCH_SIZE}; {VIEWERS} people who open one dashboard after the other, over 7 days and over "
            f"everything in turn, every {PAUSE:g} s; every {NOW_AND_THEN / 60:g} minutes a request of {LARGE} events and an export of 30 days."
        )

    def __enter__(self) -> None:
        work: list[tuple[Callable[[int], None], float]] = [
            (self._watch, 1),
            (self._send_large, NOW_AND_THEN),
            (self._export, NOW_AND_THEN),
            *[(self._look, PAUSE)] * VIEWERS,
        ]
        self._threads = [threading.Thread(target=self._steadily, daemon=True)]
        self._threads += [
            threading.Thread(target=self._repeat, args=[step, pause, number], daemon=True)
            for number, (step, pause) in enumerate(work)
        ]
        for each in self._threads:
            each.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for each in self._threads:
            each.join()

    def _repeat(self, step: Callable[[int], None], pause: float, number: int) -> None:
        due = time.monotonic()
        for turn in itertools.count(number):
            self._try(step, turn)
            due = max(due + pause, time.monotonic())
            if self._done.wait(due - time.monotonic()):
                return

    def _try(self, step: Callable[[int], None], turn: int) -> None:
        """Do one step; whatever goes wrong is counted and told, and the work goes on."""
        try:
            step(turn)
        except Exception as error:
            said = re.sub(r"\d+\.\d+", "…", str(error).partition("\n")[0])[
                :200
            ]  # milliseconds make no two alike
            with self._lock:
                self.refused[f"{step.__name__.strip('_')}: {type(error).__name__}: {said}"] += 1

    def _steadily(self) -> None:
        """Send each request when it is due, whether those before it are answered or not; a slow Vector makes no load lighter."""
        began = time.monotonic()
        senders = ThreadPoolExecutor(SENDERS)
        for number in itertools.count():
            if self._done.wait(max(0.0, began + number * BATCH_SIZE / RATE - time.monotonic())):
                break
            senders.submit(self._try, self._send_small, number)
        senders.shutdown(cancel_futures=True)

    def _send_small(self, turn: int) -> None:
        sent = self._send(turn, BATCH_SIZE)
        with self._lock:
            self.steady += sent

    def _send(self, number: int, count: int) -> int:
        """Send events of now and return how many; what Vector does not take is sent again, as CVAT does."""
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

        until(takes, "Vector takes the events", despite=(OSError, http.client.HTTPException))
        sent = len({json.dumps(each, sort_keys=True) for each in events})
        with self._lock:
            self.taken += sent
        return sent

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
        spans = list(queries.spans(self._engine).items())
        round_, number = divmod(turn, len(self._dashboards))
        span_name, span = spans[round_ % len(spans)]
        viewer = Viewer(self._engine, self._dashboards[number], span)
        viewer.connections = self._pool_of_grafana
        seconds = viewer.look()
        with self._lock:
            self.looks[span_name].append(seconds)

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
        with self._lock:
            looks, refused = sum(map(len, self.looks.values())), dict(self.refused)
        return (
            f"{self.taken} events, {self.steady} of them steadily, {looks} dashboards, {len(self.exports)} exports, "
            f"{sum(refused.values())} refused or failed {refused or ''}"
        )


def _events(engine: Engine, sessions: int) -> list[dict[str, Any]]:
    """Return events of a day of the history's people that come after it, in the form in which CVAT sends them."""
    day = histories.generator(sessions, sessions + histories.DAY_SESSIONS)
    answer = engine.ask(
        f"SELECT {histories.COLUMNS} FROM ({day}) ORDER BY cityHash64(payload, timestamp) FORMAT JSONEachRow",
        output_format_json_quote_64bit_integers=0,
    )
    return [json.loads(line) for line in answer.text.splitlines()]
