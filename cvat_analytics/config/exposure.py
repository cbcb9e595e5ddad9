"""Which ports whoever reaches their host may use, or listen in on, and the lines that change it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cvat_analytics.base.errors import InputError
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.topology import Topology


@dataclass(frozen=True)
class Part:
    """A component that may listen on the network, and what is wrong with that where nobody is kept out."""

    name: str
    danger: str
    allowed: str
    """The setting that says whom the firewall lets to it."""
    who: str
    """Whose addresses belong there."""
    otherwise: str = ""
    """What else makes it safe."""


PARTS = {
    "clickhouse": Part(
        "ClickHouse",
        "passwords and events pass in clear text",
        "clickhouse_allowed_addresses",
        "CVAT's address",
        "clickhouse_tls = True",
    ),
    "vector": Part(
        "Vector",
        "whoever reaches it can invent events, and so working time",
        "vector_allowed_addresses",
        "CVAT's address",
        'vector_username = "…" with vector_tls = True, which CVAT itself cannot use',
    ),
    "grafana": Part(
        "Grafana",
        "passwords and sessions pass in clear text",
        "grafana_allowed_addresses",
        "who comes past the gateway",
        "grafana_tls = True, or the gateway in front and 127.0.0.1",
    ),
    "events_api": Part(
        "the events API",
        "passwords and tokens pass in clear text",
        "grafana_allowed_addresses",
        "who comes past the gateway",
        "the gateway in front and 127.0.0.1",
    ),
}


def refuse_open(topology: Topology, where: str) -> None:
    """Raise InputError when a part listens on the network with nothing to keep strangers out; `where` names the inventory.

    Lines for the inventory begin with a blank, by which scripts/cli.py knows that they are to be pasted.
    """
    found = [(host, part, outside) for host in topology.settings for part, outside in _open(topology, host)]
    if not found:
        return
    lines = ["firewall = True"]
    for setting, who in {PARTS[part].allowed: PARTS[part].who for _, part, _ in found}.items():
        known = _known(topology, setting)
        lines.append(f"{setting} = {_list(known or [who])}")
    names = list(dict.fromkeys(part for _, part, _ in found))
    raise InputError(
        "\n".join(
            [
                *(
                    f"{where}: host {host}: {_told(topology, host, part, outside)}"
                    for host, part, outside in found
                ),
                "Keep strangers out with these lines in group_data/all.py (docs/how-to/turn-on-the-firewall.md):",
                *(f" {line}" for line in lines),
                "Or, where something of your own does, say so by name:",
                f" open_to_network = {_list(names)}",
            ]
        )
    )


def _open(topology: Topology, host: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each part of `host` that is open, and the addresses on which it listens."""
    settings = topology.settings[host]
    listens = {
        "clickhouse": topology.clickhouse_listen_addresses(),
        "vector": (settings.vector_listen_address,),
        "grafana": (settings.grafana_listen_address,),
        "events_api": (settings.events_api_listen_address,),
    }
    guarded = {
        "clickhouse": settings.clickhouse_tls,
        # a certificate of Vector's says who Vector is, and nothing of who sends
        "vector": settings.vector_username is not None,
        "grafana": settings.grafana_tls,
        "events_api": False,
    }
    # the gateway speaks TLS and asks who comes, wherever it listens
    for part in (each for each in topology.components(host) if each in PARTS):
        outside = [address for address in listens[part] if not _is_loopback(address)]
        closed = settings.firewall and not _lets_everybody(settings, part)
        if outside and not closed and not guarded[part] and part not in settings.open_to_network:
            yield part, outside


def _told(topology: Topology, host: str, part: str, addresses: Sequence[str]) -> str:
    about = PARTS[part]
    settings = topology.settings[host]
    why = f"listens on {' and '.join(addresses)}, where {about.danger}"
    if settings.firewall:
        why += f": {about.allowed!r} lets everybody through the firewall"
    return f"{about.name} {why}. (Or: {about.otherwise})"


def _known(topology: Topology, setting: str) -> list[str]:
    """Return whom the inventory names already: in that setting, or as CVAT where it reads from ClickHouse."""
    settings = topology.settings.values()
    names = [setting] if setting == "grafana_allowed_addresses" else [setting, "clickhouse_allowed_addresses"]
    for name in names:
        if known := [each for one in settings for each in getattr(one, name) if not _is_everybody(each)]:
            return list(dict.fromkeys(known))
    return []


def _lets_everybody(settings: Settings, part: str) -> bool:
    return any(_is_everybody(each) for each in getattr(settings, PARTS[part].allowed))


def _is_everybody(network: str) -> bool:
    return ipaddress.ip_network(network).prefixlen == 0


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(f'"{value}"' for value in values)}]"
