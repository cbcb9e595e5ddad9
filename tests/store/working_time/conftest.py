"""Engines whose working time is compared with the reference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clickhouse import Store


@pytest.fixture(scope="module")
def deployed(shared_engine: Store) -> Iterator[Store]:
    """Return an engine with an empty schema, which computes a day again for a while after it was written to."""
    with shared_engine.another() as engine:
        yield engine


@pytest.fixture(scope="module")
def frugal(shared_engine: Store) -> Iterator[Store]:
    """Return an engine that computes at each refresh only what has been touched since the one before.

    Otherwise a test of a minute would have everything computed each time, and could not see what is forgotten. Nothing
    runs but what the test asks for: an insert that a refresh overtakes is what the time to settle is there for.
    """
    with shared_engine.another() as engine:
        engine.post("ALTER TABLE working_time_refresh MODIFY REFRESH EVERY 1 YEAR APPEND")
        engine.post(
            "INSERT INTO working_time_settings (threshold_ms, duration_scopes, retention_seconds, settle_seconds) "
            "SELECT threshold_ms, duration_scopes, retention_seconds, 0 FROM working_time_settings"
        )
        engine.refresh()
        yield engine
