"""Which component runs on which host, and how the others reach it.

Built from an inventory (or from the embedded stack, which is one host). Refuses what cannot work before any host
is touched.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config import query_limits
from cvat_analytics.config.endpoints import LOOPBACK, Trust
from cvat_analytics.config.settings import COMPONENTS, GROUPS, Settings
from cvat_analytics.config.validation import validate


@dataclass(frozen=True)
class ClickHouseEndpoint:
    """Where one host reaches ClickHouse: on its own host without TLS, from another one as `clickhouse_tls` says."""

    address: str
    http_port: int
    native_port: int
    tls: bool

    @property
    def scheme(self) -> str:
        """Return the scheme of its HTTP interface."""
        return "https" if self.tls else "http"


@dataclass(frozen=True)
class Topology:
    """The hosts of each component, and each host's settings."""

    groups: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, Settings]

    @property
    def clickhouse_host(self) -> str:
        """Return the one host that holds the data."""
        return self.groups["clickhouse"][0]

    def components(self, host: str) -> tuple[str, ...]:
        """Return the components that run on `host`."""
        return tuple(group for group in COMPONENTS if host in self.groups[group])

    def clickhouse_address(self, host: str) -> str:
        """Return the address at which `host` reaches ClickHouse."""
        if host == self.clickhouse_host:
            return LOOPBACK
        return str(self.settings[self.clickhouse_host].address)

    def clickhouse_endpoint(self, host: str) -> ClickHouseEndpoint:
        """Return where `host` reaches ClickHouse."""
        settings = self.settings[self.clickhouse_host]
        if host == self.clickhouse_host or not settings.clickhouse_tls:
            ports = settings.clickhouse_http_port, settings.clickhouse_native_port
            return ClickHouseEndpoint(self.clickhouse_address(host), *ports, tls=False)
        ports = settings.clickhouse_https_port, settings.clickhouse_native_tls_port
        return ClickHouseEndpoint(self.clickhouse_address(host), *ports, tls=True)

    @property
    def uses_authority(self) -> bool:
        """Return whether something that the stack's own hosts connect to shows a certificate of its own authority."""
        return any(
            settings.tls_by_authority & set(self.components(host)) for host, settings in self.settings.items()
        )

    @property
    def issues_certificates(self) -> bool:
        """Return whether any part of the stack, the gateway among them, shows a certificate of its own authority."""
        gateways = (self.settings[host] for host in self.groups["gateway"])
        return self.uses_authority or any(settings.gateway_certificate is None for settings in gateways)

    def clickhouse_listen_addresses(self) -> tuple[str, ...]:
        """Return where ClickHouse listens: loopback, what the settings ask for, and its own address if others need it."""
        settings = self.settings[self.clickhouse_host]
        addresses = [LOOPBACK, *settings.clickhouse_listen_addresses]
        if self.remote_readers():
            addresses.append(str(settings.address))
        return tuple(dict.fromkeys(addresses))

    def max_queries(self, user: str) -> int:
        """Return how many queries a host of the group `user` may have run at the same time in ClickHouse, as the user of that name."""
        most = int(getattr(self.settings[self.clickhouse_host], f"{user}_max_queries"))
        return most // max(1, len(self.groups[user]))

    def client_addresses(self, group: str) -> tuple[str, ...]:
        """Return the addresses from which the component `group` logs in to ClickHouse."""
        return tuple(
            dict.fromkeys(
                LOOPBACK if host == self.clickhouse_host else str(self.settings[host].address)
                for host in self.groups[group]
            )
        )

    def remote_readers(self) -> tuple[str, ...]:
        """Return the hosts that reach ClickHouse over the network."""
        hosts = [host for group in COMPONENTS for host in self.groups[group] if host != self.clickhouse_host]
        return tuple(dict.fromkeys(hosts))


def clickhouse_from(host: str, topology: Topology, authority: Path) -> tuple[tuple[str, int], Trust | None]:
    """Return where `host` reaches ClickHouse's HTTP interface, and how the certificate that it sees there is checked."""
    endpoint = topology.clickhouse_endpoint(host)
    return (endpoint.address, endpoint.http_port), Trust(
        authority, endpoint.address
    ) if endpoint.tls else None


def build(
    groups: Mapping[str, Sequence[str]], values: Mapping[str, Mapping[str, Any]], *, where: str
) -> Topology:
    """Return the topology of `groups` (component to hosts) with each host's setting `values`.

    `where` names the inventory in messages. Raises InputError naming every mistake, one line each.
    """
    mistakes = []
    for group in GROUPS:
        if not groups.get(group):
            mistakes.append(f"{where}: the group {group!r} has no host: put at least one there")
    if len(groups.get("clickhouse", ())) > 1:
        mistakes.append(
            f"{where}: the group 'clickhouse' has {len(groups['clickhouse'])} hosts: this stack keeps its data on exactly one"
        )
    settings = {}
    code = Code.GROUPS_WRONG
    messages: dict[str, None] = {}
    for host in dict.fromkeys(host for group in COMPONENTS for host in groups.get(group, ())):
        try:
            settings[host] = validate(values.get(host, {}), where=where)
        except InputError as error:
            code = error.code
            messages |= dict.fromkeys(str(error).splitlines())
    if mistakes or messages:
        raise InputError(code, "\n".join([*mistakes, *messages]))
    topology = Topology({group: tuple(groups.get(group, ())) for group in COMPONENTS}, settings)
    mistakes = [
        f"{where}: {mistake}"
        for mistake in [
            *_port_conflicts(topology),
            *_missing_addresses(topology),
            *_misplaced_gateways(topology),
            *_unguarded_grafanas(topology),
            *_unverifiable_address(topology),
            *_shared_limits(topology),
            *_unshared_backups(topology),
        ]
    ]
    if mistakes:
        raise InputError(Code.SETTINGS_CONFLICT, "\n".join(mistakes))
    return topology


def _port_conflicts(topology: Topology) -> list[str]:
    mistakes = []
    for host, settings in topology.settings.items():
        taken: dict[int, str] = {}
        for component in topology.components(host):
            for name, port in settings.listening_ports()[component].items():
                if port in taken:
                    mistakes.append(
                        f"setting {name!r}: port {port} of host {host} is already used by {taken[port]!r}; give each its own"
                    )
                taken.setdefault(port, name)
    return mistakes


def _missing_addresses(topology: Topology) -> list[str]:
    remote = topology.remote_readers()
    if not remote:
        return []
    mistakes = []
    for host in (topology.clickhouse_host, *remote):
        address = topology.settings[host].address
        if address is None or ipaddress.ip_address(address).is_loopback:
            mistakes.append(
                f"setting 'address' of host {host}: needed because the stack is on several hosts; give the address at which the others reach it"
            )
    return mistakes


def _shared_limits(topology: Topology) -> list[str]:
    """Return whose limit of queries is too small for the hosts that share it."""
    mistakes = []
    for user, least in query_limits.LEAST.items():
        hosts = len(topology.groups[user])
        most = int(getattr(topology.settings[topology.clickhouse_host], f"{user}_max_queries"))
        if most < least * hosts:
            mistakes.append(
                f"setting '{user}_max_queries' of host {topology.clickhouse_host}: the {hosts} hosts of the group {user!r} share it, and each "
                f"needs {least}; set it to {least * hosts} or more (got {most})"
            )
    return mistakes


def _unshared_backups(topology: Topology) -> list[str]:
    """Return why the hosts of the stack cannot make one backup together."""
    targets = {host: settings.backup_target for host, settings in topology.settings.items()}
    if len(set(targets.values())) > 1:
        named = ", ".join(f"{target or 'none'} of {host}" for host, target in targets.items())
        return [
            f"setting 'backup_target': all hosts of a stack make one backup together; give it once, in group_data/all.py (got {named})"
        ]
    (target,) = set(targets.values())
    if target.startswith("/") and len(targets) > 1:
        return [
            f"setting 'backup_target': {target} is a directory of each host's own, and the stack is on {len(targets)} hosts; "
            "give a place that all reach, 'sftp:user@host:/path' or 's3:https://host/bucket'"
        ]
    return []


def _misplaced_gateways(topology: Topology) -> list[str]:
    """Return why a gateway cannot work where it is: what it guards listens on its own host only."""
    return [
        f"host {host}: is in the group 'gateway' but not in {group!r}: Grafana and the events API listen on the gateway's own host only; put it there too"
        for host in topology.groups["gateway"]
        for group in ("grafana", "events_api")
        if host not in topology.groups[group]
    ]


def _unguarded_grafanas(topology: Topology) -> list[str]:
    """Return why a gateway cannot reach Grafana as the only one whom that believes.

    The gateway speaks plain HTTP to it, from an address of loopback that nobody else has; of IPv6 there is only one.
    """
    mistakes = []
    for host in topology.groups["gateway"]:
        settings = topology.settings[host]
        if settings.grafana_tls:
            mistakes.append(
                f"setting 'grafana_tls' of host {host}: the gateway on that host speaks TLS already and reaches Grafana on loopback; leave it False there"
            )
        if ":" in settings.grafana_listen_address:
            mistakes.append(
                f"setting 'grafana_listen_address' of host {host}: behind the gateway on that host Grafana cannot listen on IPv6, where it could "
                f"not tell the gateway from itself; leave it {LOOPBACK} there"
            )
    return mistakes


def _unverifiable_address(topology: Topology) -> list[str]:
    """Return why Vector would never deliver to a ClickHouse that it reaches through TLS at an IPv6 address.

    It takes the address from its URL with the brackets, and no certificate has such a name (hyper-openssl, `HttpsConnector::call`).
    """
    host = topology.clickhouse_host
    settings = topology.settings[host]
    apart = any(each != host for each in topology.groups["vector"])
    if not settings.clickhouse_tls or not apart or ":" not in str(settings.address):
        return []
    return [
        f"setting 'address' of host {host}: through TLS ('clickhouse_tls') Vector verifies no IPv6 address; give the host's IPv4 address, "
        "or put Vector on the same host"
    ]
