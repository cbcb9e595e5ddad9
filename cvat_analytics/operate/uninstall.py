"""Take away from the hosts of an inventory what deploys have made there: asked first on all of them, then done one after another.

Only the inventory is needed, and the logins in it: passwords and certificates may be lost already.
"""

from __future__ import annotations

import getpass
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config import moves
from cvat_analytics.config.inventory_file import Host
from cvat_analytics.config.moves import Move
from cvat_analytics.config.settings import COMPONENTS
from cvat_analytics.connect import ssh
from cvat_analytics.connect.shell import Shell
from cvat_analytics.operate import deploy_lock, left_hosts
from cvat_analytics.operate.left_hosts import Left
from cvat_analytics.operate.move import noting
from cvat_analytics.operate.removal import Removal
from cvat_analytics.operate.removal_plan import plan
from cvat_analytics.operate.survey import SURVEY, Survey, surveyed
from cvat_analytics.rendering.files import Paths

_PATIENCE = 120.0
"""Seconds for what a host says of itself; how much data there is takes its time."""
_FOR_EVENTS = 15.0
_STEP = 900.0
"""Seconds for one step: a ClickHouse that stops, a directory with much in it."""


@dataclass
class HostPlan:
    """A host, what is there, and what is to be taken away."""

    name: str
    shell: Shell
    found: Survey
    removal: Removal
    events: str = ""
    """How many events are deleted for good and from when, where ClickHouse says so."""


@dataclass
class Hosts:
    """The hosts that an uninstall comes to."""

    plans: Sequence[HostPlan]
    away: dict[str, str] = field(default_factory=dict)
    """Why each of the others cannot be reached."""
    left: Left | None = None
    """Those that are in the inventory no more, where one of them is meant, or all hosts."""

    def forget(self, name: str) -> None:
        """Have nobody speak of a host any more that is in the inventory no more, and has nothing of a deploy. Raises UnreachableError."""
        if self.left and name in self.left.hosts:
            self.left.forget(name)


@contextmanager
def planned(inventory: Path, purge: bool, limit: Sequence[str] = ()) -> Iterator[Hosts]:
    """Yield what is to be taken away from which host, those that hold the store last.

    `purge`: the data, too; `limit`: only these hosts or groups, also hosts that have left the inventory. Raises InputError for a wrong
    inventory, and a limit that names nothing in it.
    """
    stack = inventories.load(inventory)
    with ExitStack() as opened:
        left = None
        if set(limit) - {host.name for host in stack.hosts} - set(COMPONENTS):
            left = left_hosts.find(stack, opened)
            gone = [left.hosts[name] for name in dict.fromkeys(limit) if name in left.hosts]
            stack = replace(stack, hosts=[*stack.hosts, *gone])
        wanted = _limited(stack, inventory, limit)
        # within a container of somebody's, or nowhere: a shell there would be one on this machine
        if odd := sorted(name for name in wanted if name.startswith("@") and name != "@local"):
            raise InputError(
                Code.UNINSTALL_HOST,
                f"host {odd[0]}: uninstall reaches hosts over SSH, or this machine as @local. Leave it out with --limit",
            )
        clients, away = ssh.connect([host for host in stack.hosts if host.name in wanted], opened)
        if not limit:
            # what is noted of them goes with the last of the others
            left = left_hosts.known(stack, clients)
        data = {host.name: host.data for host in stack.hosts}
        everywhere = stack.topology.settings[stack.topology.clickhouse_host]

        def moving(name: str) -> Move | None:
            try:
                return noting.noted(Shell(name, data[name], clients[name]))
            except UnreachableError:
                return None  # it is asked once more, and says why

        def ask(name: str) -> HostPlan | str:
            shell = Shell(name, data[name], clients[name])
            settings = stack.topology.settings.get(name, everywhere)
            try:
                found = surveyed(shell.run(SURVEY, _PATIENCE))
            except UnreachableError as error:
                return error.told
            here = HostPlan(name, shell, found, plan(found, purge, backups=settings.backup_target))
            if Paths().clickhouse_data in here.removal.data:
                here.events = _events(shell, settings.database)
            return here

        with ThreadPoolExecutor(max(1, len(clients))) as pool:
            _refuse_moving(dict(zip(clients, pool.map(moving, clients), strict=True)))
            answers = dict(zip(clients, pool.map(ask, clients), strict=True))
        away |= {name: answer for name, answer in answers.items() if isinstance(answer, str)}
        plans = [answer for answer in answers.values() if isinstance(answer, HostPlan)]
        plans.sort(key=lambda each: each.name in stack.topology.groups["clickhouse"])
        yield Hosts(plans, away, left)


def _refuse_moving(noted: Mapping[str, Move | None]) -> None:
    """Raise InputError where a part is on its way from one of the hosts, or to one where it may be in use."""
    for name, move in noted.items():
        if move and (name == move.source or (name == move.target and move.is_used)):
            raise InputError(
                Code.MOVE_UNDER_WAY,
                f"host {name}: {move.part} moves from {move.source} to {move.target}, and events may be here that are nowhere else. First complete "
                f"that: `{move.command}{' --finish' if move.is_moved else ''}`. To take all away all the same, first `sudo rm {moves.NOTE}` on this host",
            )


def _limited(stack: inventories.Stack, inventory: Path, limit: Sequence[str]) -> set[str]:
    hosts = {host.name: {host.name, *host.groups} for host in stack.hosts}
    for name in limit:
        if not any(name in names for names in hosts.values()):
            known = ", ".join(dict.fromkeys([*hosts, *COMPONENTS]))
            raise InputError(
                Code.HOST_NAME_UNKNOWN,
                f"--limit {name}: {inventory} has no such host or group. It has {known}",
            )
    return {host for host, names in hosts.items() if not limit or names & set(limit)}


def _events(shell: Shell, database: str) -> str:
    """Return how many events there are and from when to when, `` where ClickHouse does not say."""
    client = f"clickhouse-client --config-file={Paths().secrets}/clickhouse-client.xml"
    query = f"SELECT count(), min(timestamp), max(timestamp) FROM {database}.events"
    try:
        count, *times = shell.run(f"{client} --query {shlex.quote(query)}", _FOR_EVENTS).strip().split("\t")
        return (
            f"{int(count):,} event{'' if int(count) == 1 else 's'} from {' to '.join(times)} UTC"
            if int(count)
            else "no events"
        )
    except (UnreachableError, ValueError):
        return ""


def carry_out(host: HostPlan, tell: Callable[[str], object], *, shares: bool = False) -> None:
    """Do what is planned for a host, and tell each step as it begins. `shares`: the lock of the host is held already, to be shared.

    Raises UnreachableError when the connection is lost, CvatAnalyticsError when a step fails: the same command goes on from there;
    InputError when another is at work there, and nothing has been done.
    """
    who = f"{getpass.getuser()}@{socket.gethostname()}, uninstall"
    last = ""
    with host.shell.stream(host.removal.script(who, shares=shares), _STEP) as output:
        while line := output.readline():
            last = line.decode(errors="replace").removesuffix("\n")
            if last.startswith("step "):
                tell(last.removeprefix("step "))
            elif last.startswith("left "):
                host.removal.left.append((last.removeprefix("left "), "no deploy has made it"))
    if last.startswith("locked"):
        of_inventory = Host(host.name, (), host.shell.data)
        login = ssh.login_command(of_inventory) if host.shell.client else ""
        raise deploy_lock.locked(host.name, last.removeprefix("locked").strip(), login)
    if last.startswith("failed"):
        raise CvatAnalyticsError(
            Code.UNINSTALL_STEP, f"host {host.name}: {last.removeprefix('failed').strip() or 'a step failed'}"
        )
    if last != "done":
        raise UnreachableError(Code.CONNECTION_LOST, f"host {host.name}: the connection was lost")
