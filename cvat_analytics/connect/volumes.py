"""How much is free where a stack's data lies: asked of the operating system, as ClickHouse may be down for want of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError, UnreachableError

if TYPE_CHECKING:
    from cvat_analytics.connect.shell import Shell

DIRECTORIES = {
    "clickhouse": "/var/lib/clickhouse",
    "vector": "/var/lib/vector",
    "grafana": "/var/lib/grafana",
}
"""Where each component has its data, below the root of its stack."""
RECIPE = "docs/how-to/disk-is-full.md"
CLOSED = "/run/cvat-analytics-vector/closed.toml"
"""What a host's Vector runs with while it takes no events (templates/vector/start.j2)."""
_PATIENCE = 15.0
"""Seconds for a host's answer."""
_NAMES = {"clickhouse": "ClickHouse", "vector": "Vector", "grafana": "Grafana"}


@dataclass(frozen=True)
class Volume:
    """A disk with data of a stack. `free`, `size` and `reserve` (the setting `disk_reserve`) are bytes."""

    host: str
    components: tuple[str, ...]
    directory: str
    """Of the first of them."""
    free: int
    size: int
    reserve: int
    opens_at: int
    """With how much free a Vector takes events again that has stopped to."""
    closed: bool = False
    """Whether the Vector of a host takes no events now."""

    @property
    def is_little(self) -> bool:
        """Return whether so little is free that nothing may begin which needs room."""
        return self.free < 2 * self.reserve

    @property
    def refuses(self) -> Sequence[str]:
        """Return the components that take nothing any more."""
        # one that is closed with more than that is just being opened; if it stays so, its keeper is to blame and not the disk
        vector = self.opens_at if self.closed else self.reserve // 2
        limits = {"clickhouse": self.reserve, "vector": vector}
        return [name for name in self.components if self.free < limits.get(name, 0)]

    def __str__(self) -> str:
        """Return in a sentence how little is free, and what that does."""
        *others, last = (_NAMES[name] for name in self.components)
        names = f"{', '.join(others)} and {last}" if others else last
        text = f"host {self.host}: the disk of {names} ({self.directory}) has {size(self.free)} of {size(self.size)} free"
        effects = {
            "clickhouse": ("takes no more inserts", self.reserve, ""),
            "vector": (
                "takes no events, which CVAT keeps",
                self.reserve // 2,
                f", until {size(self.opens_at)} are free",
            ),
        }
        does = [
            f"{_NAMES[name]} {what}{until}"
            if name in self.refuses
            else f"below {size(limit)} {_NAMES[name]} {what}"
            for name, (what, limit, until) in effects.items()
            if name in self.components
        ]
        return f"{text}: {'; '.join([*does, f'make room ({RECIPE})'])}"


def command(components: Iterable[str]) -> str:
    """Return a line of sh that says how much is free for each of `components` on its host; `parsed` reads what it prints."""
    closed = {"vector": f"; [ -e {shlex.quote(CLOSED)} ] && echo closed"}
    # a directory that is not there yet will be below one that is
    return (
        "; ".join(
            f"for at in {shlex.quote(DIRECTORIES[name])} /var/lib; do [ -d $at ] && echo {name} $(stat -f -c '%a %S %b' $at; stat -c %d $at{closed.get(name, '')}) && break; done"
            for name in components
            if name in DIRECTORIES
        )
        + "; true"
    )


def parsed(host: str, lines: Iterable[str], reserve: int) -> list[Volume]:
    """Return the volumes of `host` by what `command` has printed there."""
    rows = (line.split() for line in lines)
    return _joined(
        (
            device,
            Volume(
                host,
                (name,),
                DIRECTORIES[name],
                int(free) * int(block),
                int(blocks) * int(block),
                reserve,
                # as cvat-analytics-room.service has it
                reserve * 3 // 4,
                bool(closed),
            ),
        )
        for name, free, block, blocks, device, *closed in (row for row in rows if len(row) in (5, 6))
    )


def of_host(shell: Shell, components: Iterable[str], reserve: int) -> list[Volume]:
    """Return the volumes of a host; none where it does not say, which is not what anybody has asked it for."""
    try:
        return parsed(shell.host, shell.run(command(components), _PATIENCE).splitlines(), reserve)
    except UnreachableError:
        return []


def local(host: str, directories: Mapping[str, str], reserve: int) -> list[Volume]:
    """Return the volumes of components whose data is in `directories` of this machine."""
    volumes = []
    for name, directory in directories.items():
        if Path(directory).is_dir():
            disk = os.statvfs(directory)
            free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
            # the stand-in for Vector looks at each request, and at one limit
            volume = Volume(host, (name,), directory, free, total, reserve, opens_at=reserve // 2)
            volumes.append((str(Path(directory).stat().st_dev), volume))
    return _joined(volumes)


def refuse_without_room(volumes: Iterable[Volume], what: str) -> None:
    """Raise InputError when little is free on ClickHouse's disk: `what` must not begin there.

    On a full disk a mutation never ends, and the note that it leaves keeps ClickHouse from starting.
    """
    for volume in volumes:
        if volume.is_little and "clickhouse" in volume.components:
            raise InputError(
                Code.DISK_FULL,
                f"{what} is not begun: it needs room on the disk of ClickHouse (host {volume.host}, {volume.directory}), which has "
                f"{size(volume.free)} free, less than {size(2 * volume.reserve)} (twice the setting 'disk_reserve'). Make room ({RECIPE}), "
                "then run the same command again",
            )


def size(count: int) -> str:
    """Return a number of bytes as people say it."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _joined(volumes: Iterable[tuple[str, Volume]]) -> list[Volume]:
    """Return those of one device as one volume."""
    joined: dict[str, Volume] = {}
    for device, volume in volumes:
        known = joined.get(device)
        joined[device] = (
            replace(
                known,
                components=known.components + volume.components,
                closed=known.closed or volume.closed,
            )
            if known
            else volume
        )
    return list(joined.values())
