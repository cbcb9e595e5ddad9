"""Which ports whoever reaches their host may use, or listen in on, and the lines that change it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
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

EVERYBODY = ("0.0.0.0/0", "::/0")
SHORTEST = 8
"""The shortest prefix of a network of public addresses that is still somebody's."""


def refuse_open(topology: Topology, where: str) -> None:
    """Raise InputError when a part listens on the network with nothing to keep strangers out; `where` names the inventory.

    Lines for the inventory begin with a blank, by which scripts/cli.py knows that they are to be pasted.
    """
    found = [(host, part, outside) for host in topology.settings for part, outside in _open(topology, host)]
    if not found:
        return
    names = list(dict.fromkeys(part for _, part, _ in found))
    raise InputError(
        Code.OPEN_TO_NETWORK,
        "\n".join(
            [
                *(
                    f"{where}: host {host}: {_told(topology, host, part, outside)}"
                    for host, part, outside in found
                ),
                "Keep strangers out with these lines in group_data/all.py (docs/how-to/turn-on-the-firewall.md):",
                *(f" {line}" for line in _closing(topology, {part for _, part, _ in found})),
                "Or, where something of your own does, say so by name:",
                f" open_to_network = {_list(names)}",
            ]
        ),
    )


def _closing(topology: Topology, found: set[str]) -> Iterator[str]:
    """Yield the lines that close the parts `found`, and leave whatever else listens on the network as it is.

    The firewall guards every part of a host. An empty list is a line that is taken as it is, unlike a name for an address.
    """
    yield "firewall = True"
    reached = {
        part
        for host, settings in topology.settings.items()
        if not settings.firewall
        for part, _ in outside(topology, host)
    } - found
    for setting in dict.fromkeys(part.allowed for part in PARTS.values()):
        closed = [part for name, part in PARTS.items() if name in found and part.allowed == setting]
        others = [part.name for name, part in PARTS.items() if name in reached and part.allowed == setting]
        known = _known(topology, setting) if closed else _named(topology, setting)
        if not closed and not others:
            continue
        if setting == "clickhouse_allowed_addresses" and not known and not _any(topology, setting):
            continue  # its users come from the stack's own hosts alone, whom the firewall lets through
        if known:
            note = f"  # from now on for {' and '.join(others)}, too" if others else ""
        elif closed:
            note = f'  # {closed[0].who}, such as "10.0.0.4"'
            note += f"; also for {' and '.join(others)}" if others else ""
        else:
            known, note = EVERYBODY, f"  # {' and '.join(others)} as now"
        yield f"{setting} = {_list(known)}{note}"


def outside(topology: Topology, host: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each part of `host` that listens on the network, and the addresses on which it does."""
    settings = topology.settings[host]
    listens = {
        "clickhouse": topology.clickhouse_listen_addresses(),
        "vector": (settings.vector_listen_address,),
        "grafana": (settings.grafana_listen_address,),
        "events_api": (settings.events_api_listen_address,),
    }
    # the gateway speaks TLS and asks who comes, wherever it listens
    for part in (each for each in topology.components(host) if each in PARTS):
        if found := [address for address in listens[part] if not _is_loopback(address)]:
            yield part, found


def _open(topology: Topology, host: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each part of `host` that is open, and the addresses on which it listens."""
    settings = topology.settings[host]
    guarded = {
        "clickhouse": settings.clickhouse_tls,
        # a certificate of Vector's says who Vector is, and nothing of who sends; a password alone is read on its way
        "vector": settings.vector_username is not None and settings.vector_speaks_tls,
        "grafana": settings.grafana_tls,
        "events_api": False,
    }
    for part, addresses in outside(topology, host):
        closed = settings.firewall and not _too_wide(getattr(settings, PARTS[part].allowed))
        if not closed and not guarded[part] and part not in settings.open_to_network:
            yield part, addresses


def _told(topology: Topology, host: str, part: str, addresses: Sequence[str]) -> str:
    about = PARTS[part]
    settings = topology.settings[host]
    danger = about.danger
    if part == "vector" and settings.vector_username is not None:
        danger = "the password passes in clear text: whoever reads it there can invent events"
    why = f"listens on {' and '.join(addresses)}, where {danger}"
    if settings.firewall:
        why += f": {about.allowed!r} lets everybody through the firewall"
    return f"{about.name} {why}. (Or: {about.otherwise})"


def _known(topology: Topology, setting: str) -> Sequence[str]:
    """Return whom the inventory names already: in that setting, or as CVAT where it reads from ClickHouse."""
    if setting == "grafana_allowed_addresses":
        return _named(topology, setting)
    return _named(topology, setting) or _named(topology, "clickhouse_allowed_addresses")


def _named(topology: Topology, setting: str) -> Sequence[str]:
    """Return whom that setting names on any host, without those who are everybody."""
    found: dict[str, None] = {}
    for settings in topology.settings.values():
        given = [each for each in getattr(settings, setting) if not _too_wide([each])]
        wide = _too_wide(given)
        found |= dict.fromkeys(each for each in given if not any(_is_in(each, network) for network in wide))
    return list(found)


def _any(topology: Topology, setting: str) -> bool:
    return any(getattr(settings, setting) for settings in topology.settings.values())


def _too_wide(addresses: Sequence[str]) -> list[IPv4Network | IPv6Network]:
    """Return the networks that all of `addresses` make together and that are as good as everybody.

    Two halves of all addresses are all of them, and nobody has public networks of the size of half a continent.
    """
    networks = [ipaddress.ip_network(each) for each in addresses]
    made: list[IPv4Network | IPv6Network] = [
        *ipaddress.collapse_addresses(each for each in networks if isinstance(each, IPv4Network)),
        *ipaddress.collapse_addresses(each for each in networks if isinstance(each, IPv6Network)),
    ]
    return [each for each in made if each.prefixlen < SHORTEST and not each.is_private]


def _is_in(address: str, network: IPv4Network | IPv6Network) -> bool:
    inner = ipaddress.ip_network(address)
    return inner.version == network.version and inner.network_address in network


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(f'"{value}"' for value in values)}]"
