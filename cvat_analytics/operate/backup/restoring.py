"""Put a backup that the agent has restored beside the live tables, and compared, into them: nothing that is there goes, nothing doubles.

Every step may be done again: parts that are there are not attached once more, of rows that would add up only those come whose key is not
there, and what is kept once per row is kept once. So a run that was cut off is completed by the same command.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.operate import erasure_list, person
from cvat_analytics.operate.backup.agent import keeping
from cvat_analytics.operate.backup.agent.report import AgentError
from cvat_analytics.store import erasing, erasures, migrations, smoke_events
from cvat_analytics.store.event_columns import INSERT_SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from cvat_analytics.connect.access import Access

_LEFT = frozenset(
    {
        "schema_migrations",
        "backups",
        "replay_progress",
        "imported_days",
        "working_time_settings",
        "deployments",
    }
)
"""What says how the live stack is, not what it has seen."""
_SUMS = {"event_days": "day", "working_time_days": "user_id, day"}
"""Tables whose rows add up, by the key of which each is there once; what is lacking in a sum the views' scripts make up for."""
_LIVE_WINS = ("events_dead_letter",)
"""Tables that keep one row for each key and have no version: of two the one that is there is the newer one, as one that was mended since."""
_COUNTING = ("views/event_counts.sql", "views/working_time.sql")
"""The scripts that note each day's events anew: what was attached has passed no view."""


@dataclass(frozen=True)
class Restoring:
    """A stack, its list of erasures, and the database beside its own that has what is to be put in."""

    access: Access
    list_file: Path
    beside: str
    manifest: Mapping[str, Any]
    whole: bool
    """Whether all of the backup is restored: then what is made of events comes along."""
    left: frozenset[str] = _LEFT
    """Tables that are not touched."""

    @property
    def wanted(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the tables with their partitions."""
        wanted: Mapping[str, Mapping[str, Any]] = self.manifest["wanted"]
        return wanted

    def run(self) -> Iterator[str]:
        """Put everything in, yielding what comes next. Raises CvatAnalyticsError."""
        client, database = self.access.client(), self.access.database
        yield "people who were erased are taken out"
        self._erase(client, database)
        with explained(STORE):
            live = structures(client, database)
            theirs = structures(client, self.beside)
            for table in self.wanted:
                if table in self.left or table not in theirs or not self.wanted[table]:
                    continue
                yield f"table {table}"
                if table not in live:
                    client.command(f"RENAME TABLE {self.beside}.`{table}` TO {database}.`{table}`")
                elif table in _SUMS:
                    self._add_rows(client, table, live[table], theirs[table], _SUMS[table])
                elif table in _LIVE_WINS:
                    self._add_rows(client, table, live[table], theirs[table], live[table].sorting_key)
                elif live[table].engine == "MergeTree":
                    # month by month: what is looked for has to fit into memory
                    for (month,) in client.query(_partitions(self.beside, table)).result_rows:
                        within = f"_partition_id = '{month}'"
                        self._add_rows(client, table, live[table], theirs[table], "", within)
                else:
                    self._attach(client, table, live[table], theirs[table])
            if "events" in self.wanted:
                yield "counts and working time are noted anew"
                scripts = [each for each in migrations.read(ROOT / "clickhouse") if each.kind == "view"]
                if self.whole:
                    scripts = [each for each in scripts if each.name in _COUNTING]
                client.database = database
                migrations.apply(scripts, database, client.command)

    def _erase(self, client: Client, database: str) -> None:
        """Bring all lists of erasures together, and take out of the restored tables whoever is on them."""
        with explained(STORE):
            known = erasures.read(client, database)
            theirs = erasures.read(client, self.beside)
        listed = erasure_list.add(self.list_file, erasure_list.merged(known, theirs))
        if not listed:
            return
        with explained(STORE):
            erasing.remember(client, database, listed)
        # whom the backup's list has may be in its tables still: it was made while they were being taken out
        unfinished = {int(id): bool(kept) for id, kept in self.manifest.get("erasing", {}).items()}
        stored = person.Stored(_to(self.access, self.beside), (), self.list_file)
        person.apply(stored, lambda text: None, unfinished)

    def _attach(self, client: Client, table: str, live: Structure, theirs: Structure) -> None:
        """Give the live table the parts of the other one, month by month, or where the two are made differently their rows."""
        database = self.access.database
        months = {str(row[0]) for row in client.query(_partitions(self.beside, table)).result_rows} - (
            {smoke_events.PARTITION} if table == "events" else set()
        )
        for month in sorted(months):
            if client.query(_is_there(database, self.beside, table, month)).result_rows[0][0]:
                continue
            if live == theirs:
                client.command(
                    f"ALTER TABLE {database}.`{table}` ATTACH PARTITION ID '{month}' FROM {self.beside}.`{table}`"
                )
            else:
                self._add_rows(client, table, live, theirs, None, f"_partition_id = '{month}'")

    def _add_rows(
        self,
        client: Client,
        table: str,
        live: Structure,
        theirs: Structure,
        key: str | None,
        where: str = "1",
    ) -> None:
        """Insert rows of the columns that both have: all, or with a `key` those whose key is not there (empty: the whole row)."""
        names = ", ".join(f"`{name}`" for name in live.columns if name in theirs.columns)
        if key is not None:
            there = key or f"sipHash128(tuple({names}))"
            within = where if not key and live.keys[0] == theirs.keys[0] else "1"
            where += (
                f" AND ({there}) NOT IN (SELECT {there} FROM {self.access.database}.`{table}` WHERE {within})"
            )
        client.command(
            f"INSERT INTO {self.access.database}.`{table}` ({names}) SELECT {names} FROM {self.beside}.`{table}` WHERE {where}",
            settings=INSERT_SETTINGS | {"insert_allow_materialized_columns": 1, "transform_null_in": 1},
        )


@dataclass(frozen=True)
class Structure:
    """What two tables must have in common for one to take parts of the other."""

    engine: str
    columns: Mapping[str, str]
    keys: tuple[str, ...]

    @property
    def sorting_key(self) -> str:
        """Return it as it stands in SQL."""
        return self.keys[1]


def structures(client: Client, database: str) -> dict[str, Structure]:
    """Return the tables of a database that keep something."""
    query = (
        "SELECT name, engine, partition_key, sorting_key, primary_key FROM system.tables "
        f"WHERE database = '{database}' AND engine LIKE '%MergeTree'"
    )
    columns: dict[str, dict[str, str]] = {}
    of_columns = (
        f"SELECT table, name, type FROM system.columns WHERE database = '{database}' "
        "AND default_kind NOT IN ('ALIAS', 'EPHEMERAL') ORDER BY table, position"
    )
    for table, name, kind in client.query(of_columns).result_rows:
        columns.setdefault(str(table), {})[str(name)] = str(kind)
    return {
        str(name): Structure(str(engine), columns[str(name)], tuple(map(str, keys)))
        for name, engine, *keys in client.query(query).result_rows
    }


def _partitions(database: str, table: str) -> str:
    return f"SELECT DISTINCT partition_id FROM system.parts WHERE database = '{database}' AND table = '{table}' AND active"


def _is_there(database: str, other: str, table: str, partition: str) -> str:
    """Return the query whether the live table has each part of the other one's partition, as after a run that was cut off."""
    parts = f"FROM system.parts WHERE active AND table = '{table}' AND partition_id = '{partition}' AND database ="
    return f"SELECT count() = 0 FROM (SELECT hash_of_all_files {parts} '{other}' AND hash_of_all_files NOT IN (SELECT hash_of_all_files {parts} '{database}'))"


def _to(access: Access, database: str) -> Access:
    """Return the same way to another database."""
    settings = access.clickhouse.settings.model_copy(update={"database": database})
    return replace(access, clickhouse=replace(access.clickhouse, settings=settings))


def chosen(backups: list[dict[str, Any]], name: str, target: str) -> dict[str, Any]:
    """Return which of the backups is to be restored. Raises InputError where it is not there, or the newest was made after a loss."""
    try:
        return keeping.chosen(backups, name, target or "of the setting", to_restore=True)
    except AgentError as error:
        raise InputError(error.code, str(error)) from None


def has_erasures(access: Access, list_file: Path) -> bool:
    """Return whether anybody was erased: then the agent is to make the restored database whole, so that they can be taken out of it."""
    with explained(STORE):
        return bool(erasure_list.load(list_file) or erasures.read(access.client(), access.database))


def events(access: Access) -> int:
    """Return how many events the stack has, for the question whether to restore into it."""
    with explained(STORE):
        rows = (
            access.client()
            .query(
                f"SELECT ifNull(total_rows, 0) FROM system.tables WHERE database = '{access.database}' AND name = 'events'"
            )
            .result_rows
        )
    return int(rows[0][0]) if rows else 0
