"""What an upgrade needs beside its deploys: that nothing waits in Vector, proof that the stack works, and the way back."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.checks import backups, flow, smoke
from cvat_analytics.config import deployed
from cvat_analytics.config.versions import BROUGHT_BACK, PREVIOUS, SETTINGS
from cvat_analytics.connect import remote
from cvat_analytics.operate.backup import over_ssh
from cvat_analytics.operate.backup.agent import keeping
from cvat_analytics.operate.removal import LOCK
from cvat_analytics.pipeline import journal
from cvat_analytics.pipeline.replay import Range, Replay
from cvat_analytics.rendering.files import BACKUP, UNITS, Paths

if TYPE_CHECKING:
    from cvat_analytics.config.inventory import Stack
    from cvat_analytics.connect.access import Access
    from cvat_analytics.connect.remote import ReachedHost

SMALL = 2**24
"""Bytes in a buffer of Vector's that count as next to nothing: what comes in while the last batches are delivered."""
_DUE = timedelta(days=1)
"""How old the newest good backup may be when versions change."""
_PATIENCE, _PAUSE = 900.0, 5.0
"""Seconds for what waits to be delivered, and between two looks; Vector says every 15 seconds how much it is."""

Say = Callable[[str], object]


def failing(inventory: Path) -> dict[str, str]:
    """Return the checks of the smoke test that fail, with what each says."""
    with remote.reach(inventory) as access:
        return {each.name: each.detail for each in smoke.run(access) if each.passed is False}


def other_changes(inventory: Path) -> list[str]:
    """Return the settings that differ from what is deployed, versions and where packages come from aside."""
    versions = {
        f"setting '{name}'" for name in (*SETTINGS.values(), "grafana_plugin_sha256", "package_source")
    }
    with remote.reach_hosts(inventory) as (stack, _, hosts):
        there = {name: host.deployed for name, host in hosts.items() if host.deployed}
        return [
            each.name for each in deployed.differences(stack.topology, there) if each.name not in versions
        ]


def back_up(inventory: Path, say: Say) -> None:
    """Make a backup where the stack makes backups and the newest good one is older than a day.

    Raises InputError when that fails: nothing has been changed then.
    """
    with remote.reach_hosts(inventory) as (stack, access, hosts):
        if not access.clickhouse.settings.backup_target:
            return
        newest = backups.of(access).started
        if newest and datetime.now(UTC) - newest < _DUE:
            return
        store = hosts[stack.topology.clickhouse_host]
        if not store.shell.run(f"systemctl cat {BACKUP}.service >/dev/null 2>&1 && echo there; true").strip():
            say("No backup is made before: what makes them is not deployed yet")
            return
        say("A backup is made before, as the newest good one is older than a day")
        try:
            _back_up(stack, access, hosts)
        except CvatAnalyticsError as error:
            store.ensure_connected()
            raise InputError(
                Code.UPGRADE_BACKUP,
                f"nothing was changed: the backup before the upgrade failed ({error}). `cvat-analytics status` says why. To upgrade without one, "
                "take 'backup_target' out and deploy first",
            ) from None


def _back_up(stack: Stack, access: Access, hosts: Mapping[str, ReachedHost]) -> None:
    """Make a complete backup. Raises CvatAnalyticsError."""
    asked = [hosts[name] for name in over_ssh.backing_up(stack)]
    if all(over_ssh.is_todays(host.shell) for host in asked):
        made = over_ssh.run(stack, hosts, "", ["create"], lambda said: None)
        wrong = list(made["failures"].values())
        if lacks := made["manifest"].get("lacks"):
            wrong.append(keeping.lacking(lacks))
    else:
        # the agents that are there may not know what this version would ask of them
        for host in asked:
            host.shell.run(
                f"! systemctl cat {BACKUP}.service >/dev/null 2>&1 || systemctl start {BACKUP}.service"
            )
        found = backups.of(access)
        is_new = found.started and datetime.now(UTC) - found.started < _DUE
        wrong = [] if is_new else [found.why, *found.problems]
        if not is_new and not any(wrong):
            wrong = ["it was made, and is not known as complete"]
    if wrong:
        raise CvatAnalyticsError(Code.UPGRADE_BACKUP, "; ".join(filter(None, wrong)))


def deliver(inventory: Path, say: Say) -> None:
    """Wait until what waits in Vector's buffers is delivered: it is promised to no other version.

    Raises InputError when it will not be.
    """
    with remote.reach(inventory) as access:
        _delivered(access, say, _PATIENCE)


def _delivered(access: Access, say: Say, patience: float) -> None:
    end = time.monotonic() + patience
    said = ""
    while True:
        found = flow.of(access)
        if found.refusals:
            sinks = ", ".join(sorted({each.sink for each in found.refusals}))
            raise InputError(
                Code.UPGRADE_UNDELIVERED,
                f"Vector is not exchanged: ClickHouse refuses what waits there ({sinks}), and it is promised to no other version of Vector. "
                "`cvat-analytics status` says why, and what to do",
            )
        # Vector that says nothing of itself may have ended with a full one
        waiting = [each for each in found.buffers if each.size is None or each.size > SMALL]
        if not waiting:
            return
        text = "; ".join(
            f"{each.name} on {each.host}: {'how much is not known, as its Vector says nothing' if each.size is None else f'{each.events or 0:,} events'}"
            for each in waiting
        )
        if time.monotonic() > end:
            raise InputError(
                Code.UPGRADE_UNDELIVERED,
                f"Vector is not exchanged: after {patience / 60:.0f} minutes this still waits to be delivered: {text}. What waits is promised to "
                "no other version. Deploy again when `cvat-analytics status` shows that it has come in",
            )
        if text != said:
            say(f"waits to be delivered before Vector is exchanged: {text}")
            said = text
        time.sleep(_PAUSE)


def close(inventory: Path, component: str, names: Iterable[str]) -> None:
    """Note on hosts that an upgraded component has proved itself: what was kept stays until the next one."""
    with remote.reach_hosts(inventory) as (_, _, hosts):
        for name in names:
            hosts[name].shell.run(f"rm -f {PREVIOUS}/{UNITS[component]}/open")


def bring_back(inventory: Path, component: str, names: Sequence[str]) -> list[str]:
    """Bring back what was kept of a component on hosts, and return a line each of what has come of it.

    What a Vector has taken meanwhile is inserted from the journal.
    """
    told = []
    with remote.reach_hosts(inventory) as (_, access, hosts):
        for name in names:
            try:
                said = _brought(hosts[name], component)
            except CvatAnalyticsError as error:
                told.append(f"host {name}: {component} could not be brought back: {error}")
                continue
            words, _, stopped = said.rpartition(" ")
            told.append(f"host {name}: {words if stopped.isdigit() else said.strip()}")
            if component == "vector" and said.startswith(BROUGHT_BACK):
                told.append(f"host {name}: {_inserted(access, name, hosts[name], stopped)}")
    return told


def _brought(host: ReachedHost, component: str) -> str:
    unit = UNITS[component]
    kept = f"{PREVIOUS}/{unit}"
    nothing = f"{component}: nothing of before is kept there, so that nothing was brought back; {unit} is"
    # as a turn of this upgrade has it: no other deploy begins meanwhile
    locked = f"exec 9>>{LOCK}; flock -s -w 30 9 || {{ echo {shlex.quote(f'{component}: another deploy is at work there, so that nothing was brought back')}; exit 0; }}"
    answer = host.shell.run(
        f"if [ -e {kept}/open ]; then ( {locked}; sh {kept}/back 2>&1 9>&- ); "
        f"else echo {shlex.quote(nothing)} $(systemctl is-active {unit}); fi; true"
    )
    return (answer.strip().splitlines() or ["it said nothing"])[-1]


def _inserted(access: Access, name: str, host: ReachedHost, stopped: str) -> str:
    if not stopped.isdigit():
        return "the new Vector was not started"
    since = datetime.fromtimestamp(int(stopped), UTC).replace(minute=0, second=0, microsecond=0)
    place = f"{Paths().vector_data}/journal"
    period = Range(since, None, "arrival")
    files = period.files(journal.find_on_host(host.shell, place))
    try:
        outcome = Replay(access, f"{name}:{place}", files, period).run(lambda done: None)
    except CvatAnalyticsError as error:
        return f"what came since {since:%Y-%m-%d %H:%M} UTC is in the journal, and was not inserted again: {error}"
    return f"{outcome.inserted:,} events that the new Vector had taken were inserted from the journal"
