"""Which certificate a component shows to those who connect to it, for which names it is, and what files it comes in.

A client verifies the name that it has connected to: an address of the host, its name, or loopback at the end of a tunnel. So
a certificate is for all of them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cvat_analytics.config.topology import LOOPBACK, Topology
from cvat_analytics.credentials.certificates import Authority, Pair
from cvat_analytics.rendering.files import UNITS, Paths, RenderedFile

if TYPE_CHECKING:
    from cvat_analytics.rendering.render import Context

_LOCAL = ("localhost", LOOPBACK, "::1")
_SHOWN = ("tls_certificate", "tls_key")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def certificate(authority: Authority, topology: Topology, host: str, component: str) -> Pair:
    """Return the certificate of `component` (clickhouse, vector or grafana) on `host`, made or renewed when it is time."""
    # pyinfra's names of hosts may have any letters, as in @docker/name
    label = re.sub(r"[^A-Za-z0-9.]+", "-", host).strip("-.")
    return authority.issue(f"{component}-{label}", certificate_names(topology, host, component))


def certificate_names(topology: Topology, host: str, component: str) -> tuple[str, ...]:
    """Return every name and address under which `component` on `host` may be connected to."""
    settings = topology.settings[host]
    listens = {
        "clickhouse": topology.clickhouse_listen_addresses(),
        "vector": (settings.vector_listen_address,),
        "grafana": (settings.grafana_listen_address, urlsplit(settings.grafana_root_url).hostname),
    }
    found = (host, settings.address, *listens[component], *_LOCAL)
    return tuple(dict.fromkeys(name for name in found if name and _can_be_connected_to(name)))


def _can_be_connected_to(name: str) -> bool:
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return _HOST_NAME.fullmatch(name) is not None


def clickhouse_files(paths: Paths) -> tuple[str, str]:
    """Return where ClickHouse's certificate and its key are; the template says the same."""
    return (
        f"{paths.clickhouse_config}/cvat-analytics.pem",
        f"{paths.clickhouse_config}/cvat-analytics-key.pem",
    )


def shown(paths: Paths, unit: str, pair: Pair) -> list[RenderedFile]:
    """Return the root-only files that systemd hands to `unit` as the certificate that it shows, and its key."""
    return [
        RenderedFile(f"{paths.secrets}/{unit}/{name}", text, mode="600", secret=True)
        for name, text in zip(_SHOWN, (pair.certificate, pair.key), strict=True)
    ]


def authority_files(context: Context) -> list[RenderedFile]:
    """Return the certificate of the stack's authority, if any part of the stack shows one that it has signed."""
    if not context.topology.uses_authority:
        return []
    return [RenderedFile(context.paths.authority, context.signing().make().certificate)]


def left_over(context: Context) -> list[str]:
    """Return the paths of what the host needs no longer where TLS is off, to be removed once its services run without."""
    settings, paths = context.settings, context.paths
    unused = [] if context.topology.uses_authority else [paths.authority]
    if not settings.clickhouse_tls:
        unused += clickhouse_files(paths)
    for name, used in (("vector", settings.vector_speaks_tls), ("grafana", settings.grafana_tls)):
        if not used:
            unused += [f"{paths.secrets}/{UNITS[name]}/{file}" for file in _SHOWN]
    return unused
