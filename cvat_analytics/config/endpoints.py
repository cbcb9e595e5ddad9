"""What a client must know to reach a component: where it is, how its certificate is checked, and its own host's settings.

This is the one place that knows which component listens where and which speaks TLS; whoever connects is handed an
`Endpoint`, so that nobody can take the settings of another host.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cvat_analytics.base.codes import Code, first_code
from cvat_analytics.base.errors import InputError, UnreachableHostError
from cvat_analytics.base.tls_context import pinned

if TYPE_CHECKING:
    from cvat_analytics.config.settings import Settings

LOOPBACK = "127.0.0.1"
EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - not a listener
"""What stands for every address of a host, with the one that the host itself connects to. What listens on `::` may take no IPv4."""


@dataclass(frozen=True)
class Trust:
    """Which certificate is accepted: one that the file `authority` vouches for, for the host `name`.

    Without a name any will do: of a certificate that an operator has given, only the certificate itself is known.
    """

    authority: Path
    name: str = ""

    def context(self) -> ssl.SSLContext:
        """Return what checks it, whatever the address under which it is reached. Raises InputError without the file."""
        try:
            text = self.authority.read_text()
            return _Named.verifying(text, self.name) if self.name else pinned(text)
        except OSError as error:
            raise InputError(
                Code.AUTHORITY_MISSING,
                f"{self.authority}: cannot be read ({error.strerror or error}), and the stack's certificate cannot be checked without "
                "it. Copy it from the machine that deploys",
            ) from None


class _Named(ssl.SSLContext):
    """Checks for `name` instead of the address, which is that of a forwarded port."""

    name = ""

    @classmethod
    def verifying(cls, authority: str, name: str) -> _Named:
        """Return one for `name` that trusts the certificates in `authority` (PEM)."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.name = name
        # a given certificate is trusted as it is, without its issuer
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=authority)
        return context

    def wrap_socket(self, sock: socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return super().wrap_socket(sock, *args, **kwargs | {"server_hostname": self.name})


@dataclass(frozen=True)
class Endpoint:
    """A component as seen from here, and the settings of the host that runs it. Without `trust` it speaks no TLS."""

    host: str
    port: int
    settings: Settings = field(repr=False)
    trust: Trust | None = None
    unreachable: str = ""
    """Why there is no way to its host; empty where there is one."""

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port. Raises UnreachableHostError when there is no way there."""
        if self.unreachable:
            raise UnreachableHostError(
                first_code(self.unreachable) or Code.HOST_UNREACHABLE, self.unreachable
            )
        return self.host, self.port

    @property
    def url(self) -> str:
        """Return its address as a URL, without a slash at the end. Raises UnreachableHostError when there is no way there."""
        return url(*self.address, tls=self.trust is not None)

    def tls(self) -> ssl.SSLContext | None:
        """Return what a client checks its certificate with; None where it speaks no TLS. Raises InputError as Trust."""
        return self.trust.context() if self.trust else None


def listening(component: str, settings: Settings) -> tuple[str, int]:
    """Return where a component on a host with `settings` takes requests, as that host sees it."""
    return {
        "clickhouse": (LOOPBACK, settings.clickhouse_http_port),
        "vector": (settings.vector_listen_address, settings.vector_port),
        "grafana": (settings.grafana_listen_address, settings.grafana_port),
        "events_api": (settings.events_api_listen_address, settings.events_api_port),
        "gateway": (settings.gateway_listen_address, settings.gateway_https_port),
        "gateway_http": (settings.gateway_listen_address, settings.gateway_http_port),
    }[component]


def trust(component: str, settings: Settings, authority: Path) -> Trust | None:
    """Return how the certificate of a component on a host with `settings` is checked; None where it speaks no TLS.

    `authority`: file of the stack's own authority, which signs what no operator has given.
    """
    if component == "vector" and settings.vector_tls_certificate:
        return Trust(settings.vector_tls_certificate)
    if component == "gateway":
        return Trust(
            settings.gateway_certificate or authority, urlsplit(settings.grafana_root_url).hostname or ""
        )
    if component in settings.tls_by_authority - {"clickhouse"}:
        listens = listening(component, settings)[0]
        return Trust(authority, settings.address or EVERYWHERE.get(listens, listens))
    # ClickHouse is asked on its host's loopback, where it speaks no TLS
    return None


def url(host: str, port: int, *, tls: bool) -> str:
    """Return the URL of an address."""
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"
