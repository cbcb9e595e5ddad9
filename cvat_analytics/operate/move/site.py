"""A move as it is found: the inventory, the notes on the hosts, the ways there. What cannot be is refused here, before anything is changed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cvat_analytics.base.codes import Code, first_code
from cvat_analytics.base.errors import InputError, UnreachableHostError
from cvat_analytics.config import deployed, moves
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config.deployed import Deployed
from cvat_analytics.config.inventory import Stack
from cvat_analytics.config.moves import Move
from cvat_analytics.connect import ssh, volumes
from cvat_analytics.connect.shell import Shell
from cvat_analytics.connect.volumes import DIRECTORIES, size
from cvat_analytics.operate.move import noting
from cvat_analytics.rendering.files import UNITS
from cvat_analytics.rendering.made import STATE

_PATIENCE = 60.0
_TIMES = 4
"""A ClickHouse that comes to a host is there so often for a while: as a backup, fetched, restored, and live."""


@dataclass(frozen=True)
class Site:
    """A move, the inventory's stack, the stack with the part on its new host, and a shell on each host of both."""

    inventory: Path
    move: Move
    stack: Stack
    both: Stack | None
    """With the part on both hosts; None for ClickHouse, of which there is one."""
    after: Stack
    shells: Mapping[str, Shell]
    is_new: bool
    """Whether nothing has been done of it."""

    @property
    def before(self) -> Stack:
        """Return the stack with the part on its old host, whatever the inventory says by now."""
        return inventories.describe(moves.regrouped(self.stack.hosts, self.move.back), self.inventory)

    def hosts(self, stack: Stack) -> list[str]:
        """Return the hosts that have something in `stack`."""
        return list(stack.topology.settings)


@contextmanager
def opened(inventory: Path, part: str, target: str) -> Iterator[Site]:
    """Yield the move of `part` to the host `target`. Raises InputError where it cannot be, UnreachableHostError where a host is away."""
    stack = inventories.load(inventory)
    names = {host.name for host in stack.hosts}
    if target not in names:
        raise InputError(
            Code.MOVE_HOST,
            f"host {target}: is not in {inventory}, which has {', '.join(sorted(names))}. Put it there in a group of its own, for example "
            f'`spare = [("{target}", {{"address": "…"}})]`, with what it takes to log in',
        )
    with ExitStack() as opened_:
        members = [host for host in stack.hosts if host.name in {*stack.topology.settings, target}]
        shells = _shells(members, opened_)
        noted = {name: move for name, shell in shells.items() if (move := noting.noted(shell))}
        move = _chosen(stack, inventory, part, target, noted)
        if move.source not in names:
            raise InputError(
                Code.MOVE_HOST,
                f"host {move.source}: {part} moves from there, and {inventory} does not have it. Put it there in a group of its own, for example "
                f'`former = [("{move.source}", …)]`, until that is finished',
            )
        if move.source not in shells:
            shells |= _shells([host for host in stack.hosts if host.name == move.source], opened_)
        if there := as_noted(shells, move.source):
            _refuse_another(move.source, there, part, target)
            move = there
        if data := [name for name in move.parts if (inventory.parent / "group_data" / f"{name}.py").exists()]:
            raise InputError(
                Code.MOVE_INVENTORY,
                f"{inventory.parent}/group_data/{data[0]}.py: gives settings to a group that changes. Give them in group_data/all.py, or to the hosts",
            )
        after = inventories.describe(moves.regrouped(stack.hosts, move), inventory)
        both = None
        if part != "clickhouse":
            both = inventories.describe(moves.regrouped(stack.hosts, move, both=True), inventory)
        site = Site(inventory, move, stack, both, after, shells, not noted)
        if site.is_new:
            _refuse(site)
        yield site


def as_noted(shells: Mapping[str, Shell], source: str) -> Move | None:
    """Return the move that is noted: by the host that it leaves, which is written first, or where it was forgotten there by the others."""
    order = sorted(shells, key=lambda name: name != source)
    return next((move for name in order if (move := noting.noted(shells[name]))), None)


def refuse_changed(site: Site) -> None:
    """Raise InputError where somebody has moved or deployed since it was read what is there. To be asked under the lock of the hosts."""
    now = as_noted(site.shells, site.move.source)
    if now != (None if site.is_new else site.move):
        found = f"{now.part} from {now.source} to {now.target}: {now.step}" if now else "no move any more"
        raise InputError(
            Code.MOVE_UNDER_WAY,
            f"somebody else has been at work on these hosts meanwhile; now there is noted: {found}. Nothing was changed. Run it again",
        )
    if site.is_new:
        _refuse(site)


def _shells(hosts: list[inventories.Host], opened_: ExitStack) -> dict[str, Shell]:
    clients, away = ssh.connect(hosts, opened_)
    if away:
        text = "\n".join(away.values())
        raise UnreachableHostError(first_code(text) or Code.HOST_UNREACHABLE, text)
    return {host.name: Shell(host.name, host.data, clients[host.name]) for host in hosts}


def _chosen(stack: Stack, inventory: Path, part: str, target: str, noted: Mapping[str, Move]) -> Move:
    """Return the move that is asked for, as it is noted where it has begun."""
    for name, other in noted.items():
        _refuse_another(name, other, part, target)
    if noted:
        return next(iter(noted.values()))
    holders = stack.topology.groups[part]
    if target in holders:
        raise InputError(
            Code.MOVE_HOST, f"host {target}: the group {part!r} of {inventory} has it already: nothing moves"
        )
    if len(holders) > 1:
        raise InputError(
            Code.MOVE_HOST,
            f"the group {part!r} has {len(holders)} hosts: nothing has to move there. Add {target} to the group, deploy, tell CVAT, take another "
            "host out, and deploy",
        )
    (source,) = holders
    along = (
        ("gateway", "events_api") if part == "grafana" and source in stack.topology.groups["gateway"] else ()
    )
    return Move(part, source, target, along)


def _refuse_another(name: str, other: Move, part: str, target: str) -> None:
    """Raise InputError where another move is noted on the host of that name."""
    if (other.part, other.target) != (part, target):
        raise InputError(
            Code.MOVE_UNDER_WAY,
            f"host {name}: another move is noted there: {other.part} from {other.source} to {other.target}, since {other.since}. First complete it: "
            f"`{other.command}{' --finish' if other.is_moved else ''}`",
        )


def _refuse(site: Site) -> None:
    """Raise InputError where a move that has not begun cannot be."""
    move, topology = site.move, site.stack.topology

    def read(name: str) -> Deployed | None:
        text = site.shells[name].run(f"cat {deployed.NOTE} 2>/dev/null || true", _PATIENCE)
        return deployed.read(text, topology.settings[name])

    with ThreadPoolExecutor(len(topology.settings)) as pool:
        found = dict(zip(topology.settings, pool.map(read, topology.settings), strict=True))
    there = {name: note for name, note in found.items() if note}
    if lacking := sorted(found.keys() - there.keys()):
        raise InputError(
            Code.NOT_AS_DEPLOYED,
            f"host {lacking[0]}: nothing of a deploy is noted there. Run `cvat-analytics deploy` first",
        )
    if differences := deployed.differences(topology, there):
        raise InputError(Code.NOT_AS_DEPLOYED, "\n".join(map(str, differences)))
    target = site.shells[move.target]
    for part in move.parts:
        unit, place = UNITS[part], DIRECTORIES.get(part, "")
        holds = f'[ -z "$(ls -A {place} 2>/dev/null)" ] || echo data' if place else ":"
        said = target.run(f"systemctl -q is-active {unit} && echo runs; {holds}; true", _PATIENCE).split()
        if part in move.along and "runs" in said and move.target in topology.groups[part]:
            continue
        if said:
            what = f"the service {unit} runs there" if "runs" in said else f"{place} is not empty"
            raise InputError(
                Code.MOVE_HOST,
                f"host {move.target}: has a {part} already: {what}. Take that away first; of an earlier deploy: "
                f"`cvat-analytics uninstall --purge --limit {move.target}`",
            )
    if move.part == "clickhouse":
        refuse_without_room(site)
        _refuse_without_way(site)


def refuse_without_room(site: Site, times: int = _TIMES) -> None:
    """Raise InputError where there is no room: on the old host for a backup, on the new one for all that it is there for a while."""
    move = site.move
    used = stored(site)
    _refuse_without_room_for_copy(site, used, site.after.topology.settings[move.target].disk_reserve)
    for name, copies in ((move.source, 1), (move.target, times)):
        reserve = site.after.topology.settings[move.target].disk_reserve
        for volume in volumes.of_host(site.shells[name], ["clickhouse"], reserve):
            needed = copies * used + 2 * reserve
            if volume.free < needed:
                raise InputError(
                    Code.MOVE_ROOM,
                    f"host {name}: {size(volume.free)} free for {volume.directory}, and to move {size(used)} takes {size(needed)} there for a while. Make room",
                )


def _refuse_without_room_for_copy(site: Site, used: int, reserve: int) -> None:
    """Raise InputError where the copy that comes to the new host has no room on a disk of its own: it may be as large as the data."""
    place = PurePosixPath(STATE).parent
    said = site.shells[site.move.target].run(f"echo $(stat -f -c '%a %S' {place})", _PATIENCE).split()
    free = int(said[0]) * int(said[1]) if len(said) == 2 else 0
    if free < used + reserve:
        raise InputError(
            Code.MOVE_ROOM,
            f"host {site.move.target}: {size(free)} free for {STATE}, where the copy of {size(used)} comes to, which takes {size(used + reserve)} there "
            "for a while. Make room",
        )


def stored(site: Site) -> int:
    """Return the bytes of the part's data on its old host."""
    place = DIRECTORIES[site.move.part]
    said = (
        site.shells[site.move.source].run(f"du -sxB1 {place}/ 2>/dev/null | cut -f 1", 15 * _PATIENCE).strip()
    )
    return int(said or 0)


def _refuse_without_way(site: Site) -> None:
    address, port = way(site)
    command = (
        f"timeout 10 bash -c {shlex.quote(f': </dev/tcp/{address}/{port}')} 2>/dev/null && echo open || true"
    )
    if "open" not in site.shells[site.move.source].run(command, _PATIENCE):
        raise InputError(
            Code.MOVE_WAY,
            f"host {site.move.source}: does not reach {site.move.target} at {address}, port {port}, where its sshd is to be: by SSH goes what ClickHouse "
            "has. Let it through, or set 'address' and `ssh_port` of that host right",
        )


def way(site: Site) -> tuple[str, int]:
    """Return where the old host reaches the new one's sshd."""
    (data,) = [host.data for host in site.stack.hosts if host.name == site.move.target]
    return str(site.after.topology.settings[site.move.target].address), int(data.get("ssh_port") or 22)
