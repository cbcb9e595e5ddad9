"""How a stack is: which parts run and do their work. What its pipeline does is in flow.py."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.checks import flow, health
from cvat_analytics.checks.flow import Flow
from cvat_analytics.checks.health import Health, State
from cvat_analytics.config.endpoints import LOOPBACK, listening, trust, url
from cvat_analytics.rendering.files import UNITS

if TYPE_CHECKING:
    from cvat_analytics.config.inventory import Stack
    from cvat_analytics.config.settings import Settings
    from cvat_analytics.connect.access import Access
    from cvat_analytics.connect.remote import ReachedHost
    from cvat_analytics.connect.shell import Shell

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
        """Return whether everything runs, and ClickHouse takes what arrives."""
        return set(self.states.values()) == {"running"} and not (self.flow and self.flow.refusals)


def of_hosts(stack: Stack, access: Access, hosts: Mapping[str, ReachedHost]) -> Report:
    """Return how a deployed stack is. Raises UnreachableError when a host does not let us look, or no longer."""
    names = list(stack.topology.settings)
    with ThreadPoolExecutor(len(names)) as pool:
        reports = pool.map(lambda name: _of_host(stack, name, hosts[name]), names)
        parts = [part for parts in reports for part in parts]
    report = with_flow(parts, access)
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


def with_flow(parts: Sequence[Part], access: Access) -> Report:
    """Return the report of these parts, with what ClickHouse knows of the pipeline if it can be asked."""
    try:
        return Report(parts, flow.of(access))
    except CvatAnalyticsError as error:
        return Report(parts, None, [f"the pipeline cannot be looked at: {error}"])
