"""Four people who open the same dashboard at the same moment: its queries through the driver of Grafana's plugin, and all of it in a real browser.

Through the driver, four people share the datasource's connections as they do in Grafana, each asking what a browser asks at the same time.
In the browser the viewer's page is drawn to its last panel; the four browsers run on the machine that the engine runs on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from benchmarks.report import BenchmarkError
from cvat_analytics.config import query_limits
from cvat_analytics.dashboards import Dashboard, TimeRange
from tests.browser import Page, chromium
from tests.clickhouse import Store
from tests.dashboards.plugin_driver import PluginDriver, build_in
from tests.embedded.viewer.conftest import serving, write_configuration

PEOPLE = 4
LIMIT_MS = 1000
"""Of 95 % of the looks, whatever the time range."""


def _available[T](make: Callable[[], T]) -> T:
    """Return what a test's tool is made of. Raises BenchmarkError that says what this machine lacks for it."""
    try:
        return make()
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        raise BenchmarkError(str(error)) from error


class Driver:
    """The plugin's driver, asking as Grafana does."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._program: PluginDriver = _available(lambda: build_in(directory))
        settings = store.context.settings
        connections = query_limits.connections(settings.grafana_max_queries)
        self._request = {
            "address": f"127.0.0.1:{settings.clickhouse_native_port}",
            "database": settings.database,
            "user": "grafana",
            "password": store.context.secrets["clickhouse_grafana"],
            "seconds": query_limits.PLUGIN_SECONDS,
            "open": connections,
            "idle": connections,
            "people": PEOPLE,
        }

    def look(self, steps: Sequence[Sequence[str]], connections: int) -> list[float]:
        """Let the people open a dashboard once and return the seconds of each. Raises BenchmarkError when a query fails."""
        looks = self._program.people(self._request | {"steps": steps, "connections": connections})
        if errors := [each["error"] for each in looks if each["error"]]:
            raise BenchmarkError(errors[0])
        return [each["milliseconds"] / 1000 for each in looks]


@contextmanager
def browsers(store: Store) -> Iterator[list[Page]]:
    """Run a viewer over the store, and a browser for each of the people."""
    with ExitStack() as stack:
        options = [f"--clickhouse-http-port={store.http_port}", "--no-login"]
        viewer = stack.enter_context(serving(store.context, write_configuration(store.context), options))
        pages = _available(
            lambda: [Page(stack.enter_context(chromium()), f"{viewer.url}/analytics") for _ in range(PEOPLE)]
        )
        yield pages


def look(pages: list[Page], dashboard: Dashboard, span: TimeRange) -> list[float]:
    """Let all people open a dashboard at once and return the seconds until each sees all of it."""
    times = {"from": round(span.start.timestamp() * 1000), "to": round(span.end.timestamp() * 1000)}

    def seconds(page: Page) -> float:
        began = time.perf_counter()
        page.open(dashboard.uid, **times)
        return time.perf_counter() - began

    with ThreadPoolExecutor(len(pages)) as people:
        return list(people.map(seconds, pages))
