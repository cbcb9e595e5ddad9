"""The test engine as the one that lint asks, through the same function as the command."""

from __future__ import annotations

from cvat_analytics.dashboards import engine
from cvat_analytics.dashboards.places import Refusal
from tests.clickhouse import Store, way_to


def refusal_of(store: Store) -> Refusal:
    """Return what asks the store's engine."""
    return engine.refusal(way_to(store.context))
