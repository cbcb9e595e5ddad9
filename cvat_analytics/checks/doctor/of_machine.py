"""What is wrong with a host: what listens where it should not, what was changed by hand, what did not run, what does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cvat_analytics.checks.doctor.machine import Machine, Route
from cvat_analytics.checks.finding import Finding
from cvat_analytics.config.endpoints import listening
from cvat_analytics.connect.volumes import size
from cvat_analytics.rendering import memory, tls
from cvat_analytics.rendering.files import BACKUP, BACKUP_VERIFY, UNITS, Paths

if TYPE_CHECKING:
    from cvat_analytics.config.settings import Settings
    from cvat_analytics.config.topology import Topology

_PROGRAMS = ("clickhouse", "vector", "grafana", "gpx_clickhouse")
"""Programs of the stack that listen nowhere but where the settings have them. Python and nginx may serve others, too."""
_OTHERS_MEMORY = 2**29
"""What Grafana, the events API and the system take beside ClickHouse and Vector (docs/how-to/a-small-host.md)."""
_SAID = {"cvat-analytics-journal", BACKUP, BACKUP_VERIFY, *UNITS.values()}
"""Units of which `status` says already whether they are on, and have failed."""
_LATE = 3600.0
"""After how many seconds past its moment a timer has not run."""
_DAY = 86400
_BY_HAND = "`cvat-analytics deploy --dry` shows what a deploy would put back"


def routes(topology: Topology, host: str, settings: Settings) -> list[Route]:
    """Return the connections that the parts of `host` need to others."""
    components = topology.components(host)
    found = []
    endpoint = topology.clickhouse_endpoint(host)
    if {"vector", "events_api"} & set(components):
        found.append(Route("ClickHouse", endpoint.address, endpoint.http_port))
    if "grafana" in components:
        found.append(Route("ClickHouse", endpoint.address, endpoint.native_port))
        if settings.alerts and settings.smtp_host:
            name, _, port = settings.smtp_host.rpartition(":")
            found.append(Route("the mail server (setting 'smtp_host')", name.strip("[]"), int(port)))
        if settings.alerts and settings.alert_webhook_url:
            found.append(_to_url("the alerts' webhook", settings.alert_webhook_url))
    if "events_api" in components:
        if settings.asked_cvat:
            found.append(_to_url("CVAT (setting 'cvat_server_url', or else 'cvat_url')", settings.asked_cvat))
        ingest = topology.groups["vector"][0]
        if ingest != host and host not in topology.groups["vector"]:
            found.append(
                Route("Vector", str(topology.settings[ingest].address), topology.settings[ingest].vector_port)
            )
    return found


def _to_url(to: str, url: str) -> Route:
    parts = urlsplit(url)
    return Route(to, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


def certificates(components: tuple[str, ...], settings: Settings) -> list[str]:
    """Return the files on a host that hold a certificate which a part shows, or trusts."""
    paths = Paths()
    shown = {
        "clickhouse": [tls.clickhouse_files(paths)[0]] if settings.clickhouse_tls else [],
        "vector": [f"{paths.secrets}/{UNITS['vector']}/tls_certificate"]
        if settings.vector_speaks_tls
        else [],
        "grafana": [f"{paths.secrets}/{UNITS['grafana']}/tls_certificate"] if settings.grafana_tls else [],
        "gateway": [f"{paths.gateway_config}/certificate.pem"],
    }
    return [paths.authority, *(file for component in components for file in shown.get(component, ()))]


def findings(
    host: str,
    machine: Machine,
    components: tuple[str, ...],
    settings: Settings,
    outside: Mapping[str, tuple[str, ...]],
) -> Iterator[Finding]:
    """Yield what is wrong with `host`. `outside`: of each part that may be reached from elsewhere, the addresses on which it listens."""
    yield from _ports(host, machine, components, settings, outside)
    yield from _timers(host, machine)
    yield from _changed(host, machine, components, settings)
    yield from _fit(host, machine, components, settings)
    yield from _certificates(host, machine)
    for route in machine.routes:
        if route.outcome not in ("ok", ""):
            why = {
                "no name": f"no address is known for the name {route.address}",
                "refused": f"{route.address} refuses connections to port {route.port}",
                "silent": f"{route.address} does not answer at port {route.port}: a firewall, or no route",
            }[route.outcome]
            what = (
                f"`getent ahosts {route.address}`"
                if route.outcome == "no name"
                else f"`ip route get {route.address}`"
            )
            yield Finding(
                "now",
                "route",
                f"the way from {host} to {route.to} is closed: {why}",
                f"{what} on {host}",
                host=host,
            )


def _ports(
    host: str,
    machine: Machine,
    components: tuple[str, ...],
    settings: Settings,
    outside: Mapping[str, tuple[str, ...]],
) -> Iterator[Finding]:
    """Yield what takes connections from elsewhere although the settings have it for this host alone."""
    of_port = {
        port: (component, name)
        for component in components
        for name, port in settings.listening_ports()[component].items()
    }
    said = set()
    for listener in machine.listeners:
        if not listener.is_outside:
            continue
        component, name = of_port.get(listener.port, ("", ""))
        if component == "gateway" or (
            component and component in outside and name not in ("vector_large_port", "vector_metrics_port")
        ):
            continue
        if not component and not listener.program.startswith(_PROGRAMS):
            continue
        key = (listener.port, listener.address)
        if key in said:
            continue
        said.add(key)
        what = f"port {listener.port} ({name or listener.program})"
        expected = (
            f"the settings have it on {listening(component, settings)[0]}"
            if component
            else "no setting asks for it"
        )
        yield Finding(
            "now",
            "open-port",
            f"{what} takes connections on {listener.address}, and {expected}",
            _BY_HAND if component else f"`ss -Hltnp 'sport = {listener.port}'` on {host}; docs/how-to/turn-on-the-firewall.md",
            host=host,
        )  # fmt: skip


def _timers(host: str, machine: Machine) -> Iterator[Finding]:
    for timer in machine.timers:
        unit = timer.name.removesuffix(".timer")
        if (timer.active, timer.enabled) != ("active", "enabled") and unit not in _SAID:
            yield Finding(
                "now",
                "timer",
                f"{timer.name} is {timer.active}, {timer.enabled}",
                f"`systemctl enable --now {timer.name}`",
                host=host,
            )
        elif timer.active == "active" and timer.due and machine.now > timer.due + _LATE:
            yield Finding(
                "soon",
                "timer",
                f"{timer.name} was due at {_clock(timer.due)} and has not run",
                f"`journalctl -u {unit}`",
                host=host,
            )
        elif timer.active == "active" and timer.last and not timer.due and machine.now > timer.last + _DAY:
            yield Finding(
                "soon",
                "timer",
                f"{timer.name} has not run since {_clock(timer.last)}",
                f"`systemctl restart {timer.name}`",
                host=host,
            )
    for unit in machine.failed:
        if unit.removesuffix(".service") not in _SAID:
            yield Finding("now", "unit", f"{unit} has failed", f"`journalctl -u {unit}`", host=host)


def _changed(
    host: str, machine: Machine, components: tuple[str, ...], settings: Settings
) -> Iterator[Finding]:
    """Yield what is not as the last deploy has left it."""
    pinned = {
        "clickhouse": dict.fromkeys(
            ("clickhouse-common-static", "clickhouse-server", "clickhouse-client"),
            settings.clickhouse_version,
        ),
        "vector": {"vector": settings.vector_version},
        "grafana": {"grafana": settings.grafana_version},
    }
    for component in components:
        for name, version in pinned.get(component, {}).items():
            there = machine.packages.get(name, "")
            if there != version:
                found = f"has version {there}" if there else "is not installed"
                yield Finding(
                    "soon",
                    "package",
                    f"package {name} {found}, and {version} is what was deployed",
                    _BY_HAND,
                    host=host,
                )
    if "grafana" in components and machine.plugin and machine.plugin != settings.grafana_plugin_version:
        yield Finding(
            "soon",
            "package",
            f"Grafana's ClickHouse plugin has version {machine.plugin}, and {settings.grafana_plugin_version} is what was deployed",
            _BY_HAND,
            host=host,
        )
    for state in machine.files or ():
        if not state.found:
            yield Finding("soon", "file", f"{state.path} is gone", _BY_HAND, host=host)
        elif state.found != state.left:
            before, after = state.left.split(), state.found.split()
            what = (
                "was changed by hand"
                if before[0] != after[0]
                else f"has mode and owner {' '.join(after[1:])}, was left with {' '.join(before[1:])}"
            )
            yield Finding(
                "soon", "file", f"{state.path} {what}: the next deploy puts it back", _BY_HAND, host=host
            )
    for name, unit in machine.units.items():
        part = name.removesuffix(".service")
        if unit.enabled not in ("enabled", "enabled-runtime"):
            yield Finding(
                "soon",
                "unit",
                f"{part} is {unit.enabled}: it will not start with the host",
                f"`systemctl enable {part}`",
                host=host,
            )
        if unit.needs_reload:
            yield Finding(
                "soon",
                "unit",
                f"{part}'s unit was changed on disk, and systemd goes by the old one until it is told",
                "`systemctl daemon-reload`, then a restart",
                host=host,
            )
        if others := [
            path
            for path in unit.drop_ins
            if not path.endswith("/cvat-analytics.conf") and path.startswith("/etc/")
        ]:
            yield Finding(
                "know",
                "unit",
                f"{part} has settings of its own in {', '.join(others)}",
                f"`systemctl cat {part}`",
                host=host,
            )
        if unit.killed_for_memory:
            yield Finding(
                "now",
                "memory",
                f"the kernel has killed {part} for want of memory within a week",
                "docs/how-to/a-small-host.md",
                host=host,
            )
    if machine.files is None and machine.now:
        yield Finding(
            "know",
            "file",
            "what a deploy has written here is not noted yet, so that changes by hand are not seen",
            command=("deploy",),
            host=host,
        )


def _fit(host: str, machine: Machine, components: tuple[str, ...], settings: Settings) -> Iterator[Finding]:
    """Yield which limits the host's memory cannot keep."""
    if machine.memory:
        yield from fit(host, machine.memory, components, settings)
    if machine.swap and "clickhouse" in components:
        yield Finding(
            "know",
            "memory",
            f"the host has {size(machine.swap)} of swap: a ClickHouse that is swapped out answers too late for everybody",
            "`swapoff -a`, and its line in /etc/fstab",
            host=host,
        )


def fit(host: str, bytes_: int, components: tuple[str, ...], settings: Settings) -> Iterator[Finding]:
    """Yield which limits `bytes_` of memory cannot keep."""
    limits = memory.profile(settings, bytes_)
    taken = {"clickhouse": limits.server_limit, "vector": limits.vector_limit}
    wanted = sum(taken.get(component, 0) for component in components) + _OTHERS_MEMORY
    if "clickhouse" in components and wanted > bytes_:
        others = f", Vector {size(limits.vector_limit)}" if "vector" in components else ""
        yield Finding(
            "soon",
            "memory",
            f"ClickHouse may take {size(limits.server_limit)}{others}, and the host has {size(bytes_)}: the kernel will kill one of them",
            "the settings 'clickhouse_memory_limit' and 'memory_profile' (docs/how-to/a-small-host.md)",
            host=host,
        )


def _certificates(host: str, machine: Machine) -> Iterator[Finding]:
    if not machine.certificates:
        return
    from cryptography import x509

    from cvat_analytics.credentials.certificates import RENEW_BEFORE

    for path, text in machine.certificates.items():
        try:
            certificate = x509.load_pem_x509_certificate(text.encode())
        except ValueError:
            yield Finding("soon", "certificate", f"{path} holds no certificate", _BY_HAND, host=host)
            continue
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        left = ends - datetime.fromtimestamp(machine.now, UTC)
        if left < min(RENEW_BEFORE, (ends - begins) / 4):
            over = left.total_seconds() < 0
            when = (
                f"has ended on {ends:%Y-%m-%d}" if over else f"ends on {ends:%Y-%m-%d} (in {left.days} days)"
            )
            yield Finding(
                "now" if over else "soon",
                "certificate",
                f"the certificate {path} {when}",
                "docs/how-to/certificates.md",
                host=host,
            )


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
