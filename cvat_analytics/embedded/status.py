"""How an embedded stack is: its parts, as the operating system has them, and its pipeline."""

from __future__ import annotations

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.checks.status import Part, Report, with_flow
from cvat_analytics.config.endpoints import url
from cvat_analytics.config.topology import LOOPBACK
from cvat_analytics.connect.access import Access
from cvat_analytics.embedded import stack
from cvat_analytics.embedded.stack import Stack


def report(running: Stack) -> Report:
    """Return how an embedded stack is."""
    access = running.access()
    settings = access.clickhouse.settings
    ports = {
        "clickhouse": settings.clickhouse_http_port,
        "vector": settings.vector_port,
        "viewer": settings.grafana_port,
        "events_api": settings.events_api_port,
    }
    states = stack.status(running.directory)
    # by now another program may have the port of one that is stopped, and is not to get its password
    stopped = states["clickhouse"] == "stopped"
    versions = {} if stopped else {"clickhouse": _clickhouse_version(access)}
    parts = [
        Part(name, stack.HOST, state, versions.get(name, ""), url(LOOPBACK, ports[name], tls=False))
        for name, state in states.items()
    ]
    if stopped:
        return Report(parts, None, ["the pipeline cannot be looked at: ClickHouse does not run"])
    return with_flow(parts, access)


def _clickhouse_version(access: Access) -> str:
    try:
        return str(access.client().server_version)
    except CvatAnalyticsError:
        return ""
