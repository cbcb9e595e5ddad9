"""How it is with backups: when the last good one was, whether one was ever proven by restoring it, what keeps the next one from being made.

ClickHouse's table `backups` has it; where ClickHouse is down, the note of the last run that lies on its host.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.rendering.files import BACKUP, BACKUP_VERIFY, Paths

if TYPE_CHECKING:
    from cvat_analytics.config.settings import Settings
    from cvat_analytics.connect.shell import Shell

_TIMEOUT = 10
_PATIENCE = 30.0
_MARK = "note "


@dataclass(frozen=True)
class Backups:
    """What is known of the backups at a target; without a setting `backup_target` of those that were made by hand, anywhere."""

    target: str
    known: bool = True
    """Whether ClickHouse, or else its host, could be asked."""
    last: str = ""
    """The name of the newest good one."""
    started: datetime | None = None
    finished: datetime | None = None
    size: int = 0
    proven: str = ""
    """The name of the newest one that was restored and compared."""
    failed: str = ""
    """The name of the newest of all, where that failed."""
    why: str = ""
    """Why it failed, or why nothing is known."""
    too_old: bool = False
    """Whether the newest good one is older than `backup_too_old`, or there is none."""
    problems: Sequence[str] = ()
    """What is wrong with what makes them, a line each."""

    @property
    def fine(self) -> bool:
        """Return whether backups are made as they should be."""
        return not (self.too_old or self.failed or self.problems)


def of(access: Access, now: datetime | None = None) -> Backups:
    """Return what ClickHouse knows of the backups at the target of the settings; that it cannot be asked is said in the answer."""
    settings = access.clickhouse.settings
    nothing = Backups(settings.backup_target, known=False)
    try:
        with explained(STORE):
            client = access.client(timeout=_TIMEOUT)
            # an upgrade brings the table with its first deploy
            if not client.query(f"EXISTS TABLE {access.database}.backups").result_rows[0][0]:
                return nothing
            answer = client.query(_QUERY.format(database=access.database), {"target": settings.backup_target})
    except CvatAnalyticsError as error:
        return replace(nothing, why=str(error))
    row = dict(zip(answer.column_names, answer.result_rows[0], strict=True))
    moments = {
        name: row[name].replace(tzinfo=UTC) if row["last"] and row[name] else None
        for name in ("started", "finished")
    }
    found = Backups(
        settings.backup_target, True, row["last"], moments["started"], moments["finished"], int(row["size"]), row["proven"],
        *((row["newest"], row["message"]) if row["state"] == "failed" else ("", "")),
    )  # fmt: skip
    problems = [f"backup {row['damaged']} is DAMAGED: {row['damage']}"] if row["damaged"] else []
    if row["state"] == "incomplete":
        problems.append(f"backup {row['newest']} is INCOMPLETE: {row['message']}")
    found = replace(found, problems=problems)
    return judged(found, settings.backup_too_old, now or datetime.now(UTC))


_QUERY = """
SELECT
  argMaxIf(b.name, b.started, b.state = 'complete') AS last,
  maxIf(b.started, b.state = 'complete') AS started,
  argMaxIf(b.finished, b.started, b.state = 'complete') AS finished,
  argMaxIf(b.bytes, b.started, b.state = 'complete') AS size,
  argMaxIf(b.name, b.started, b.state = 'complete' AND b.verified IS NOT NULL) AS proven,
  maxIf(b.started, b.state = 'damaged') > maxIf(b.started, b.state = 'complete' AND b.verified IS NOT NULL) AS is_damaged,
  if(is_damaged, argMaxIf(b.name, b.started, b.state = 'damaged'), '') AS damaged, argMaxIf(b.message, b.started, b.state = 'damaged') AS damage,
  argMaxIf(b.name, b.started, b.state != 'running') AS newest, argMaxIf(b.state, b.started, b.state != 'running') AS state,
  argMaxIf(b.message, b.started, b.state != 'running') AS message
FROM {database}.backups AS b FINAL
WHERE {{target:String}} IN ('', b.target)
"""


def judged(found: Backups, too_old: timedelta, now: datetime) -> Backups:
    """Return `found` with whether the newest good one is too old; where nothing is to be backed up, none is."""
    old = found.started is None or now - found.started > too_old
    return replace(found, too_old=bool(found.target) and old)


def with_host(found: Backups, shell: Shell, settings: Settings, components: Sequence[str]) -> Backups:
    """Return `found` with what a host says that has these components: its timers, and where ClickHouse could not be asked its last run.

    Raises UnreachableError when the host does not answer.
    """
    from cvat_analytics.config.settings import GROUPS  # slow to import, and there where settings are given

    store = "clickhouse" in components
    if not settings.backup_target or not set(GROUPS) & set(components):
        return found
    units = [BACKUP, *([BACKUP_VERIFY] if store else [])]
    lines = [
        f'enabled=$(systemctl is-enabled {unit}.timer 2>/dev/null); echo "timer {unit} $(systemctl is-active {unit}.timer) ${{enabled:-missing}} '
        f'$(systemctl show --value -p Result {unit}.service)"'
        for unit in units
    ]
    lines.append(f"echo {_MARK}$(tr -d '\\n' < {Paths().backup_data}/last.json 2>/dev/null); true")
    said = shell.run("\n".join(lines), _PATIENCE).splitlines()
    problems = [
        problem
        for line in said
        if line.startswith("timer ")
        for problem in _timer_problems(shell.host, *line.split()[1:])
    ]
    found = replace(found, problems=[*found.problems, *problems])
    note = next((line.removeprefix(_MARK) for line in said if line.startswith(_MARK)), "")
    return found if found.known or not store else _by_note(found, note, settings)


def _timer_problems(host: str, unit: str, active: str, enabled: str, result: str = "success") -> list[str]:
    problems = []
    if (active, enabled) != ("active", "enabled"):
        what = "no backup is made" if unit == BACKUP else "no backup is proven"
        problems.append(
            f"{unit}.timer of {host} is {enabled if active == 'active' else active}, so that {what} there: "
            f"`systemctl enable --now {unit}.timer`, or deploy again"
        )
    if result != "success":
        problems.append(
            f"{unit}.service of {host} failed when it ran last ({result}): see `journalctl -u {unit}` there"
        )
    return problems


def _by_note(found: Backups, note: str, settings: Settings) -> Backups:
    """Return what the note of the last run says, where nobody else does."""
    try:
        last: Mapping[str, Any] = json.loads(note)
        name, state = str(last["name"]), str(last["state"])
        began = datetime.strptime(name, "%Y-%m-%dT%H-%M-%SZ").replace(tzinfo=UTC)
    except (ValueError, LookupError, TypeError):
        return found
    if state == "incomplete":
        return replace(
            found, problems=[*found.problems, f"backup {name} is INCOMPLETE: {last.get('message', '')}"]
        )
    if state == "complete":
        found = replace(found, last=name, started=began, size=int(last.get("bytes") or 0))
        return judged(found, settings.backup_too_old, datetime.now(UTC))
    return (
        replace(found, failed=name, why=str(last.get("message", "")))
        if state in ("failed", "damaged")
        else found
    )
