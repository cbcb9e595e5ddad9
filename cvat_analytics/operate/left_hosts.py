"""Hosts that have left the inventory and still have what deploys have made: known from what is noted on the hosts that are in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.config import deployed, host_data
from cvat_analytics.config.inventory import Stack
from cvat_analytics.config.inventory_file import Host
from cvat_analytics.connect import ssh
from cvat_analytics.connect.shell import Shell

_PATIENCE = 30.0


@dataclass(frozen=True)
class Left:
    """Those hosts, as an inventory would have them, and where they are noted."""

    hosts: Mapping[str, Host]
    _notes: Mapping[str, Shell]

    def forget(self, name: str) -> None:
        """Have no deploy, and nobody else, speak of a host any more. Raises UnreachableError."""
        for shell in self._notes.values():
            text = _read(shell)
            if name in deployed.noted_hosts(text):
                new = base64.b64encode(deployed.without(text, name).encode()).decode()
                shell.run(
                    f"umask 077; echo {new} | base64 -d > {deployed.NOTE}.new && mv {deployed.NOTE}.new {deployed.NOTE}",
                    _PATIENCE,
                )


def find(stack: Stack, opened: ExitStack) -> Left:
    """Ask the hosts of the inventory that can be reached. How one logs in is as at those, as far as it is not noted."""
    return known(stack, ssh.connect(stack.hosts, opened)[0])


def known(stack: Stack, clients: ssh.Clients) -> Left:
    """Ask the hosts of the inventory with these connections, as `find` does."""
    data = {host.name: host.data for host in stack.hosts}
    shells = {name: Shell(name, data[name], client) for name, client in clients.items()}
    notes: dict[str, Shell] = {}
    noted = []
    for name, shell in shells.items():
        try:
            noted.append(deployed.noted_hosts(_read(shell)))
        except UnreachableError:
            continue
        notes[name] = shell
    alike = {
        key: value
        for key, value in stack.hosts[0].data.items()
        if host_data.is_pyinfras(key) and key not in deployed.LOGIN
    }
    left = deployed.left(stack.hosts, noted)
    return Left({name: Host(name, (), alike | dict(login)) for name, login in left.items()}, notes)


def _read(shell: Shell) -> str:
    return shell.run(f"cat {deployed.NOTE} 2>/dev/null; true", _PATIENCE)
