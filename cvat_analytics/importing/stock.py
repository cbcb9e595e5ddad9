"""Convert the event table of a stock CVAT installation where it stands, without losing a row, and undo that if wanted.

The stack's table takes the place and the name of the stock one in one step, so that new events go into it from that moment;
the stock table stays aside as `events_stock` while its rows are copied, and until the operator has confirmed. Every step
looks at what is there first: whatever was interrupted is completed by running the same command again.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from clickhouse_connect.driver.client import Client

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.connect.access import Access, pairs
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.importing.copying import ROWS, Copy, Ledger, Progress, plan
from cvat_analytics.importing.tables import Table, find, ranges
from cvat_analytics.store import erasures, migrations, rebuild
from cvat_analytics.store.event_columns import INSERT_SETTINGS

ASIDE = "events_stock"
"""Where the stock table is after the conversion."""
_NEW, _CONVERTED = "events_new", "events_converted"
_PATIENCE = 60.0


def is_stock(engine: str) -> bool:
    """Return whether a table with this engine (`engine` or `engine_full` of system.tables) is CVAT's own."""
    return re.match(r"MergeTree\b", engine) is not None


@explained(STORE)
def refuse(table: Table) -> None:
    """Raise InputError when `table` is a stock table, which would store an event once more each time it comes, or of an earlier version."""
    if is_stock(_Database(table.client, table.database).engine(table.name)):
        raise InputError(
            Code.STOCK_TABLE,
            f"{table.where}: its table {table.database}.{table.name} is one of a stock CVAT installation. Convert it with "
            "`cvat-analytics stock convert` first",
        )
    # it would wrap greater numbers without a word
    if _Database(table.client, table.database).count_type(table.name) == rebuild.FORMER_TYPE:
        raise InputError(
            Code.SCHEMA_BEHIND,
            f"{table.where}: its table {table.database}.{table.name} is one of an earlier version. Run `cvat-analytics deploy` (embedded: "
            "`cvat-analytics up`) first, which rebuilds it",
        )


def destination(access: Access) -> Table:
    """Return the stack's own table, as one to bring events into. Raises InputError when it is none into which they can be brought."""
    # admin: the only user who may read the events as well as insert them, and make the tables that resuming needs
    client = access.client()
    cvat_columns = access.clickhouse.settings.cvat_columns
    target = find(
        client, access.database, "events", STORE, fix="Deploy the stack first", cvat_columns=cvat_columns
    )
    refuse(target)
    return replace(target, into=erasures.INCOMING)


@dataclass(frozen=True)
class _Database:
    """The stack's database and what this module does in it."""

    client: Client
    name: str

    def engine(self, table: str) -> str:
        """Return the engine of `table`, or nothing when there is no such table."""
        rows = self.client.query(
            "SELECT engine FROM system.tables WHERE database = {database:String} AND name = {table:String}",
            parameters={"database": self.name, "table": table},
        ).result_rows
        return str(rows[0][0]) if rows else ""

    def count_type(self, table: str) -> str:
        """Return the type of the column `count` of `table`, or nothing when there is no such table."""
        query = "SELECT type FROM system.columns WHERE database = {database:String} AND table = {table:String} AND name = 'count'"
        rows = self.client.query(query, parameters={"database": self.name, "table": table}).result_rows
        return str(rows[0][0]) if rows else ""

    def run(self, statement: str) -> None:
        """Execute a statement, unqualified tables being those of this database."""
        self.client.command(statement, settings={"max_table_size_to_drop": 0})

    def exchange(self, one: str, other: str) -> None:
        """Let two tables change their names in one step, and wait for the inserts that have begun before."""
        self.run(f"EXCHANGE TABLES {self.name}.{one} AND {self.name}.{other}")
        begin = time.monotonic()
        while self._older_inserts(time.monotonic() - begin):
            if time.monotonic() - begin > _PATIENCE:
                raise CvatAnalyticsError(
                    Code.INSERT_RUNNING,
                    f"{STORE}: an INSERT has been running for more than {_PATIENCE:.0f} s. Run the same command again when it has ended",
                )
            time.sleep(0.2)

    def _older_inserts(self, seconds: float) -> int:
        query = f"SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND elapsed >= {seconds}"
        return int(only_row(self.client.query(query).result_rows)[0])


@explained(STORE)
def convert(access: Access, chunk_rows: int = ROWS) -> Copy:
    """Put the stack's table in the place of the stock one, and return what there is to copy into it.

    Raises InputError when there is no stock table, or one with columns for which there is no place.
    """
    database = _reach(access)
    with_stock = [name for name in ("events", _NEW, ASIDE) if is_stock(database.engine(name))]
    if not with_stock:
        raise InputError(
            Code.STOCK_NOTHING,
            f"{STORE}: {database.name}.events is no table of a stock CVAT installation (or there is none); there is nothing to convert",
        )
    in_the_way = [name for name in (ASIDE, _CONVERTED) if database.engine(name)]
    if len(with_stock) > 1 or (with_stock == ["events"] and in_the_way):
        raise InputError(
            Code.STOCK_IN_THE_WAY,
            f"{STORE}: beside the stock table {database.name}.events there is {', '.join(in_the_way) or _NEW}. Run `cvat-analytics "
            "stock rollback` if an earlier one was interrupted; else rename or drop what is not needed",
        )
    found = find(database.client, database.name, with_stock[0], STORE)
    # as an option it would be lost on the way back: what differs from the stock table counts as arrived meanwhile
    found.refuse_other_text(
        "Convert them where they are, if cp1252 is their encoding, then run the same command again. The statement rewrites the column, "
        "and needs as much room on the disk as the column has, or more (docs/how-to/disk-is-full.md): "
        "`ALTER TABLE {table} UPDATE {column} = convertCharset(assumeNotNull({column}), 'cp1252', 'UTF-8') "
        "WHERE NOT isValidUTF8(ifNull({column}, '')) SETTINGS mutations_sync = 1`"
    )
    if with_stock == ["events"]:
        _ledger(database).create()
        _ledger(database).forget()
        _make_new(access, database)
        database.exchange("events", _NEW)
        with_stock = [_NEW]
    if with_stock == [_NEW]:
        database.run(f"RENAME TABLE {database.name}.{_NEW} TO {database.name}.{ASIDE}")
    _apply_scripts(access)
    return _copy(access, database, chunk_rows)


@explained(STORE)
def rollback(access: Access, progress: Progress) -> int:
    """Put the stock table back into its place, with the events that have arrived in the meantime; return how many.

    `progress` is told the rows of each step. Raises InputError when there is nothing to undo.
    """
    database = _reach(access)
    bring = functools.partial(_return_events, database, access.clickhouse.settings.cvat_columns)
    if not is_stock(database.engine("events")):
        if not is_stock(database.engine(ASIDE)):
            raise InputError(
                Code.STOCK_NOTHING,
                f"{STORE}: there is no {database.name}.{ASIDE}; nothing has been converted, or it has been confirmed",
            )
        # most is copied while events still go to the stack's table, the rest after that
        database.run(
            f"ALTER TABLE {database.name}.{ASIDE} ADD COLUMN IF NOT EXISTS access_token_id Nullable(UInt64)"
        )
        arrived = bring("events", ASIDE, progress)
        # the next deploy, or conversion, makes the table and the views anew, and must not believe that they are there. What else
        # was migrated stays as it is, and is not migrated again
        database.run(
            f"ALTER TABLE {database.name}.{migrations.LEDGER} DELETE WHERE kind = 'view' OR name = 'init.sql' "
            "SETTINGS mutations_sync = 1"
        )
        for view in reversed(_views()):
            # some of these names were tables of earlier versions, whose contents are no copy of the events
            if database.engine(view).endswith("View"):
                database.run(f"DROP VIEW IF EXISTS {database.name}.{view} SYNC")
        database.exchange("events", ASIDE)
    else:
        arrived = 0
        if is_stock(database.engine(ASIDE)):
            raise InputError(
                Code.STOCK_IN_THE_WAY,
                f"{STORE}: {database.name}.events and {database.name}.{ASIDE} are both stock tables; rename or drop the one that "
                "is not needed",
            )
    if database.engine(ASIDE):
        database.run(f"RENAME TABLE {database.name}.{ASIDE} TO {database.name}.{_CONVERTED}")
    if not database.engine(_CONVERTED):
        raise InputError(Code.STOCK_NOTHING, f"{STORE}: {database.name}.events is the stock table already")
    arrived += bring(_CONVERTED, "events", lambda rows: None)
    _ledger(database).forget()
    database.run(f"DROP TABLE {database.name}.{_CONVERTED} SYNC")
    return arrived


@explained(STORE)
def conversion(access: Access) -> Copy:
    """Return the conversion that has not been confirmed. Raises InputError when there is none."""
    database = _reach(access)
    if not is_stock(database.engine(ASIDE)) or is_stock(database.engine("events")):
        raise InputError(
            Code.STOCK_NOTHING,
            f"{STORE}: there is no {database.name}.{ASIDE} beside a converted table; there is nothing to confirm",
        )
    return _copy(access, database)


@explained(STORE)
def confirm(access: Access) -> None:
    """Drop the stock table. It is for the caller to have compared both sides before."""
    database = _reach(access)
    database.run(f"DROP TABLE {database.name}.{ASIDE} SYNC")
    _ledger(database).forget()


def _reach(access: Access) -> _Database:
    return _Database(access.client(), access.database)


def _ledger(database: _Database) -> Ledger:
    return Ledger(database.client, database.name, ASIDE)


def _copy(access: Access, database: _Database, chunk_rows: int = ROWS) -> Copy:
    source = find(database.client, database.name, ASIDE, f"{database.name}.{ASIDE}")
    settings = access.clickhouse.settings
    target = find(database.client, database.name, "events", STORE, cvat_columns=settings.cvat_columns)
    target = replace(target, into=erasures.INCOMING)
    return plan(source, target, ASIDE, settings.events_retention, chunk_rows)


def _make_new(access: Access, database: _Database) -> None:
    """Make the stack's table beside the stock one: in a database of its own, where its script finds no other `events`."""
    scratch = f"{database.name}_conversion"
    database.run(f"DROP TABLE IF EXISTS {database.name}.{_NEW} SYNC")
    database.run(f"DROP DATABASE IF EXISTS {scratch} SYNC")
    database.run(f"CREATE DATABASE {scratch}")
    client = access.client()
    client.database = scratch
    init = migrations.read(ROOT / "clickhouse")[0]
    for statement in migrations.statements(init.sql):
        client.command(statement)
    database.run(f"RENAME TABLE {scratch}.events TO {database.name}.{_NEW}")
    database.run(f"DROP DATABASE {scratch} SYNC")


def _apply_scripts(access: Access) -> None:
    """Bring the rest of the database to what the stack needs; what the settings say of it is for the next deploy."""
    client, name = access.client(), access.database
    for statement in migrations.bootstrap(name):
        client.command(statement)
    client.database = name
    scripts = migrations.read(ROOT / "clickhouse")
    if "init.sql" not in pairs(client, migrations.applied_query(name)):
        # after a rollback it is the only migration that is missing
        migrations.apply(scripts[:1], name, client.command)
    applied = pairs(client, migrations.applied_query(name))
    migrations.apply(migrations.pending(scripts, applied), name, client.command)


def _views() -> list[str]:
    """Return the views that the stack's scripts make anew, in their order; not those through which events go in, by the table's name."""
    pattern = r"CREATE (?:OR REPLACE )?(?:MATERIALIZED )?VIEW (?!IF )(\w+)"
    text = "\n".join(script.sql for script in migrations.read(ROOT / "clickhouse"))
    return list(dict.fromkeys(re.findall(pattern, text)))


def _return_events(
    database: _Database, cvat_columns: Iterable[str], origin: str, target: str, progress: Progress
) -> int:
    """Insert into `target` what only `origin` has, and return how many events that were."""
    source = find(database.client, database.name, origin, STORE, cvat_columns=cvat_columns)
    into = Table(database.client, database.name, target, source.columns, STORE)
    names = ", ".join(source.columns)
    if database.count_type(target) == rebuild.FORMER_TYPE:
        beyond = source.query(f"SELECT count() FROM {source.sql_name} WHERE count > {rebuild.FORMER_LIMIT}")
        if only_row(beyond)[0]:
            database.run(f"ALTER TABLE {into.sql_name} MODIFY COLUMN count {rebuild.TYPE}")
    arrived = 0
    for part in ranges(source.days(), ROWS):
        missing = f"{source.select(part)} EXCEPT DISTINCT {into.select(part)}"
        count = int(only_row(source.query(f"SELECT count() FROM ({missing})"))[0])
        if count:
            database.client.command(
                f"INSERT INTO {into.sql_name} ({names}) {missing}", settings=INSERT_SETTINGS
            )
        arrived += count
        progress(part.rows)
    return arrived
