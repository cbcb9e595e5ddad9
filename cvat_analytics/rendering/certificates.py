"""Which certificate a component shows to those who connect to it, and for which names it is.

A client verifies the name that it has connected to: an address of the host, its name, or loopback at the end of a tunnel. So
a certificate is for all of them.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from cvat_analytics.config.endpoints import LOOPBACK
from cvat_analytics.config.topology import Topology
from cvat_analytics.credentials.certificates import Authority, Pair

_LOCAL = ("localhost", LOOPBACK, "::1")
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
    names = (host, settings.address, *listens[component], *_LOCAL)
    return tuple(dict.fromkeys(name for name in names if name and _can_be_connected_to(name)))


def _can_be_connected_to(name: str) -> bool:
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return _HOST_NAME.fullmatch(name) is not None
