"""One engine for all tests of the dashboards' SQL: filled once, and beside it a database with nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from cvat_analytics.dashboards import Dashboard, load
from tests.clickhouse import Store
from tests.dashboards.events import Event, team
from tests.dashboards.flow import Flow
from tests.dashboards.plugin_driver import PluginDriver, build
from tests.dashboards.shown import Shown

NOTHING = "nothing"
"""The empty database's name."""

Answers = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def store(shared_engine: Store, events: list[Event], flow: Flow) -> Iterator[Store]:
    """Return an engine with the team's events, each of them inserted twice, as after a retry, and what Vector said."""
    with shared_engine.another() as engine:
        engine.create(NOTHING)
        engine.insert(events)
        engine.insert(list(reversed(events)))
        flow.insert(engine)
        engine.refresh()
        yield engine


@pytest.fixture(scope="session")
def answers(store: Store) -> Answers:
    """Return what the store has answered to a query; more than one file asks all of them."""
    return {}


@pytest.fixture(scope="session")
def events() -> list[Event]:
    """Return what is in the store of the past."""
    return team()


@pytest.fixture(scope="session")
def flow() -> Flow:
    """Return what is in the store of the last hours."""
    return Flow()


@pytest.fixture(scope="session")
def dashboards() -> dict[str, Dashboard]:
    """Return the dashboards by title."""
    return {dashboard.title: dashboard for dashboard in load()}


@pytest.fixture
def pipeline(store: Store, dashboards: dict[str, Dashboard], flow: Flow) -> Shown:
    """Return the Pipeline dashboard over the last hours."""
    return Shown(store, dashboards["Pipeline"], flow.events, {}, flow.range, timedelta(minutes=5))


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


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> PluginDriver:
    """Return the driver and the macro parser of Grafana's plugin."""
    return build(tmp_path_factory)
