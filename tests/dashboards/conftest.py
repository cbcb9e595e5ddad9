"""One engine for all tests of the dashboards' SQL: filled once, and beside it a database with nothing in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cvat_analytics.dashboards import Dashboard, load
from tests.dashboards.events import Event, team
from tests.dashboards.flow import Flow
from tests.store import Store, running

NOTHING = "nothing"
"""The empty database's name."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, events: list[Event], flow: Flow) -> Iterator[Store]:
    """Return an engine with the team's events, each of them inserted twice, as after a retry, and what Vector said."""
    with running(tmp_path_factory.mktemp("store")) as engine:
        engine.create(NOTHING)
        engine.insert(events)
        engine.insert(list(reversed(events)))
        flow.insert(engine)
        engine.refresh()
        yield engine


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
