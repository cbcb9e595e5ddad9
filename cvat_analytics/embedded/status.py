"""How an embedded stack is: its parts, as the operating system has them, and its pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.checks.status import Part, Report, with_flow
from cvat_analytics.config.endpoints import LOOPBACK, url
from cvat_analytics.embedded import stack
from cvat_analytics.embedded.stack import Stack

if TYPE_CHECKING:
    from cvat_analytics.connect.access import Access


def report(running: Stack) -> Report:
    """Return how an embedded stack is."""
    states = stack.status(running.directory)
    # by now another program may have the port of one that is stopped, and is not to get its password
    access = None if states["clickhouse"] == "stopped" else running.access()
    versions = {"clickhouse": _clickhouse_version(access)} if access else {}
    parts = [
        Part(name, stack.HOST, state, versions.get(name, ""), url(LOOPBACK, running.port(name), tls=False))
        for name, state in states.items()
    ]
    if not access:
        return Report(parts, None, ["the pipeline cannot be looked at: ClickHouse does not run"])
    return with_flow(parts, access)


def _clickhouse_version(access: Access) -> str:
    try:
        return str(access.client().server_version)
    except CvatAnalyticsError:
        return ""
