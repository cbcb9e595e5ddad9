"""How an embedded stack is: its parts, as the operating system has them, and its pipeline."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.checks import work
from cvat_analytics.checks.health import Health
from cvat_analytics.checks.status import Part, Report, with_flow, with_room
from cvat_analytics.checks.units import Unit
from cvat_analytics.config.endpoints import LOOPBACK, url
from cvat_analytics.embedded import stack
from cvat_analytics.embedded.stack import Stack

if TYPE_CHECKING:
    from cvat_analytics.connect.access import Access

_COMPONENTS = {"viewer": "grafana"}
"""Of what a part does the work, where it is called otherwise."""


def report(running: Stack) -> Report:
    """Return how an embedded stack is."""
    states = stack.status(running.directory)
    if states["clickhouse"] != "running":
        # by now another program may have the port of one that is stopped, and is not to get its password
        why = "does not run" if states["clickhouse"] == "stopped" else "does not answer"
        parts = [_part(running, name, Health(state)) for name, state in states.items()]
        report = Report(parts, None, [f"the pipeline cannot be looked at: ClickHouse {why}"])
        return with_room(report, running.volumes())
    access = running.access()

    def look(name: str) -> Part:
        how = Health(states[name])
        if how.state == "running":
            how = work.works(access, _COMPONENTS.get(name, name), _unit(running, name))
        return _part(running, name, how, _clickhouse_version(access) if name == "clickhouse" else "")

    with ThreadPoolExecutor(len(states)) as pool:
        parts = list(pool.map(look, states))
    return with_room(with_flow(parts, access), running.volumes())


def _part(running: Stack, name: str, how: Health, version: str = "") -> Part:
    address = url(LOOPBACK, running.port(name), tls=False)
    return Part(name, stack.HOST, how.state, version, address, how.problem)


def _unit(running: Stack, name: str) -> Unit:
    """Return what systemd would know of a part that runs."""
    processes = running.processes
    return Unit(
        active=True,
        started=processes.started(name),
        now=time.time(),
        hostname=socket.gethostname(),
        log=str(processes.log(name)),
        mend="`cvat-analytics down`, then `cvat-analytics up`",
    )


def _clickhouse_version(access: Access) -> str:
    try:
        return str(access.client(timeout=work.TIMEOUT).server_version)
    except CvatAnalyticsError:
        return ""
