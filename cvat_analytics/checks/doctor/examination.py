"""Look at everything that can be known to be wrong with a stack, or about to be, and say it sorted by weight."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.checks import causes
from cvat_analytics.checks.bundle import contents
from cvat_analytics.checks.doctor import known_faults, machine, of_machine, of_status, of_store
from cvat_analytics.checks.doctor.machine import Machine
from cvat_analytics.checks.doctor.of_store import Forecast
from cvat_analytics.checks.finding import Finding, by_weight
from cvat_analytics.checks.smoke import Smoke
from cvat_analytics.config import exposure
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.connect.http import http_client
from cvat_analytics.gateway import cvat_env

if TYPE_CHECKING:
    from cvat_analytics.checks.status import Report
    from cvat_analytics.config.settings import Settings
    from cvat_analytics.config.topology import Topology
    from cvat_analytics.connect.access import Access
    from cvat_analytics.connect.remote import ReachedHost
    from cvat_analytics.store.rights import Rows

_STORE_SECONDS = 30
"""Seconds for an answer of ClickHouse's."""


@dataclass(frozen=True)
class Place:
    """A host of the stack: what runs there, with which settings, and how much memory it has (0: not known)."""

    components: tuple[str, ...]
    settings: Settings
    memory: int = 0
    machine: Machine | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong, the heaviest first; when disks will be full; and what could not be looked at, with why."""

    findings: Sequence[Finding]
    forecasts: Sequence[Forecast] = ()
    unknown: Sequence[str] = ()
    versions: Sequence[tuple[str, str, str]] = field(default=())
    """Host, part, version."""

    @property
    def worst(self) -> str:
        """Return the weight of the heaviest; empty where nothing is wrong."""
        return self.findings[0].weight if self.findings else ""


def places(hosts: Mapping[str, ReachedHost], topology: Topology, unknown: list[str]) -> dict[str, Place]:
    """Return how each host is that can be asked, all asked at once; why one does not say goes into `unknown`."""

    def look(name: str) -> Place:
        host = hosts[name]
        components, settings = topology.components(name), topology.settings[name]
        if host.deployed:
            components, settings = host.deployed.components, host.deployed.settings
        try:
            found = machine.ask(
                host.shell,
                components,
                of_machine.routes(topology, name, settings) if name in topology.settings else [],
                of_machine.certificates(components, settings),
            )
        except UnreachableError as error:
            unknown.append(f"host {name}: {str(error).removeprefix(f'host {name}: ')}")
            return Place(components, settings)
        return Place(components, settings, found.memory, found)

    if not hosts:
        return {}
    with ThreadPoolExecutor(len(hosts)) as pool:
        return dict(zip(hosts, pool.map(look, hosts), strict=True))


def of(
    report: Report,
    access: Access,
    topology: Topology,
    places: Mapping[str, Place],
    unknown: Iterable[str] = (),
) -> Diagnosis:
    """Return what is wrong with a stack of which `status` says `report`."""
    not_known = list(unknown)
    found: list[Finding] = []
    forecasts: list[Forecast] = []
    store = topology.clickhouse_host

    def tried(what: str, check: Callable[[], Iterable[Finding]]) -> None:
        try:
            found.extend(check())
        except CvatAnalyticsError as error:
            not_known.append(f"{what}: {error}")

    tried("status", lambda: of_status.findings(report))
    for name, place in places.items():
        tried(f"host {name}", partial(_of_place, name, place, topology))
        not_known.extend(_not_said(name, place))
    tried("open ports", lambda: _open(topology))
    versions = _versions(report, access, places)
    tried("versions", lambda: known_faults.findings(versions))
    if report.states.get("clickhouse") in ("running", "starting", "failing"):

        def disks() -> Iterable[Finding]:
            forecasts.extend(of_store.forecasts(_asking(access), store))
            return of_store.disks(forecasts)

        tried("disk forecast", disks)
        tried("dead letters", lambda: of_store.dead_letters(_asking(access)))
        tried("schema and logins", lambda: _smoke(access))
        if report.flow:
            flow = report.flow
            tried("silence", lambda: of_store.silence(_asking(access), flow.last_event))
        if at := places.get(store):
            memory, settings = at.memory, at.settings
            tried("memory", lambda: of_store.memory_in_use(_asking(access), settings, memory, store))
    tried(
        "CVAT's side",
        lambda: _cvat_side(report, topology, embedded=not any(each.machine for each in places.values())),
    )
    return Diagnosis(by_weight(found), forecasts, not_known, versions)


def _of_place(name: str, place: Place, topology: Topology) -> Iterator[Finding]:
    if place.machine:
        outside = {part: tuple(addresses) for part, addresses in exposure.outside(topology, name)}
        return of_machine.findings(name, place.machine, place.components, place.settings, outside)
    return of_machine.fit(name, place.memory, place.components, place.settings) if place.memory else iter(())


def _not_said(name: str, place: Place) -> Iterator[str]:
    """Yield what a host was asked and has not said in time: it is not known, and not well."""
    for unit, state in place.machine.units.items() if place.machine else ():
        if state.killed_for_memory is None:
            yield f"host {name}: whether {unit} was killed for want of memory, as its journal takes too long: `journalctl -u {unit} -g oom-kill` there"


def asked(access: Access) -> dict[str, Any]:
    """Return what a bundle has of the store; where it cannot be asked, why."""
    try:
        return contents.asked(_asking(access))
    except CvatAnalyticsError as error:
        return {"problem": str(error)}


@explained(STORE)
def _asking(access: Access) -> Rows:
    client = access.client(timeout=_STORE_SECONDS)
    client.database = access.database

    @explained(STORE)
    def rows(query: str) -> Sequence[Sequence[Any]]:
        return client.query(query, tz_mode="aware").result_rows

    return rows


def _smoke(access: Access) -> Iterator[Finding]:
    """Yield what of the smoke test fails that only looks; whether parts answer `status` has said."""
    for result in causes.results(Smoke(access, "").looks(), _STORE_SECONDS):
        if result.passed is False and result.name.startswith(("schema", "login")):
            why, _, advice = result.detail.partition(". What to do: ")
            yield Finding("now", "smoke", f"{result.name}: {why}", advice, own=result.code)


def _open(topology: Topology) -> Iterator[Finding]:
    """Yield what listens on the network with nothing to keep strangers out, and what somebody has let."""
    try:
        exposure.refuse_open(topology, "")
    except InputError as error:
        for line in str(error).splitlines():
            if line.startswith(": host "):
                yield Finding(
                    "now", "open-port", line.removeprefix(": "), "docs/how-to/turn-on-the-firewall.md"
                )
    for host, settings in topology.settings.items():
        if parts := [
            part
            for part, _ in exposure.outside(topology, host)
            if part in settings.open_to_network and not settings.firewall
        ]:
            yield Finding(
                "know",
                "open-port",
                f"open to the network by 'open_to_network': {', '.join(parts)}",
                "docs/how-to/turn-on-the-firewall.md",
                host=host,
            )


def _versions(report: Report, access: Access, places: Mapping[str, Place]) -> list[tuple[str, str, str]]:
    found = [(part.host, part.name, part.version) for part in report.parts if part.version]
    found += [
        (name, "plugin", place.machine.plugin)
        for name, place in places.items()
        if place.machine and place.machine.plugin
    ]
    if access.asked_cvat and (version := _of_cvat(access.asked_cvat)):
        found.append(("", "cvat", version))
    return found


def _of_cvat(url: str) -> str:
    """Return CVAT's version as CVAT says it to everybody; empty where this machine does not reach it."""
    import httpx

    try:
        with http_client(url, timeout=5) as asking:
            answer = asking.get("/api/server/about", headers={"Accept": "application/vnd.cvat+json"})
            return str(answer.json()["version"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return ""


def _cvat_side(report: Report, topology: Topology, *, embedded: bool) -> Iterator[Finding]:
    """Yield what keeps CVAT from reaching the stack, as far as this side can know it; nothing while its server is heard."""
    heard = report.flow.sources.last.get("server") if report.flow else None
    if embedded or (heard and heard > datetime.now(UTC) - timedelta(days=1)):
        return
    env = cvat_env.environment(topology)
    for note in filter(None, (env.refused, *env.notes[:2])):
        yield Finding("know", "cvat-side", note, command=("cvat-env",))
    host, port = env.values["DJANGO_LOG_SERVER_HOST"], env.values["DJANGO_LOG_SERVER_PORT"]
    for address in env.backend:
        try:
            socket.getaddrinfo(address, None)
        except OSError:
            yield Finding(
                "soon",
                "cvat-side",
                f"no address is known here for the name {address}, which CVAT is told",
                f"`getent ahosts {address}` on CVAT's host",
            )
    if heard is None:
        yield Finding(
            "know",
            "cvat-side",
            "CVAT's server has not been heard in 30 days",
            f"`curl -sS http://{host}:{port}/ping` on CVAT's host says pong where the way is open",
        )
