"""The whole stack on one machine without root: where it is, what it is made of, how it is reached, and how it is.

ClickHouse is the real engine. Vector and Grafana are the real ones where they are installed; otherwise two
substitutes stand for them, which are conveniences and prove nothing about what they replace. What starts it is in
`starting`. Commands that only ask import this module, so that it loads no library before a call needs one.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.connect import volumes
from cvat_analytics.credentials import secrets, users
from cvat_analytics.embedded.privacy import private
from cvat_analytics.embedded.processes import Processes, is_ready
from cvat_analytics.rendering.files import Paths

if TYPE_CHECKING:
    from cvat_analytics.checks.health import State
    from cvat_analytics.connect.access import Access
    from cvat_analytics.connect.volumes import Volume
    from cvat_analytics.rendering.context import Context

HOST = "embedded"
PARTS = ("clickhouse", "vector", "events_api", "viewer")
PORTS = (
    "clickhouse_http_port", "clickhouse_native_port", "vector_port", "grafana_port", "events_api_port", "vector_large_port",
)  # fmt: skip
RESERVE = 64 * 2**20
"""What stays free on its disk (the setting `disk_reserve`)."""
_DOORS = {
    "clickhouse": ("clickhouse_http_port", "/ping"),
    "vector": ("vector_port", "/ping"),
    "events_api": ("events_api_port", "/health"),
    "viewer": ("grafana_port", "/api/health"),
}
"""The port of each part, and where it says there that it is ready."""
_PATIENCE = 10.0
"""Seconds for an answer of a part that is only looked at: a busy machine is no broken part."""


@dataclass(frozen=True)
class Stack:
    """An embedded stack in `directory` on the ports from `port_base` on."""

    directory: Path
    port_base: int

    @property
    def processes(self) -> Processes:
        """Return the stack's processes."""
        return Processes(self.directory)

    @property
    def paths(self) -> Paths:
        """Return where its files are."""
        return Paths(str(self.directory))

    def port(self, part: str) -> int:
        """Return where a part listens, without the settings, which take long to load."""
        return self.port_base + PORTS.index(_DOORS[part][0])

    def context(self) -> Context:
        """Return what its templates are rendered with."""
        from cvat_analytics.config import topology
        from cvat_analytics.rendering.context import Context

        values: dict[str, Any] = {name: self.port_base + offset for offset, name in enumerate(PORTS)}
        # a laptop has other things on its disk
        values["disk_reserve"] = RESERVE
        values["grafana_root_url"] = f"http://127.0.0.1:{values['grafana_port']}/"
        described = topology.build(
            dict.fromkeys((*topology.GROUPS, "events_api"), (HOST,)),
            {HOST: values},
            where=str(self.directory),
        )
        file = self.directory / "secrets.json"
        if file.exists():
            # a password that a newer checkout has a use for, and that `up` would make
            secrets.init(file)
        return Context(HOST, described, secrets.load(file), self.paths, _memory())

    def access(self) -> Access:
        """Return how to reach it."""
        from cvat_analytics.config.endpoints import Endpoint, listening
        from cvat_analytics.connect.access import Access

        context = self.context()

        def endpoint(component: str) -> Endpoint:
            return Endpoint(*listening(component, context.settings), context.settings)

        return Access(
            clickhouse=endpoint("clickhouse"),
            vector=endpoint("vector"),
            grafana=endpoint("grafana"),
            events_api=endpoint("events_api"),
            secrets=context.secrets,
            volumes=self.volumes,
        )

    def volumes(self) -> list[Volume]:
        """Return the disks with its data."""
        paths = self.paths
        places = {
            "clickhouse": paths.clickhouse_data,
            "vector": paths.vector_data,
            "grafana": paths.grafana_data,
        }
        return volumes.local(HOST, places, RESERVE)

    def describe(self) -> dict[str, Any]:
        """Return the stack as the JSON object that `up --json` prints (docs/reference/embedded.md)."""
        from cvat_analytics.config.endpoints import LOOPBACK

        access = self.access()
        settings = access.clickhouse.settings
        pids = {name: self.processes.pid(name) for name in PARTS}
        return {
            "clickhouse": {
                "http": access.clickhouse.url,
                "native_port": settings.clickhouse_native_port,
                "database": access.database,
                "user": "admin",
                "password": access.secrets["clickhouse_admin"],
            },
            "vector": {"http": access.vector.url},
            "viewer": {"http": access.grafana.url},
            "events_api": {
                "http": f"http://{LOOPBACK}:{settings.events_api_port}",
                "user": users.ADMIN,
                "password": access.secrets["events_api_admin"],
            },
            "pids": {name: pid for name, pid in pids.items() if pid},
        }


def find(directory: Path) -> Stack:
    """Return the stack in `directory`. Raises InputError when there is none."""
    try:
        state = json.loads((directory / "stack.json").read_text())
        return Stack(directory.absolute(), int(state["port_base"]))
    except FileNotFoundError:
        raise InputError(
            Code.STACK_MISSING,
            f"{directory}: there is no stack. Start one with `cvat-analytics up --dir {shlex.quote(str(directory))}`",
        ) from None
    except (ValueError, KeyError):
        raise InputError(
            Code.STACK_DAMAGED,
            f"{directory}/stack.json: is damaged. Remove it and run `cvat-analytics up --dir {shlex.quote(str(directory))}` again; the data stays",
        ) from None


def users_file(directory: Path) -> Path:
    """Return the file with the users of the events API, of the stack in `directory`."""
    return directory / users.FILE_NAME


def down(directory: Path) -> list[str]:
    """Stop the stack in `directory` and return the names of the parts that ran. The data stays."""
    with locked(directory.absolute()):
        return stop(find(directory))


def status(directory: Path) -> dict[str, State]:
    """Return for each part `running`, `not answering` or `stopped`."""
    stack = find(directory)
    states: dict[str, State] = {}
    for name in PARTS:
        running = stack.processes.pid(name) is not None
        ready = running and is_ready(ready_url(name, stack.port(name)), _PATIENCE)
        states[name] = "running" if ready else "not answering" if running else "stopped"
    return states


def ready_url(part: str, port: int) -> str:
    """Return where a part answers 200 as soon as it is ready."""
    return f"http://127.0.0.1:{port}{_DOORS[part][1]}"


def stop(stack: Stack) -> list[str]:
    """Stop the parts, the producers' side first, so that nothing in flight meets a closed door."""
    return [name for name in ("events_api", "vector", "viewer", "clickhouse") if stack.processes.stop(name)]


def _memory() -> int:
    """Return the bytes of memory that there are: the machine's, or its container's or control group's where that has less."""
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *group_limits(Path("/")))


def group_limits(root: Path) -> Iterator[int]:
    """Yield the limits of memory of this process's control groups, version 1 and 2, from the innermost to the outermost."""
    yield sys.maxsize
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, group in groups:
        if controllers not in ("", "memory"):
            continue
        # a container may see its own group as the root, while the name is that outside
        for inside in (PurePosixPath(group), *PurePosixPath(group).parents):
            place = root / "sys/fs/cgroup" / controllers / str(inside).lstrip("/")
            with suppress(OSError, ValueError):  # `max`: none
                yield int((place / ("memory.limit_in_bytes" if controllers else "memory.max")).read_text())


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let one `up` or `down` at a time work in `directory`."""
    try:
        # what lies above it is not the stack's
        directory.parent.mkdir(parents=True, exist_ok=True)
        with private():
            directory.mkdir(exist_ok=True)
            lock = (directory / "lock").open("w")
    except OSError as error:
        raise InputError(
            Code.DIRECTORY_UNUSABLE,
            f"{directory}: cannot be used ({error.strerror}). Choose another directory with --dir",
        ) from None
    with lock, private():
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
