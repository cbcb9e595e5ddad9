"""Reach a deployed stack over the SSH logins of its inventory, so that no port has to be open for the operator.

Each part is reached through a forwarded port, on the connection and with the login that pyinfra uses for the deploy.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvat_analytics.base import addresses
from cvat_analytics.base.codes import Code, first_code
from cvat_analytics.base.errors import InputError, UnreachableError, UnreachableHostError
from cvat_analytics.config import deployed, moves
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config.deployed import Deployed
from cvat_analytics.config.endpoints import (
    EVERYWHERE,
    LOOPBACK,
    Endpoint,
    Trust,
    listening,
    trust,
)
from cvat_analytics.config.topology import clickhouse_from
from cvat_analytics.connect import clocks, ssh, volumes
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.shell import Shell

if TYPE_CHECKING:
    from paramiko import Channel, SSHClient

    from cvat_analytics.config.moves import Move
    from cvat_analytics.config.settings import Settings
    from cvat_analytics.config.topology import Topology
    from cvat_analytics.connect.volumes import Volume

_PIECE = 65536
_PATIENCE = 15.0
"""Seconds for the answer of a host of which it is not sure whether it is still there."""
_BETWEEN = "--moving--"
"""Between what a host has noted of its deploy and of a move."""
_FOR_NOTE = 10.0
"""Seconds for what a host has noted as deployed: one that hangs does not hold up the others for longer."""


@contextmanager
def reach(inventory: Path, *, partly: bool = False) -> Iterator[Access]:
    """Yield the way to the stack that the file `inventory` describes.

    Raises InputError for a wrong inventory or missing passwords, and one that names a ClickHouse which has moved, UnreachableHostError when a host does not let us in, and in the
    place of whatever is raised in the block when an SSH connection has been lost.

    `partly`: for whoever only looks. What can be reached is, `away` of the access names the other hosts, and each way to one of
    them raises UnreachableHostError when it is gone.
    """
    with _reached(inventory, partly=partly, first_only=True) as (_, access, _):
        yield access


@dataclass(frozen=True)
class ReachedHost:
    """A host of a stack: a root shell on it, and the way to what runs there (for what does not, to where the stack has it)."""

    shell: Shell
    access: Access
    deployed: Deployed | None = None
    """What is deployed there, as far as that is known; `access` goes by it."""
    planned: Access | None = None
    """The way to what runs there once the inventory is deployed, where that is another one."""
    ensure_connected: Callable[[], None] = field(default=lambda: None, repr=False)
    """Raises UnreachableHostError when the connection to this host has been lost."""


Hosts = tuple[inventories.Stack, Access, Mapping[str, ReachedHost]]


@contextmanager
def reach_hosts(
    inventory: Path | inventories.Stack, *, partly: bool = False, looks: bool | None = None
) -> Iterator[Hosts]:
    """Yield the stack that the file `inventory` describes, or one that a move has made of it, the way to it, and each of its hosts by name.

    Raises as `reach` does; `partly`, too, is as there: then only the hosts that can be reached are among the hosts. `looks`: whether it is
    for whoever only looks, where that is not what `partly` says.
    """
    with _reached(inventory, partly=partly, first_only=False, looks=looks) as reached:
        yield reached


@contextmanager
def _reached(
    inventory: Path | inventories.Stack, *, partly: bool, first_only: bool, looks: bool | None = None
) -> Iterator[Hosts]:
    """Yield a stack, and the way to its hosts, or to the first of each component."""
    stack = inventories.load(inventory) if isinstance(inventory, Path) else inventory
    secrets = stack.secrets()
    topology = stack.topology
    needed = {host for group in topology.groups.values() for host in (group[:1] if first_only else group)}
    with contextlib.ExitStack() as open_connections:
        clients, away = ssh.connect([host for host in stack.hosts if host.name in needed], open_connections)
        if away and not partly:
            raise UnreachableHostError(
                first_code(text := "\n".join(away.values())) or Code.HOST_UNREACHABLE, text
            )

        data = {host.name: host.data for host in stack.hosts}
        logins = {host.name: ssh.login_command(host) for host in stack.hosts}
        noted, moving = _noted(stack, clients, data)
        # whoever looks is to see what is there; the groups of a move are its own affair
        if not (partly if looks is None else looks) and isinstance(inventory, Path):
            _refuse_moved(inventory, topology, moving)
        there = replace(
            topology, settings={**topology.settings, **{host: each.settings for host, each in noted.items()}}
        )

        def way(host: str, address: tuple[str, int], settings: Settings, how: Trust | None) -> Endpoint:
            """Return the way to an address, as `host` sees it, from here."""
            if host in away:
                return Endpoint(*address, settings, how, unreachable=away[host])
            client = clients[host]
            target = (EVERYWHERE.get(address[0], address[0]), address[1])
            near = open_connections.enter_context(_forwarded(client, target, host)) if client else target
            return Endpoint(*near, settings, how)

        def endpoint(component: str, host: str, settings: Settings) -> Endpoint:
            """Return the way to a component, or another of its doors, on `host`."""
            how = trust(component, settings, stack.authority.certificate_file)
            return way(host, listening(component, settings), settings, how)

        def clickhouse_as(host: str) -> Endpoint:
            address, how = clickhouse_from(host, there, stack.authority.certificate_file)
            return way(host, address, clickhouse.settings, how)

        def doors(host: str, settings: Settings) -> dict[str, Any]:
            return {
                door: endpoint(door, host, settings)
                for name in topology.components(host)
                for door in _doors(name)
            }

        ways = {host: doors(host, there.settings[host]) for host in needed}
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
            away=away,
            ensure_connected=lambda: _ensure_connected(clients, logins),
            clocks=lambda: clocks.of(shells),
            volumes=lambda: _volumes(shells, there),
        )
        shells = {host: Shell(host, data[host], client) for host, client in clients.items()}
        hosts = {
            host: ReachedHost(
                shells[host],
                replace(access, **ways[host]),
                noted.get(host),
                replace(access, **doors(host, topology.settings[host]))
                if there.settings[host] != topology.settings[host]
                else None,
                functools.partial(_ensure_connected, {host: client}, logins),
            )
            for host, client in clients.items()
        }
        try:
            yield stack, access, hosts
        except Exception:
            # what a client makes of a forwarded port that is gone says nothing about the part behind it
            access.ensure_connected()
            raise


def _noted(
    stack: inventories.Stack, clients: ssh.Clients, data: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Deployed], dict[str, Move]]:
    """Return of each host what was noted there as deployed, and of a move; nothing of those where nothing was, or cannot be read."""

    def read(host: str) -> tuple[Deployed | None, Move | None]:
        try:
            text = Shell(host, data[host], clients[host]).run(
                f"cat {deployed.NOTE} 2>/dev/null; echo {_BETWEEN}; cat {moves.NOTE} 2>/dev/null || true",
                _FOR_NOTE,
            )
        except UnreachableError:
            return None, None
        of_deploy, _, of_move = text.partition(_BETWEEN)
        return deployed.read(of_deploy, stack.topology.settings[host]), moves.read(of_move)

    if not clients:
        return {}, {}
    with ThreadPoolExecutor(len(clients)) as pool:
        read_there = dict(zip(clients, pool.map(read, clients), strict=True))
    return (
        {host: note for host, (note, _) in read_there.items() if note},
        {host: move for host, (_, move) in read_there.items() if move},
    )


def _refuse_moved(inventory: Path, topology: Topology, moving: Mapping[str, Move]) -> None:
    """Raise InputError where a host has noted that ClickHouse is elsewhere by now than the inventory says: what went in there would be lost."""
    for host, move in moving.items():
        if reason := move.elsewhere(topology.groups):
            raise InputError(
                Code.MOVE_INVENTORY if move.is_moved else Code.MOVE_UNDER_WAY,
                f"inventory {inventory}, host {host}: {reason}",
            )


def _volumes(shells: Mapping[str, Shell], topology: Topology) -> list[Volume]:
    """Return the volumes of the hosts that say how much is free, all asked at once."""

    def ask(host: str) -> list[Volume]:
        reserve = topology.settings[host].disk_reserve
        return volumes.of_host(shells[host], topology.components(host), reserve)

    if not shells:
        return []
    with ThreadPoolExecutor(len(shells)) as pool:
        return [volume for found in pool.map(ask, shells) for volume in found]


def _doors(component: str) -> tuple[str, ...]:
    """Return by which names Access has the ports of a component."""
    return ("gateway", "gateway_http") if component == "gateway" else (component,)


def _ensure_connected(clients: Mapping[str, SSHClient | None], logins: Mapping[str, str]) -> None:
    """Raise UnreachableHostError when one of the SSH connections has ended, or its host no longer answers.

    `logins`: by which command to try each by hand.
    """
    asked = {name: client for name, client in sorted(clients.items()) if client}
    if not asked:
        return
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(_answers, asked.values()))
    lost = [name for name, there in zip(asked, answers, strict=True) if not there]
    if lost:
        raise UnreachableHostError(
            Code.CONNECTION_LOST,
            f"host{'s' if len(lost) > 1 else ''} {', '.join(lost)}: the SSH connection was lost while the command ran, so that nothing more "
            f"could be asked or done. See whether `{logins[lost[0]]}` works, then run the command again",
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
        with contextlib.suppress(AttributeError):  # paramiko's, when somebody else closes it at the same time
            client.close()
        return False
    return True


@contextmanager
def _forwarded(client: SSHClient, target: tuple[str, int], host: str) -> Iterator[tuple[str, int]]:
    """Yield a local address whose connections end at `target`, as seen from `host`, which is at the other end of `client`."""
    listener = socket.create_server((LOOPBACK, 0))
    address, port = target
    near = (LOOPBACK, listener.getsockname()[1])
    addresses.lead(near, f"{f'[{address}]' if ':' in address else address}:{port}", host)
    threading.Thread(target=_accept, args=(listener, client, target), daemon=True).start()
    try:
        yield near
    finally:
        addresses.forget(near)
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
        far = None
        try:
            far = transport.open_channel("direct-tcpip", target, peer, timeout=10) if transport else None
            addresses.refused(near.getsockname(), "")
        except Exception as error:
            # the caller only sees a closed connection. Where not even the connection to the host is there, whoever asks will find that out
            there = transport is not None and transport.is_active()
            reason = "nothing takes connections there" if there and _is_refused(error) else ""
            addresses.refused(near.getsockname(), reason)
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


def _is_refused(error: Exception) -> bool:
    """Return whether the host has said that nothing takes a connection.

    Of two that are refused at the same time paramiko gives both words to one, and the other has these.
    """
    from paramiko import ChannelException

    return isinstance(error, ChannelException) or str(error) == "Unable to open channel."


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
