"""Reach a deployed stack over the SSH logins of its inventory, so that no port has to be open for the operator.

Each part is reached through a forwarded port, on the connection and with the login that pyinfra uses for the deploy.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvat_analytics import inventory as inventories
from cvat_analytics.access import Access
from cvat_analytics.endpoints import EVERYWHERE, Endpoint, clickhouse_from, listening, trust
from cvat_analytics.errors import UnreachableError
from cvat_analytics.shell import Shell
from cvat_analytics.topology import LOOPBACK

if TYPE_CHECKING:
    from paramiko import SSHClient


@contextmanager
def reach(inventory: Path) -> Iterator[Access]:
    """Yield the way to the stack that the file `inventory` describes.

    Raises InputError for a wrong inventory or missing passwords, UnreachableError when a host does not let us in.
    """
    stack = inventories.load(inventory)
    needed = {host for group in stack.topology.groups.values() for host in group[:1]}
    with _reached(stack, needed) as (access, _):
        yield access


@contextmanager
def reach_hosts(inventory: Path) -> Iterator[tuple[inventories.Stack, Access, Mapping[str, Shell]]]:
    """Yield the stack that the file `inventory` describes, the way to it, and a root shell on each of its hosts.

    Raises as `reach` does.
    """
    stack = inventories.load(inventory)
    with _reached(stack, set(stack.topology.settings)) as (access, clients):
        data = {host.name: host.data for host in stack.hosts}
        yield stack, access, {name: Shell(name, data[name], client) for name, client in clients.items()}


@contextmanager
def _reached(
    stack: inventories.Stack, needed: set[str]
) -> Iterator[tuple[Access, Mapping[str, SSHClient | None]]]:
    """Yield the way to `stack` over connections to the hosts `needed`, and these connections."""
    secrets = stack.secrets()
    topology = stack.topology
    # paramiko would print what the check that meets a closed port reports anyway
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as open_connections:
        clients = _connect(stack, needed, open_connections)

        def at(host: str, address: str, port: int) -> tuple[str, int]:
            """Return where `address`, as `host` sees it, is reached from here."""
            client = clients[host]
            target = (EVERYWHERE.get(address, address), port)
            return target if client is None else open_connections.enter_context(_forwarded(client, target))

        def endpoint(component: str, door: str = "") -> Endpoint:
            """Return the way to a component on the first of its hosts; `door` names another of its ports."""
            host = topology.groups[component][0]
            settings = topology.settings[host]
            how = trust(door or component, settings, stack.authority.certificate_file)
            return Endpoint(*at(host, *listening(door or component, settings)), settings, how)

        def optional(component: str, door: str = "") -> Endpoint | None:
            return endpoint(component, door) if topology.groups[component] else None

        def clickhouse_as(host: str) -> Endpoint:
            address, how = clickhouse_from(host, topology, stack.authority.certificate_file)
            return Endpoint(*at(host, *address), clickhouse.settings, how)

        clickhouse = endpoint("clickhouse")
        access = Access(
            clickhouse=clickhouse,
            vector=endpoint("vector"),
            grafana=endpoint("grafana"),
            events_api=optional("events_api"),
            gateway=optional("gateway"),
            gateway_http=optional("gateway", "gateway_http"),
            clickhouse_as={
                user: clickhouse_as(host)
                for user in ("vector", "grafana", "events_api")
                for host in topology.groups[user][:1]
            },
            secrets=secrets,
        )
        yield access, clients


def _connect(
    stack: inventories.Stack, names: set[str], open_connections: contextlib.ExitStack
) -> dict[str, SSHClient | None]:
    """Return the SSH connection of each host in `names`; None for a host that is this machine."""
    from pyinfra.api import Config, Inventory, State
    from pyinfra.api.connect import connect_all, disconnect_all

    wanted = [(host.name, dict(host.data)) for host in stack.hosts if host.name in names]
    hosts = Inventory((wanted, {}))  # type: ignore[no-untyped-call]
    state = State(hosts, Config())  # type: ignore[no-untyped-call]
    try:
        connect_all(state)
    except Exception as error:
        raise UnreachableError(f"hosts {', '.join(sorted(names))}: {error}") from None
    open_connections.callback(disconnect_all, state)
    clients: dict[str, SSHClient | None] = {}
    for name in names:
        host: Any = hosts.get_host(name)
        if not host.connected:
            raise UnreachableError(
                f"host {name}: no SSH connection. Check the name, `ssh_user`, `ssh_key` and `ssh_port` in the inventory"
            )
        clients[name] = getattr(host.connector, "client", None)
    return clients


@contextmanager
def _forwarded(client: SSHClient, target: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """Yield a local address whose connections end at `target`, as seen from the host at the other end of `client`."""
    listener = socket.create_server((LOOPBACK, 0))
    threading.Thread(target=_accept, args=(listener, client, target), daemon=True).start()
    try:
        yield (LOOPBACK, listener.getsockname()[1])
    finally:
        listener.close()


def _accept(listener: socket.socket, client: SSHClient, target: tuple[str, int]) -> None:
    while True:
        try:
            near, peer = listener.accept()
        except OSError:
            return  # closed: the command is done
        threading.Thread(target=_carry, args=(near, client, target, peer), daemon=True).start()


def _carry(near: socket.socket, client: SSHClient, target: tuple[str, int], peer: tuple[str, int]) -> None:
    """Carry bytes both ways until one side closes."""
    with near:
        transport = client.get_transport()
        try:
            far = transport.open_channel("direct-tcpip", target, peer, timeout=10) if transport else None
        except (
            Exception
        ):  # refused at the other end: the caller sees a closed connection, which is what it is
            return
        if far is None:
            return
        with contextlib.closing(far), contextlib.suppress(OSError):
            while True:
                sides: list[Any] = [near, far]
                readable = select.select(sides, [], [])[0]
                for source, sink in ((near, far), (far, near)):
                    if source in readable:
                        data = source.recv(65536)
                        if not data:
                            return
                        sink.sendall(data)
