"""Reach a deployed stack over the SSH logins of its inventory, so that no port has to be open for the operator.

Each part is reached through a forwarded port, on the connection and with the login that pyinfra uses for the deploy.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config.endpoints import EVERYWHERE, LOOPBACK, Endpoint, clickhouse_from, listening, trust
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.shell import Shell

if TYPE_CHECKING:
    from paramiko import Channel, SSHClient

_PIECE = 65536
_KEEPALIVE = 30
"""Seconds after which something is sent, so that a firewall between does not forget a connection on which nothing happens."""
_PATIENCE = 15.0
"""Seconds for the answer of a host of which it is not sure whether it is still there."""


@contextmanager
def reach(inventory: Path) -> Iterator[Access]:
    """Yield the way to the stack that the file `inventory` describes.

    Raises InputError for a wrong inventory or missing passwords, UnreachableError when a host does not let us in, and in the place
    of whatever is raised in the block when an SSH connection has been lost.
    """
    stack = inventories.load(inventory)
    needed = {host for group in stack.topology.groups.values() for host in group[:1]}
    with _reached(stack, needed) as (access, _):
        yield access


@dataclass(frozen=True)
class ReachedHost:
    """A host of a stack: a root shell on it, and the way to what runs there (for what does not, to where the stack has it)."""

    shell: Shell
    access: Access


@contextmanager
def reach_hosts(inventory: Path) -> Iterator[tuple[inventories.Stack, Access, Mapping[str, ReachedHost]]]:
    """Yield the stack that the file `inventory` describes, the way to it, and each of its hosts by name.

    Raises as `reach` does.
    """
    stack = inventories.load(inventory)
    with _reached(stack, set(stack.topology.settings)) as (access, hosts):
        yield stack, access, hosts


@contextmanager
def _reached(
    stack: inventories.Stack, needed: set[str]
) -> Iterator[tuple[Access, Mapping[str, ReachedHost]]]:
    """Yield the way to `stack` over connections to the hosts `needed`, and these hosts."""
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

        def endpoint(component: str, host: str) -> Endpoint:
            """Return the way to a component, or another of its doors, on `host`."""
            settings = topology.settings[host]
            how = trust(component, settings, stack.authority.certificate_file)
            return Endpoint(*at(host, *listening(component, settings)), settings, how)

        def clickhouse_as(host: str) -> Endpoint:
            address, how = clickhouse_from(host, topology, stack.authority.certificate_file)
            return Endpoint(*at(host, *address), clickhouse.settings, how)

        ways: dict[str, dict[str, Any]] = {
            host: {door: endpoint(door, host) for name in topology.components(host) for door in _doors(name)}
            for host in clients
        }
        first = {
            door: ways[hosts[0]][door]
            for component, hosts in topology.groups.items()
            if hosts
            for door in _doors(component)
        }
        clickhouse = first["clickhouse"]
        access = Access(
            **first,
            clickhouse_as={
                user: clickhouse_as(host)
                for user in ("vector", "grafana", "events_api")
                for host in topology.groups[user][:1]
            },
            secrets=secrets,
            ensure_connected=lambda: _ensure_connected(clients),
        )
        data = {host.name: host.data for host in stack.hosts}
        hosts = {
            host: ReachedHost(Shell(host, data[host], client), replace(access, **ways[host]))
            for host, client in clients.items()
        }
        try:
            yield access, hosts
        except Exception:
            # what a client makes of a forwarded port that is gone says nothing about the part behind it
            access.ensure_connected()
            raise


def _doors(component: str) -> tuple[str, ...]:
    """Return by which names Access has the ports of a component."""
    return ("gateway", "gateway_http") if component == "gateway" else (component,)


def _connect(
    stack: inventories.Stack, names: set[str], open_connections: contextlib.ExitStack
) -> dict[str, SSHClient | None]:
    """Return the SSH connection of each host in `names`; None for a host that is this machine."""
    from pyinfra.api import Config, Inventory, State
    from pyinfra.api.connect import connect_all, disconnect_all

    chosen = [(host.name, dict(host.data)) for host in stack.hosts if host.name in names]
    hosts = Inventory((chosen, {}))
    state = State(hosts, Config())
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
        client: SSHClient | None = getattr(host.connector, "client", None)
        if client and (transport := client.get_transport()):
            transport.set_keepalive(_KEEPALIVE)
        clients[name] = client
    return clients


def _ensure_connected(clients: Mapping[str, SSHClient | None]) -> None:
    """Raise UnreachableError when one of the SSH connections has ended, or its host no longer answers."""
    lost = sorted(name for name, client in clients.items() if client and not _answers(client))
    if lost:
        raise UnreachableError(
            f"host{'s' if len(lost) > 1 else ''} {', '.join(lost)}: the SSH connection was lost while the command ran, so that nothing more "
            f"could be asked or done. See whether `ssh {lost[0]}` works, then run the command again"
        )


def _answers(client: SSHClient) -> bool:
    """Return whether the other end of an SSH connection is there. One that is not is closed: all that waits for it ends."""
    from paramiko import ChannelException, SSHException

    transport = client.get_transport()
    try:
        if transport is None:
            return False
        transport.open_session(timeout=_PATIENCE).close()
    except ChannelException:
        return True  # it refuses a session, which is an answer
    except (SSHException, OSError, EOFError):
        client.close()
        return False
    return True


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
        # A thread for each direction, and no select(): the pipe that paramiko makes for it is closed with the channel even while
        # data comes, and that ends the whole SSH connection (https://github.com/paramiko/paramiko/issues/2271)
        sending = threading.Thread(target=_send, args=(near, far), daemon=True)
        sending.start()
        with contextlib.suppress(OSError):
            while data := far.recv(_PIECE):
                near.sendall(data)
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)
        sending.join()


def _send(near: socket.socket, far: Channel) -> None:
    """Carry what comes from `near`, and close `far` after it.

    Nobody else here closes it: sshd ends the whole connection when something is sent into a closed channel. What paramiko itself
    answers to a close of the other end can still come between, when that end refuses a long upload halfway
    (https://github.com/paramiko/paramiko/issues/1115).
    """
    with contextlib.suppress(OSError, EOFError):  # EOFError: paramiko's, when the SSH connection has ended
        while data := near.recv(_PIECE):
            far.sendall(data)
    with contextlib.suppress(OSError, EOFError):
        far.close()
