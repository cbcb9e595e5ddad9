"""All that a template may use: one host of the stack, seen from where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cvat_analytics.config import limits, query_limits
from cvat_analytics.config.endpoints import LOOPBACK
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.topology import Topology
from cvat_analytics.credentials.secrets import ACCEPTED, NAMES, Secrets
from cvat_analytics.rendering import alerts, memory
from cvat_analytics.rendering.files import Paths
from cvat_analytics.store import rights

if TYPE_CHECKING:
    from cvat_analytics.credentials.certificates import Authority, Pair

DEAD_LETTER_BUFFER_BYTES = limits.SMALLEST_BUFFER
"""The disk buffer of dead letters: the smallest one that Vector takes."""

GATEWAY_SOURCE = "127.0.0.2"
"""From where the gateway connects to Grafana, which believes nobody else about who a visitor is."""


@dataclass(frozen=True)
class Context:
    """All that a template may use."""

    host: str
    topology: Topology
    secrets: Secrets
    paths: Paths = field(default_factory=Paths)
    memory_bytes: int = 4 * 2**30
    """The host's memory, from which ClickHouse's profile is chosen."""
    lowers_nice: bool = True
    """Whether the host's kernel lets a program with CAP_SYS_NICE use it."""
    authority: Authority | None = None
    """What signs certificates; None where nothing needs one, as in the embedded stack."""
    former_vector: bool = False
    """Whether a Vector may still be at work that an earlier version has configured, and needs the rights of then."""

    @property
    def settings(self) -> Settings:
        """Return the settings of this host."""
        return self.topology.settings[self.host]

    def signing(self) -> Authority:
        """Return the stack's authority."""
        assert self.authority is not None, "rendered with TLS, but without an authority"  # noqa: S101
        return self.authority

    def certificate(self, component: str) -> Pair:
        """Return the certificate of the stack's authority that `component` shows on this host."""
        # with the library that makes certificates, which most commands can do without
        from cvat_analytics.rendering import certificates

        return certificates.certificate(self.signing(), self.topology, self.host, component)

    def ingest_passwords(self) -> list[tuple[str, str]]:
        """Return the credentials with which Vector takes events, and their secrets: one, and while it is changed another."""
        other = [name for name in (f"vector_ingest{suffix}" for suffix in ACCEPTED) if name in self.secrets]
        return [
            ("ingest_password", "vector_ingest"),
            *(("other_ingest_password", name) for name in other[:1]),
        ]

    def variables(self) -> dict[str, Any]:
        """Return the names that templates see."""
        clickhouse = self.topology.settings[self.topology.clickhouse_host]
        endpoint = self.topology.clickhouse_endpoint(self.host)
        return {
            "settings": self.settings,
            "paths": self.paths,
            "clickhouse": {
                "address": endpoint.address,
                "scheme": endpoint.scheme,
                "tls": endpoint.tls,
                "http_port": endpoint.http_port,
                "native_port": endpoint.native_port,
                "database": clickhouse.database,
                "grafana_queries": clickhouse.grafana_max_queries,
                "grafana_connections": query_limits.connections(self.topology.max_queries("grafana")),
                "events_api_places": query_limits.places(self.topology.max_queries("events_api")),
            },
            "behind_gateway": self.host in self.topology.groups["gateway"],
            "gateway_source": GATEWAY_SOURCE,
            "listen_addresses": self.topology.clickhouse_listen_addresses(),
            "client_addresses": {
                "admin": (LOOPBACK,),
                "vector": self.topology.client_addresses("vector"),
                "grafana": self.topology.client_addresses("grafana"),
                # without a host of its own it is nowhere, and an empty list would mean nothing to ClickHouse
                "events_api": self.topology.client_addresses("events_api") or (LOOPBACK,),
                "cvat": (LOOPBACK, *clickhouse.clickhouse_allowed_addresses),
            },
            "rights": rights.of_users(clickhouse.database, clickhouse.cvat_columns),
            "former_rights": rights.former_of_vector(clickhouse.database) if self.former_vector else (),
            "password_sha256": {
                # sorted: which of them is in use is no change to ClickHouse
                name.removeprefix("clickhouse_"): sorted(
                    self.secrets.sha256(each)
                    for each in (name, *(name + suffix for suffix in ACCEPTED))
                    if each in self.secrets
                )
                for name in NAMES
                if name.startswith("clickhouse_")
            },
            "ingest_credentials": [credential for credential, _ in self.ingest_passwords()],
            "memory": memory.profile(self.settings, self.memory_bytes),
            "query_limits": query_limits,
            "limits": limits,
            "lowers_nice": self.lowers_nice,
            "dead_letter_buffer_bytes": DEAD_LETTER_BUFFER_BYTES,
            "alerts": alerts.variables(self.settings),
        }
