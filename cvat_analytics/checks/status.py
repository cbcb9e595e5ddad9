"""How a stack is: which parts run and do their work. What its pipeline does is in flow.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError, UnreachableHostError
from cvat_analytics.checks import flow, health, units, work
from cvat_analytics.checks.flow import Flow
from cvat_analytics.checks.health import Health, State
from cvat_analytics.checks.units import Unit
from cvat_analytics.config.endpoints import LOOPBACK, listening, trust, url

if TYPE_CHECKING:
    from cvat_analytics.config.deployed import Difference
    from cvat_analytics.config.inventory import Stack
    from cvat_analytics.config.settings import Settings
    from cvat_analytics.connect.access import Access
    from cvat_analytics.connect.clocks import Clock
    from cvat_analytics.connect.remote import ReachedHost
    from cvat_analytics.connect.volumes import Volume

_FULL = "takes nothing: its disk is nearly full, see the first line"


@dataclass(frozen=True)
class Part:
    """A part on a host. `problem` is empty, or says what is wrong, or soon will be, and what to do: a line each."""

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
    not_asked: Mapping[str, str] = field(default_factory=dict)
    """Of each host that could not be asked, or not all: the line that says why, and what to do."""
    clocks: Sequence[Clock] = field(default=())
    not_deployed: Sequence[Difference] = field(default=())
    """What the inventory has otherwise than it is deployed: all else here is about what is deployed."""
    volumes: Sequence[Volume] = field(default=())
    """The disks with the stack's data."""

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
        """Return whether everything does its work, or soon may, and ClickHouse takes what arrives."""
        return set(self.states.values()) <= {"running", "starting"} and not (self.flow and self.flow.refusals)


def of_hosts(stack: Stack, access: Access, hosts: Mapping[str, ReachedHost]) -> Report:
    """Return how a deployed stack is, as far as its hosts let us look."""
    names = list(stack.topology.settings)
    not_asked = dict(access.away)

    def look(name: str) -> Sequence[Part]:
        if name in hosts:
            try:
                return _of_host(stack, name, hosts[name], not_asked)
            except UnreachableHostError as error:
                not_asked[name] = str(error)
        settings = stack.topology.settings[name]
        return [
            _part(stack, name, settings, component, Health("not asked"))
            for component in stack.topology.components(name)
        ]

    with ThreadPoolExecutor(len(names) + 2) as pool:
        # before all else: what keeps a host busy makes its answer, and the comparison, less exact
        clocks = pool.submit(access.clocks)
        pipeline = pool.submit(_flow, access)
        parts = [part for parts in pool.map(look, names) for part in parts]
    store = stack.topology.clickhouse_host
    report = Report(parts, *pipeline.result())
    if report.flow is None and store in hosts and (planned := hosts[store].planned):
        # a deploy that was cut off may have moved ClickHouse
        report = Report(parts, *_flow(replace(access, clickhouse=planned.clickhouse)))
    if report.flow is None and store in hosts and store not in not_asked:
        try:
            hosts[store].ensure_connected()
        except UnreachableHostError as error:
            not_asked[store] = str(error)
    if report.flow is None and store in not_asked:
        report = Report(parts, None, [f"the pipeline cannot be looked at: host {store} has ClickHouse"])
    # with the settings, which an embedded stack that is down does without
    from cvat_analytics.config import deployed

    there = {name: host.deployed for name, host in hosts.items() if host.deployed}
    differences = deployed.differences(stack.topology, there)
    report = replace(report, not_asked=not_asked, clocks=clocks.result(), not_deployed=differences)
    return with_room(report, access.volumes())


def _of_host(stack: Stack, name: str, host: ReachedHost, not_asked: dict[str, str]) -> list[Part]:
    """Return a host's parts, each asked for itself, and put into `not_asked` why not all could be.

    Raises UnreachableHostError when the connection to the host is lost.
    """
    components = stack.topology.components(name)
    planned = stack.topology.settings[name]
    settings = host.deployed.settings if host.deployed else planned
    try:
        found = units.of(host.shell, components, settings)
    except UnreachableError as error:
        host.ensure_connected()
        not_asked[name] = str(error)
        found = dict.fromkeys(components, Unit(active=True))

    def look(component: str) -> Part:
        unit = found[component]
        if not unit.active and host.deployed and component not in host.deployed.components:
            return _part(stack, name, planned, component, Health("stopped", "it is not deployed yet"))
        if (
            unit.active
            and host.planned
            and not _answers(host.access, component)
            and _answers(host.planned, component)
        ):
            # a deploy that was cut off: its note is that of the one before
            arrived = work.proven(host.planned, component, unit)
            cut_off = (
                "it answers where the inventory has it, so a deploy was cut off: run `cvat-analytics deploy`"
            )
            how = replace(arrived, problem="; ".join(filter(None, (arrived.problem, cut_off))))
            return _part(stack, name, planned, component, how, unit.version)
        return _part(
            stack, name, settings, component, work.proven(host.access, component, unit), unit.version
        )

    with ThreadPoolExecutor(len(components)) as pool:
        parts = list(pool.map(look, found))
    if any(part.state not in ("running", "starting") for part in parts):
        host.ensure_connected()
    return parts


def _answers(access: Access, component: str) -> bool:
    return health.of(access, component).state != "not answering"


def _part(
    stack: Stack, host: str, settings: Settings, component: str, how: Health, version: str = ""
) -> Part:
    address = _shown(stack, host, component, settings)
    return Part(component, host, how.state, version, address, how.problem)


def _shown(stack: Stack, host: str, component: str, settings: Settings) -> str:
    """Return where a component is reached: the gateway where people open it, all others where they listen."""
    if component == "gateway":
        return settings.grafana_root_url
    address, port = listening(component, settings)
    tls = trust(component, settings, stack.authority.certificate_file) is not None
    if component == "clickhouse":
        there = replace(stack.topology, settings={**stack.topology.settings, host: settings})
        address = there.clickhouse_listen_addresses()[-1]
        if settings.clickhouse_tls and address != LOOPBACK:
            port, tls = settings.clickhouse_https_port, True
    return url(address, port, tls=tls)


def with_room(report: Report, volumes: Sequence[Volume]) -> Report:
    """Return `report` with the disks, and with what no longer takes anything for want of room as failing for that reason."""
    full = {(volume.host, name) for volume in volumes for name in volume.refuses}
    parts = [
        replace(part, state="failing", problem="\n".join([_FULL, *_beside(part)]))
        if (part.host, part.name) in full and part.state not in ("stopped", "not asked")
        else part
        for part in report.parts
    ]
    return replace(report, parts=parts, volumes=volumes)


def _beside(part: Part) -> list[str]:
    """Return what is wrong with the units beside `part`, which no full disk has done, and which it may need to go on."""
    return [line for line in part.problem.splitlines() if line.startswith(units.BESIDE)]


def with_flow(parts: Sequence[Part], access: Access) -> Report:
    """Return the report of these parts, with what ClickHouse knows of the pipeline if it can be asked."""
    return Report(parts, *_flow(access))


def _flow(access: Access) -> tuple[Flow | None, Sequence[str]]:
    """Return what ClickHouse knows of the pipeline, or why that is not known."""
    try:
        return flow.of(access), ()
    except CvatAnalyticsError as error:
        return None, [f"the pipeline cannot be looked at: {error}"]
