"""How long a whole dashboard takes: all of its queries as Grafana sends them, after a start and later, for one viewer and for many.

A browser first fills the filters, then the panels, six requests at a time; Grafana's datasource keeps some connections for all
viewers together, as they are rendered. The time of a dashboard is from its first request to its last answer. The SQL is the dashboards' own, run as
Grafana's user over a history of twenty million events. Four people at once are measured through the plugin's own driver, and in real browsers
(`people`).
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import people
from benchmarks.report import BenchmarkError, Measurement, Report, Target
from benchmarks.store import EVENTS, histories, queries
from benchmarks.store.engine import Engine, percentile
from cvat_analytics import dashboards
from cvat_analytics.config import query_limits
from cvat_analytics.config.settings import Settings
from cvat_analytics.dashboards import Dashboard, TimeRange
from tests.clickhouse import Store, running

if TYPE_CHECKING:
    from benchmarks.sections import Say

VIEWERS = 20
BROWSER_CONNECTIONS = 6
"""Of HTTP/1.1 in a browser, per host."""
GRAFANA_CONNECTIONS = query_limits.connections(Settings().grafana_max_queries)
"""The plugin's `maxOpenConns`."""
LIMIT_MS = 500

_CACHES = ("MARK", "UNCOMPRESSED", "PRIMARY INDEX", "QUERY CONDITION", "QUERY", "COMPILED EXPRESSION", "MMAP")


def run(runs: int, say: Say, events: int = EVENTS) -> Report:
    """Measure every dashboard over `events` events."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        running(Path(name), memory_profile="medium", clickhouse_memory_limit=8 * 2**30) as store,
    ):
        engine = Engine(store)
        sessions = max(1, round(events / histories.SESSION_EVENTS))
        say(f"making {sessions * histories.SESSION_EVENTS / 1e6:g} M events")
        histories.pause(engine)
        histories.load(engine, 0, sessions)
        histories.settle(engine)
        stored = int(engine.value("SELECT count() FROM events FINAL"))
        measured: list[tuple[Measurement | None, Target]] = []
        for span_name, span in queries.spans(engine).items():
            for dashboard in dashboards.load():
                say(f"{dashboard.title}, {span_name}")
                viewer = Viewer(engine, dashboard, span)
                cold = [viewer.look(lambda: forget(engine, Path(name))) for _ in range(max(3, runs))]
                viewer.look()
                warm = [viewer.look() for _ in range(4 * runs)]
                many = together(viewer, VIEWERS, max(1, runs // 2))
                measured += [
                    _figures(f"{dashboard.title}, {span_name}, {what}", seconds, limit)
                    for what, seconds, limit in (
                        ("one viewer, cold", cold, LIMIT_MS),
                        ("one viewer", warm, LIMIT_MS),
                        (f"{VIEWERS} viewers at once", many, None),
                    )
                ]
                measured.append(through_the_driver(store, Path(name), viewer, span_name, runs))
        measured += in_browsers(store, queries.spans(engine), runs, say)
    return Report(
        f"dashboards: whole ones, {stored / 1e6:.1f} M events",
        [measurement for measurement, _ in measured if measurement],
        [target for _, target in measured if target.limit or target.void],
        [
            f"One look is all queries of a dashboard: filters first, then panels, {BROWSER_CONNECTIONS} at a time for each viewer and "
            f"{GRAFANA_CONNECTIONS} for all.",
            "Cold: the engine's caches are dropped, and its files are put out of the page cache, before each look.",
            f"{people.PEOPLE} people through the driver share Grafana's connections; in the browser, four Chromiums, the viewer and the engine share "
            "this machine, and the time is until the last panel is drawn.",
            f"The {VIEWERS} viewers look at the same dashboard at the same moment; the time is each viewer's own.",
        ],
    )


class Viewer:
    """Somebody who opens one dashboard for one time range."""

    def __init__(self, engine: Engine, dashboard: Dashboard, span: TimeRange) -> None:
        self.engine = engine
        self.title = dashboard.title
        self.filters = [
            dashboards.expand(variable.query, dashboard, span)
            for variable in dashboard.variables.values()
            if variable.query
        ]
        self.panels = [
            dashboards.expand(query, dashboard, span, interval=queries.interval_of(panel, span))
            for panel in dashboard.panels
            for query in panel.queries
        ]
        self.connections = threading.BoundedSemaphore(GRAFANA_CONNECTIONS)

    def look(self, before: Callable[[], None] = lambda: None) -> float:
        """Open the dashboard and return the seconds until it is complete. Raises BenchmarkError when a query fails."""
        before()
        with ThreadPoolExecutor(BROWSER_CONNECTIONS) as browser:
            began = time.perf_counter()
            for queries_ in (self.filters, self.panels):
                for _ in browser.map(self._ask, queries_):
                    pass
            return time.perf_counter() - began

    def _ask(self, sql: str) -> None:
        with self.connections:
            self.engine.ask(sql, user="grafana")


def through_the_driver(
    store: Store, directory: Path, viewer: Viewer, span: str, runs: int
) -> tuple[Measurement | None, Target]:
    """Let four people open a dashboard at once, their queries going through the driver of Grafana's plugin."""
    name = f"{viewer.title}, {span}, {people.PEOPLE} at once, plugin's driver"
    try:
        driver = people.Driver(store, directory)
        steps = [viewer.filters, viewer.panels]
        driver.look(steps, BROWSER_CONNECTIONS)  # does not count
        seconds = [each for _ in range(2 * runs) for each in driver.look(steps, BROWSER_CONNECTIONS)]
    except BenchmarkError as error:
        return None, Target(f"{name}: 95 %", None, "at most", people.LIMIT_MS, "ms", str(error))
    return _figures(name, seconds, people.LIMIT_MS)


def in_browsers(
    store: Store, spans: Mapping[str, TimeRange], runs: int, say: Say
) -> list[tuple[Measurement | None, Target]]:
    """Let four people open each dashboard at once in browsers of their own."""
    measured: list[tuple[Measurement | None, Target]] = []
    try:
        with people.browsers(store) as pages:
            for span_name, span in spans.items():
                for dashboard in dashboards.load():
                    name = f"{dashboard.title}, {span_name}, {people.PEOPLE} at once, browser"
                    say(name)
                    try:
                        people.look(pages, dashboard, span)  # does not count
                        seconds = [
                            each for _ in range(2 * runs) for each in people.look(pages, dashboard, span)
                        ]
                    except (AssertionError, BenchmarkError) as error:
                        # a page that is never drawn costs its own figure, no other
                        reason = str(error).partition("\n")[0][:200]
                        measured.append(
                            (None, Target(f"{name}: 95 %", None, "at most", people.LIMIT_MS, "ms", reason))
                        )
                        continue
                    measured.append(_figures(name, seconds, people.LIMIT_MS))
    except BenchmarkError as error:
        measured.append((None, Target("in browsers", None, "at most", people.LIMIT_MS, "ms", str(error))))
    return measured


def together(viewer: Viewer, viewers: int, rounds: int) -> list[float]:
    """Let `viewers` people look at the same time, and return the seconds of each, round by round."""
    seconds: list[float] = []
    with ThreadPoolExecutor(viewers) as people:
        for _ in range(rounds):
            seconds += people.map(lambda _: viewer.look(), range(viewers))
    return seconds


def forget(engine: Engine, directory: Path) -> None:
    """Make the engine, and the kernel, forget what they have read of `directory`."""
    for cache in _CACHES:
        engine.ask(f"SYSTEM DROP {cache} CACHE")
    for path in _files(directory):
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # merged away meanwhile
        try:
            os.fsync(file)  # what is not written yet cannot be dropped
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def _files(directory: Path) -> Iterable[str]:
    for folder, _, names in os.walk(directory):
        for name in names:
            if name.endswith((".bin", ".mrk2", ".cmrk2", ".cidx", ".idx", ".cidx2")):
                yield f"{folder}/{name}"


def _figures(name: str, seconds: list[float], limit: int | None) -> tuple[Measurement, Target]:
    milliseconds = sorted(1000 * each for each in seconds)
    p95 = percentile(milliseconds, 0.95)
    return (
        Measurement(f"{name} (95 %: {p95:.0f} ms)", milliseconds, "ms"),
        Target(f"{name}: 95 %", p95, "at most", limit or 0, "ms"),
    )
