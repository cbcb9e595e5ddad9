"""The two networks of the test hosts: one for SSH and between the hosts, one that leads to the package source only.

Both end at this machine. Leaving the second one is what "the network is cut" means for a host.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool


@dataclass
class HostNetwork:
    """A Docker network with addresses that survive a host's restart. `gateway` is this machine's own address in it."""

    network: Network
    subnet: ipaddress.IPv4Network
    _used: int = 1

    @property
    def gateway(self) -> str:
        """Return this machine's address."""
        return str(self.subnet[1])

    def next_address(self) -> str:
        """Return an address that no host of this run has had."""
        self._used += 1
        return str(self.subnet[self._used])


@contextmanager
def host_network(
    client: docker.DockerClient, name: str, labels: dict[str, str], *, internal: bool
) -> Iterator[HostNetwork]:
    """Create a network in a free range of private addresses and remove it at the end."""
    for subnet in random.sample(list(ipaddress.IPv4Network("10.192.0.0/11").subnets(new_prefix=24)), 50):
        if any(subnet.overlaps(route) for route in _routes()):
            continue
        pool = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))])
        try:
            network = client.networks.create(
                name, driver="bridge", internal=internal, ipam=pool, labels=labels
            )
        except APIError as error:
            if "overlap" not in str(error):
                raise
            continue
        try:
            yield HostNetwork(network, subnet)
        finally:
            network.remove()
        return
    raise RuntimeError("no free range of addresses for the test hosts below 10.192.0.0/11")


def _routes() -> list[ipaddress.IPv4Network]:
    """Return the networks that this machine has routes to, without the default route (proc_net(5), little-endian)."""
    routes = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(fields[column]), "little") for column in (1, 7))
        if mask:
            routes.append(ipaddress.IPv4Network((address, mask.bit_count())))
    return routes
