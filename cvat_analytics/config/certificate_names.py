"""Under which names and addresses the stack's hosts are connected to: those that certificates are made for, and no others.

A client verifies the name that it has connected to: an address of the host, its name, or loopback at the end of a tunnel.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from cvat_analytics.base.addresses import LOCAL
from cvat_analytics.config.topology import Topology

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def of_component(topology: Topology, host: str, component: str) -> tuple[str, ...]:
    """Return every name and address under which `component` (clickhouse, vector or grafana) on `host` may be connected to."""
    settings = topology.settings[host]
    listens = {
        "clickhouse": topology.clickhouse_listen_addresses(),
        "vector": (settings.vector_listen_address,),
        "grafana": (settings.grafana_listen_address, urlsplit(settings.grafana_root_url).hostname),
    }
    names = (host, settings.address, *listens[component], *LOCAL)
    return tuple(dict.fromkeys(name for name in names if name and _can_be_connected_to(name)))


def of_stack(topology: Topology) -> tuple[str, ...]:
    """Return every name and address for which a deploy may make a certificate."""
    names: dict[str, None] = dict.fromkeys(LOCAL)
    for host in topology.settings:
        for component in topology.components(host):
            if component in ("clickhouse", "vector", "grafana"):
                names |= dict.fromkeys(of_component(topology, host, component))
    return tuple(names)


def _can_be_connected_to(name: str) -> bool:
    try:
        return not ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return _HOST_NAME.fullmatch(name) is not None
