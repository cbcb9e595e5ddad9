"""The test engine as the one that lint asks, through the same function as the command."""

from __future__ import annotations

from cvat_analytics.access import Access
from cvat_analytics.dashboards import engine
from cvat_analytics.dashboards.places import Refusal
from tests.store import Store


def access_to(store: Store, grafana: tuple[str, int] = ("127.0.0.1", 1)) -> Access:
    """Return the way to the store, and to a Grafana if there is one."""
    return Access(
        clickhouse=("127.0.0.1", store.http_port),
        vector=("127.0.0.1", 1),
        grafana=grafana,
        settings=store.context.settings,
        secrets=store.context.secrets,
    )


def refusal_of(store: Store) -> Refusal:
    """Return what asks the store's engine."""
    return engine.refusal(access_to(store))
