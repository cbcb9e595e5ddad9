"""How a stack is: which parts run and do their work. What its pipeline does is in flow.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError, UnreachableHostError
from cvat_analytics.checks import backups, flow, health, units, work
from cvat_analytics.checks.backups import Backups
from cvat_analytics.checks.flow import Flow
from cvat_analytics.checks.health import Health, State
from cvat_analytics.checks.units import Unit
from cvat_analytics.config.endpoints import LOOPBACK, listening, trust, url
from cvat_analytics.connect.volumes import RECIPE, size

if TYPE_CHECKING:
    from cvat_analytics.config.deployed import Difference
    from cvat_analytics.config.inventory import Stack
    from cvat_analytics.config.settings import Settings
    from cvat_analytics.connect.access import Access
    from cvat_analytics.connect.clocks import Clock
    from cvat_analytics.connect.remote import ReachedHost
    from cvat_analytics.connect.volumes import Volume


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
    left: Mapping[str, str] = field(default_factory=dict)
    """The hosts that have left the inventory, and still have what deploys have made: of each the line that says so, and what to do."""
    volumes: Sequence[Volume] = field(default=())
    """The disks with the stack's data."""
    backups: Backups | None = None
    """None where nothing could be asked."""

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
        """Return whether everything does its work, or soon may, and ClickHouse takes what arrives.

        A pipeline that could not be looked at is not fine, but for that of a ClickHouse that has just been started.
        """
        states = self.states
        takes = not self.flow.refusals if self.flow else states.get("clickhouse") == "starting"
        return takes and set(states.values()) <= {"running", "starting"}


def of_hosts(stack: Stack, access: Access, hosts: Mapping[str, ReachedHost]) -> Report:
    """Return how a deployed stack is, as far as its hosts let us look."""
    names = list(stack.topology.settings)
    not_asked = dict(access.away)

    def look(name: str) -> Sequence[Part]:
        if name in hosts:
            try:
                return _of_host(stack, name, hosts[name], not_asked)
            except UnreachableHostError as error:
                not_asked[name] = error.told
        settings = stack.topology.settings[name]
        return [
            _part(stack, name, settings, component, Health("not asked"))
            for component in stack.topology.components(name)
        ]

    with ThreadPoolExecutor(len(names) + 4) as pool:
        # before all else: what keeps a host busy makes its answer, and the comparison, less exact
        clocks = pool.submit(access.clocks)
        volumes = pool.submit(access.volumes)
        pipeline = pool.submit(_flow, access)
        made = pool.submit(_backups, access, hosts)
        parts = [part for parts in pool.map(look, names) for part in parts]
    store = stack.topology.clickhouse_host
    report = Report(parts, *pipeline.result())
    if report.flow is None and store in hosts and (planned := hosts[store].planned):
        # a deploy that was cut off may have moved ClickHouse
        moved = Report(parts, *_flow(replace(access, clickhouse=planned.clickhouse)))
        report = moved if moved.flow else report
    if report.flow is None and store in hosts and store not in not_asked:
        try:
            hosts[store].ensure_connected()
        except UnreachableHostError as error:
            not_asked[store] = error.told
    if report.flow is None and store in not_asked:
        report = Report(parts, None, [f"the pipeline cannot be looked at: host {store} has ClickHouse"])
    # with the settings, which an embedded stack that is down does without
    from cvat_analytics.config import deployed

    there = {name: host.deployed for name, host in hosts.items() if host.deployed}
    differences = deployed.differences(stack.topology, there)
    gone = deployed.left(stack.hosts, [each.hosts for each in there.values()])
    report = replace(
        report,
        not_asked=not_asked,
        clocks=clocks.result(),
        not_deployed=differences,
        left={name: deployed.has_left(name) for name in gone},
        backups=made.result(),
    )
    return with_room(report, volumes.result())


def _backups(access: Access, hosts: Mapping[str, ReachedHost]) -> Backups:
    """Return how it is with backups, as far as ClickHouse and the hosts say it."""
    found = backups.of(access)
    for host in hosts.values():
        if not host.deployed:
            continue
        try:
            found = backups.with_host(found, host.shell, host.deployed.settings, host.deployed.components)
        except UnreachableError:
            continue  # that it does not answer is said of its parts
    return found


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
        not_asked[name] = error.told
        found = dict.fromkeys(components, Unit(active=True))

    def look(component: str) -> Part:
        unit = found[component]
        if not unit.active and host.deployed and component not in host.deployed.components:
            return _part(stack, name, planned, component, Health("stopped", "it is not deployed yet"))
        if (
            unit.active
            and host.planned
            and _way(stack, component, planned) != _way(stack, component, settings)
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


def _way(stack: Stack, component: str, settings: Settings) -> object:
    """Return where and how a component is reached: only what differs in that has been moved by a deploy."""
    return listening(component, settings), trust(component, settings, stack.authority.certificate_file)


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
    full = {(volume.host, name): volume for volume in volumes for name in volume.refuses}

    def judged(part: Part) -> Part:
        volume = full.get((part.host, part.name))
        if volume is None or part.state in ("stopped", "not asked"):
            return part
        needed = volume.opens_at if part.name == "vector" else volume.reserve
        why = (
            f"takes nothing: its disk ({volume.directory}) has {size(volume.free)} of {size(volume.size)} free, and {size(needed)} are "
            f"needed: make room ({RECIPE})"
        )
        state: State = "failing"
        others = part.problem.splitlines()
        if part.state == "not answering":
            if part.name == "clickhouse":  # which answers without room, too: something else is wrong
                state = "not answering"
            else:  # that is what the full disk has done
                others = others[1:]
        return replace(part, state=state, problem="\n".join([why, *others]))

    return replace(report, parts=[judged(part) for part in report.parts], volumes=volumes)


def with_flow(parts: Sequence[Part], access: Access) -> Report:
    """Return the report of these parts, with what ClickHouse knows of the pipeline if it can be asked."""
    return Report(parts, *_flow(access), backups=backups.of(access))


def _flow(access: Access) -> tuple[Flow | None, Sequence[str]]:
    """Return what ClickHouse knows of the pipeline, or why that is not known."""
    try:
        return flow.of(access), ()
    except CvatAnalyticsError as error:
        return None, [f"the pipeline cannot be looked at: {error}"]
