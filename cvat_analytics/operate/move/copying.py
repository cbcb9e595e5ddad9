"""Bring what an old ClickHouse has into a new one, by a backup that is restored there, and compare the two by table and month.

Done twice: while events still go to the old one, and once more when they go to the new one. Nothing doubles (backup/restoring.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.operate import person
from cvat_analytics.operate.backup import restoring
from cvat_analytics.operate.backup.reaching import Agent
from cvat_analytics.operate.backup.restoring import Restoring
from cvat_analytics.operate.backup.running import Tell
from cvat_analytics.store import smoke_events

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from cvat_analytics.connect.access import Access

_OWN = frozenset({"schema_migrations", "working_time_settings"})
"""What the new ClickHouse's own deploy has written there."""
_MADE_ANEW = frozenset(
    {"event_counts_settled", "event_days", "working_time_days", "working_time_by_day", "working_time_results"}
)
"""What is made of events: the new ClickHouse makes it anew, a day after the other, and throws away what has been brought."""
_AT_ONCE = 2_000_000
"""So many rows are looked for at once: each takes some 50 bytes of memory."""


@dataclass(frozen=True)
class Ends:
    """The old ClickHouse and the new one."""

    old: Agent
    new: Agent
    """The agents of backups on their hosts, which have one place for backups in common."""
    access: Access
    """The way to the new one."""
    list_file: Path
    """The list of erasures."""


@dataclass(frozen=True)
class Counted:
    """A month of a table: how many rows the old ClickHouse had of it, and the new one has."""

    table: str
    month: str
    old: int
    new: int


def brought(ends: Ends, tell: Tell) -> list[Counted]:
    """Bring all that the old ClickHouse has into the new one, and return what both have. Raises CvatAnalyticsError where a row is lacking."""
    # of a run that was cut off: what it had restored is older than what is there now
    ends.new(["drop"], tell)
    manifest = ends.old(["create"], tell)["manifest"]
    views = ["--views"] if restoring.has_erasures(ends.access, ends.list_file) else []
    manifest = ends.new(["prepare", manifest["name"], *views], tell)["manifest"]
    beside = manifest["beside"]
    for step in Restoring(ends.access, ends.list_file, beside, manifest, whole=True, left=_OWN).run():
        tell({"step": step, "state": "done"})
    # who was erased on the old one after the first time
    person.apply(person.Stored(ends.access, (), ends.list_file), lambda text: None)
    with explained(STORE):
        client = ends.access.client()
        counted = list(_counted(client, ends.access.database, beside))
    rows = sum(each.old for each in counted)
    tell({"step": "each table and month of both is compared", "state": "done", "rows": rows})
    ends.new(["drop"], tell)
    return counted


def _counted(client: Client, database: str, beside: str) -> Iterator[Counted]:
    """Yield what both have. Raises CvatAnalyticsError at the first month of a table of which the live one lacks something."""
    live = restoring.structures(client, database)
    for table, structure in restoring.structures(client, beside).items():
        if table in _OWN | _MADE_ANEW or table not in live:
            continue
        plain = structure.engine == "MergeTree"
        columns = [f"`{name}`" for name in structure.columns if name in live[table].columns]
        key = ", ".join(columns) if plain or not structure.sorting_key else structure.sorting_key
        row = f"sipHash128(tuple({key}))"
        months = client.query(
            f"SELECT DISTINCT partition_id FROM system.parts WHERE database = '{beside}' AND table = '{table}' AND active ORDER BY 1"
        ).result_rows
        for (month,) in months:
            if table == "events" and month == smoke_events.PARTITION:
                continue
            there, here = (
                client.query(
                    f"SELECT count(), sum(cityHash64({row})) FROM {each}.`{table}` WHERE _partition_id = '{month}' SETTINGS final = 1"
                ).result_rows[0]
                for each in (beside, database)
            )
            if there != here:
                _refuse_lacking(client, f"{database}.`{table}`", f"{beside}.`{table}`", row, month, there[0])
            yield Counted(table, month, int(there[0]), int(here[0]))


def _refuse_lacking(client: Client, live: str, beside: str, row: str, month: str, rows: int) -> None:
    """Raise CvatAnalyticsError where the live table has not got all of the other one's rows; it may have more, which came since."""
    turns = rows // _AT_ONCE + 1
    for turn in range(turns):
        # a hash of the hash: that of a part of the rows
        some = f"_partition_id = '{month}' AND cityHash64({row}) % {turns} = {turn}"
        (lacking,) = client.query(
            f"SELECT count() FROM {beside} WHERE {some} AND {row} NOT IN (SELECT {row} FROM {live} WHERE {some}) SETTINGS final = 1"
        ).result_rows[0]
        if lacking:
            raise CvatAnalyticsError(
                Code.MOVE_LACKING,
                f"{live}, month {month}: {lacking:,} of {rows:,} rows of the old ClickHouse are not in the new one. Nothing was taken away from "
                "the old one. Run the same command again, which brings what is lacking",
            )
