"""How a stack is: which parts run, what arrives at which port, what waits, what was refused."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

from cvat_analytics.access import Access
from cvat_analytics.checks import health
from cvat_analytics.checks.health import Health, State
from cvat_analytics.embedded import stack as embedded
from cvat_analytics.endpoints import listening, trust, url
from cvat_analytics.errors import CvatAnalyticsError
from cvat_analytics.files import UNITS
from cvat_analytics.importing.tables import STORE, explained
from cvat_analytics.inventory import Stack
from cvat_analytics.remote import ReachedHost
from cvat_analytics.settings import Settings
from cvat_analytics.shell import Shell
from cvat_analytics.topology import LOOPBACK

RECENT_MINUTES = 15
_PACKAGES = {
    "clickhouse": "clickhouse-server",
    "vector": "vector",
    "grafana": "grafana",
    "events_api": "",
    "gateway": "nginx",
}
"""Each component's package, whose version is the component's."""


@dataclass(frozen=True)
class Part:
    """A part on a host. `problem` is empty, or says what is wrong, or soon will be, and what to do."""

    name: str
    host: str
    state: State
    version: str
    address: str
    problem: str = ""


@dataclass(frozen=True)
class Port:
    """A port on which Vector takes events: what came lately, and when the last request did (None: not in 30 days)."""

    port: int
    extra: bool
    recent_requests: int
    last: datetime | None


@dataclass(frozen=True)
class Buffer:
    """What waits between Vector and ClickHouse. `capacity` and `size` are bytes."""

    name: str
    host: str
    events: int
    size: int
    capacity: int


@dataclass(frozen=True)
class Flow:
    """What ClickHouse knows of the pipeline."""

    recent_events: int
    last_event: datetime | None
    """When the last event arrived."""
    delay_seconds: tuple[float, float] | None
    """From the moment of an event until it is readable, of those that came lately: median and 95th percentile."""
    ports: Sequence[Port]
    buffers: Sequence[Buffer]
    measured_at: datetime | None
    """When Vector last said anything of itself."""
    dead_letters: int
    """Of the last day."""
    journal_bytes: int | None


@dataclass(frozen=True)
class Report:
    """A stack's parts, and its pipeline as far as ClickHouse can be asked."""

    parts: Sequence[Part]
    flow: Flow | None
    problems: Sequence[str] = field(default=())

    @property
    def states(self) -> dict[str, str]:
        """Return each part's state; where it runs on several hosts, the worst."""
        worst_first = get_args(State)
        states: dict[str, str] = {}
        for part in self.parts:
            states[part.name] = min(part.state, states.get(part.name, part.state), key=worst_first.index)
        return states

    @property
    def fine(self) -> bool:
        """Return whether everything runs."""
        return set(self.states.values()) == {"running"}


def of_embedded(running: embedded.Stack) -> Report:
    """Return how an embedded stack is."""
    access = running.access()
    settings = access.clickhouse.settings
    ports = {
        "clickhouse": settings.clickhouse_http_port,
        "vector": settings.vector_port,
        "viewer": settings.grafana_port,
        "events_api": settings.events_api_port,
    }
    versions = {"clickhouse": _clickhouse_version(access)}
    parts = [
        Part(name, embedded.HOST, state, versions.get(name, ""), url(LOOPBACK, ports[name], tls=False))
        for name, state in embedded.status(running.directory).items()
    ]
    return _with_flow(parts, access)


def of_hosts(stack: Stack, access: Access, hosts: Mapping[str, ReachedHost]) -> Report:
    """Return how a deployed stack is. Raises UnreachableError when a host does not let us look, or no longer."""
    names = list(stack.topology.settings)
    with ThreadPoolExecutor(len(names)) as pool:
        found = pool.map(lambda name: _of_host(stack, name, hosts[name]), names)
        parts = [part for parts in found for part in parts]
    report = _with_flow(parts, access)
    if not report.fine or report.problems:
        access.ensure_connected()
    return report


def _of_host(stack: Stack, name: str, host: ReachedHost) -> list[Part]:
    settings = stack.topology.settings[name]
    parts = []
    for component, (active, version) in _units(host.shell, stack.topology.components(name)).items():
        if active:
            how = health.of(host.access, component)
        else:
            how = Health("stopped", f"see `journalctl -u {UNITS[component]}`; a deploy starts it")
        parts.append(
            Part(component, name, how.state, version, _shown(stack, component, settings), how.problem)
        )
    return parts


def _shown(stack: Stack, component: str, settings: Settings) -> str:
    """Return where a component is reached: the gateway where people open it, all others where they listen."""
    if component == "gateway":
        return settings.grafana_root_url
    address, port = listening(component, settings)
    tls = trust(component, settings, stack.authority.certificate_file) is not None
    if component == "clickhouse":
        address = stack.topology.clickhouse_listen_addresses()[-1]
        if settings.clickhouse_tls and address != LOOPBACK:
            port, tls = settings.clickhouse_https_port, True
    return url(address, port, tls=tls)


def _units(shell: Shell, components: Iterable[str]) -> dict[str, tuple[bool, str]]:
    """Return for each component whether its unit is active, and its version."""
    lines = [
        f'echo "{component} $(systemctl is-active {unit}) '
        + (f"$(dpkg-query -W -f '${{Version}}' {shlex.quote(package)} 2>/dev/null)" if package else "")
        + '"'
        for component in components
        for unit, package in [(UNITS[component], _PACKAGES[component])]
    ]
    fields = (line.split() for line in shell.run("\n".join([*lines, "true"])).splitlines())
    return {each[0]: (each[1:2] == ["active"], "".join(each[2:3])) for each in fields if each}


def _with_flow(parts: Sequence[Part], access: Access) -> Report:
    try:
        return Report(parts, flow(access))
    except CvatAnalyticsError as error:
        return Report(parts, None, [f"the pipeline cannot be looked at: {error}"])


def _clickhouse_version(access: Access) -> str:
    try:
        return str(access.client().server_version)
    except CvatAnalyticsError:
        return ""


@explained(STORE)
def flow(access: Access) -> Flow:
    """Return what ClickHouse knows of the pipeline. Raises CvatAnalyticsError when it cannot be asked."""
    client = access.client()
    client.database = access.database

    def rows(query: str) -> Sequence[Sequence[Any]]:
        return client.query(query, tz_mode="aware").result_rows

    recent = f"received_at > now() - {60 * RECENT_MINUTES}"
    events, *delays = rows(
        "SELECT count(), quantilesExact(0.5, 0.95)(toFloat64(toDateTime64(received_at, 3, 'UTC') - timestamp)) "
        f"FROM events WHERE {recent} AND timestamp > now() - 86400"
    )[0]
    last = rows("SELECT max(received_at) FROM events WHERE timestamp > now() - 30 * 86400")[0][0]
    metrics = rows(
        "SELECT name, host, component, argMax(value, time) FROM pipeline_metrics WHERE time > now() - 300 "
        "AND name IN ('buffer_size_bytes', 'buffer_size_events', 'buffer_max_size_bytes', 'journal_size_bytes') GROUP BY name, host, component"
    )
    latest = {(name, host, component): int(value) for name, host, component, value in metrics}
    buffers = [
        Buffer(
            component,
            host,
            latest.get(("buffer_size_events", host, component), 0),
            latest.get(("buffer_size_bytes", host, component), 0),
            capacity,
        )
        for (name, host, component), capacity in sorted(latest.items())
        if name == "buffer_max_size_bytes"
    ]
    journals = [value for (name, _, _), value in latest.items() if name == "journal_size_bytes"]
    letters = rows("SELECT count() FROM events_dead_letter FINAL WHERE received_at > now() - 86400")
    measured = rows("SELECT max(time) FROM pipeline_metrics")[0][0]
    return Flow(
        recent_events=int(events),
        last_event=_moment(last),
        delay_seconds=(float(delays[0][0]), float(delays[0][1])) if events else None,
        ports=_ports(access, rows(_RECEIVED)),
        buffers=buffers,
        measured_at=_moment(measured),
        dead_letters=int(letters[0][0]),
        journal_bytes=sum(journals) if journals else None,
    )


_RECEIVED = f"""
SELECT component, sumIf(grown, time > now() - {60 * RECENT_MINUTES}), maxIf(time, grown > 0)
FROM
(
    SELECT
        component, time,
        lagInFrame(value, 1, 0.) OVER (PARTITION BY host, component, toString(tags) ORDER BY time) AS before,
        -- a counter begins anew with each life of Vector
        if(value >= before, value - before, value) AS grown
    FROM pipeline_metrics
    WHERE name = 'component_received_events_total' AND match(component, '^cvat(_[0-9]+)?$')
)
GROUP BY component
"""


def _ports(access: Access, received: Sequence[Sequence[Any]]) -> list[Port]:
    """Return what came at each port; Vector's sources are called `cvat` and `cvat_PORT`."""
    found = {component: (int(recent), _moment(last)) for component, recent, last in received}
    settings = access.vector.settings
    return [
        Port(port, extra, *found.get(f"cvat_{port}" if extra else "cvat", (0, None)))
        for port, extra in [
            (settings.vector_port, False),
            *((port, True) for port in settings.vector_extra_ports),
        ]
    ]


def _moment(value: datetime | None) -> datetime | None:
    """Return a moment; ClickHouse says 1970 where there is none."""
    return value.astimezone(UTC) if value is not None and value.year > 1970 else None
