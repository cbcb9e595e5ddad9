"""Have the agents of a deployed stack do something, over SSH, and pass on what they say."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from cvat_analytics.base.codes import Code, first_code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableHostError
from cvat_analytics.config.inventory import Stack
from cvat_analytics.config.settings import GROUPS
from cvat_analytics.connect.remote import ReachedHost
from cvat_analytics.connect.shell import Output, Shell
from cvat_analytics.operate.backup import on_hosts, running
from cvat_analytics.operate.backup.running import Said, Tell
from cvat_analytics.rendering.files import Paths
from cvat_analytics.rendering.made import STATE

_MOMENT = 30.0
_PATIENCE = 24 * 3600.0
"""Seconds in which an agent says something: restic says nothing while it prunes or reads all that it has."""


def run(
    stack: Stack,
    hosts: Mapping[str, ReachedHost],
    target: str,
    arguments: Sequence[str],
    tell: Tell,
    away: Mapping[str, str] | None = None,
) -> Said:
    """Have the agent of ClickHouse's host do something, to `create` a backup those of the other hosts before it.

    Of a host that fails then, or is `away`, the answer says why, as `failures` by host, and the backup lacks its part. Without a `target`
    it is that of the settings. Raises InputError where no agent is deployed, and CvatAnalyticsError.
    """
    *keeping, store = backing_up(stack)
    failures = {host: why for host, why in (away or {}).items() if host in keeping}
    if store in (away or {}):
        raise UnreachableHostError(first_code(why := (away or {})[store]) or Code.HOST_UNREACHABLE, why)
    asked = [*(host for host in keeping if arguments[0] == "create" and host not in failures), store]
    for host in asked:
        noted = hosts[host].deployed
        if noted is None or not noted.settings.backup_target:
            raise InputError(
                Code.BACKUP_NOT_DEPLOYED,
                f"host {host}: has no agent of backups, as it was deployed without 'backup_target'. Set it (docs/how-to/back-up.md), then deploy",
            )
    if target.startswith("/") and len(keeping) > 0:
        raise InputError(
            Code.BACKUP_TARGET_OF_ONE_HOST,
            f"target {target}: is a directory of each host's own, and the stack is on several hosts; give a place that all reach, "
            "'sftp:user@host:/path' or 's3:https://host/bucket'",
        )
    *before, last = asked
    brought: list[str] = []
    for host in before:
        try:
            made = on_host(hosts[host].shell, target, arguments, tell)["manifest"]["parts"]
            brought += [f"--with={part['snapshot']}" for part in made.values()]
        except CvatAnalyticsError as error:
            failures[host] = f"host {host}: {error.told}"
    said = on_host(hosts[last].shell, target, [*arguments, *brought], tell)
    return said | ({"failures": failures} if arguments[0] == "create" else {})


def backing_up(stack: Stack) -> list[str]:
    """Return the hosts that back something up, that of ClickHouse last."""
    store = stack.topology.clickhouse_host
    others = [
        host
        for host in stack.topology.settings
        if host != store and set(GROUPS) & set(stack.topology.components(host))
    ]
    return [*others, store]


def is_todays(shell: Shell) -> bool:
    """Return whether the agent of a host is this checkout's. Raises UnreachableError."""
    note = f"{STATE}/{PurePosixPath(Paths().backup_program).name}.sha256"
    return shell.run(f"cat {note} 2>/dev/null; true", _MOMENT).strip() == on_hosts.digest()


def on_host(shell: Shell, target: str, arguments: Sequence[str], tell: Tell) -> Said:
    """Have the agent of a host do something. Raises CvatAnalyticsError."""
    words = [*(["--target", target] if target else []), *arguments]
    return heard(shell, f"{command(f'{Paths().backup_config}/agent.json')} {shlex.join(words)}", tell)


@contextmanager
def held(shell: Shell, others: Iterable[Shell] = ()) -> Iterator[None]:
    """Keep other restores on a host away meanwhile. Raises CvatAnalyticsError, also where its agent or that of `others` is not this checkout's."""
    for each in (shell, *others):
        if not is_todays(each):
            raise InputError(
                Code.BACKUP_VERSION,
                f"host {each.host}: has another version's agent of backups, and this one may want what it does not know. Deploy first, then restore; nothing was changed",
            )
    with shell.stream(f"{command(f'{Paths().backup_config}/agent.json')} hold; true", _PATIENCE) as output:
        running.wait_until_held(lines(output))
        yield


def command(config: str) -> str:
    """Return the command that runs the agent of a host with this file; what it is to do follows."""
    program = f"PYTHONPATH={Paths().backup_program} PYTHONDONTWRITEBYTECODE=1"
    return f"env -C / {program} nice -n 19 /usr/bin/python3 -m {running.MODULE} --config {config}"


def heard(shell: Shell, command: str, tell: Tell) -> Said:
    """Return what an agent says that `command` runs. Raises CvatAnalyticsError."""
    # the last line says what went wrong, and better than an exit code
    with shell.stream(f"{command}; true", _PATIENCE) as output:
        return running.answer(lines(output), tell)


def lines(output: Output) -> Iterator[str]:
    """Yield the lines of an output as they come."""
    while line := output.readline():
        yield line.decode(errors="replace").removesuffix("\n")
