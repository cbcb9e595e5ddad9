"""Which SQL scripts of `clickhouse/` a database still needs, and the ledger that remembers them.

`init.sql` and `migrations/NNNN_name.sql` run once each, in order, and must not change afterwards; `views/*.sql` run
again whenever their text changes. Scripts are safe to repeat (`IF NOT EXISTS`, `CREATE OR REPLACE`), because a run
that is interrupted between a script and its entry in the ledger is completed by the next run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal

import jinja2

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config.settings import Settings
from cvat_analytics.store import erasures, names, ways_in
from cvat_analytics.store.event_columns import COLUMNS

LEDGER = "schema_migrations"
_DATABASE = "<database>"

FORMER = {"init.sql": "2dece7d1a4ee2dcfdf110d8aec7f34027e5b24bd13b671b17f282b2f8a74a30a"}
"""The one script that has changed, and its checksum before: it made `count` with 16 bits. `cvat_analytics.store.rebuild` brings a database
with that one to what the script makes now."""

_LEDGER_DDL = f"""CREATE TABLE IF NOT EXISTS {LEDGER}
(
    name String,
    kind LowCardinality(String),
    checksum String,
    applied_at DateTime64(3, 'Etc/UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name"""


@dataclass(frozen=True)
class Script:
    """One SQL file. `name` is its path below `clickhouse/`, which is also its name in the ledger."""

    name: str
    kind: Literal["once", "view"]
    sql: str

    @property
    def checksum(self) -> str:
        """Return the sha256 of the file's text."""
        return sha256(self.sql.encode()).hexdigest()

    def text(self, database: str) -> str:
        """Return the SQL for the database of that name, which is written in where ClickHouse wants it as a text."""
        return self.sql.replace(_DATABASE, database)


def read(directory: Path) -> list[Script]:
    """Return the scripts below `directory` in the order in which they apply.

    Raises InputError for a migration that is not called NNNN_name.sql, or for two with one number.
    """
    migrations = sorted((directory / "migrations").glob("*.sql"))
    numbers: dict[str, str] = {}
    for path in migrations:
        match = re.fullmatch(r"(\d{4})_\w+\.sql", path.name)
        if not match:
            raise InputError(
                Code.MIGRATION_NUMBER,
                f"migration {path.name}: its name must be NNNN_name.sql, as in 0001_add_column.sql",
            )
        if match[1] in numbers:
            raise InputError(
                Code.MIGRATION_NUMBER,
                f"migrations {numbers[match[1]]} and {path.name}: both have number {match[1]}; give the newer one the next number",
            )
        numbers[match[1]] = path.name
    return [
        Script("init.sql", "once", (directory / "init.sql").read_text()),
        *(Script(f"migrations/{path.name}", "once", path.read_text()) for path in migrations),
        *(
            Script(f"views/{path.name}", "view", _rendered(path))
            for path in sorted((directory / "views").glob("*.sql"))
        ),
    ]


def _rendered(path: Path) -> str:
    """Return the text of a view script: a template, so that a SELECT needed twice is written once."""
    text: str = jinja2.Template(path.read_text(), undefined=jinja2.StrictUndefined).render(
        told_at=names.told_at,
        erasures=erasures,
        event_columns=COLUMNS,
        ways_in=ways_in,
        database=_DATABASE,
    )
    return text


def pending(scripts: list[Script], applied: Mapping[str, str]) -> list[Script]:
    """Return the scripts that a database still needs, given its ledger (`applied`: name to checksum).

    Raises InputError when an applied script was changed, or removed, or when a new migration sorts before an applied
    one: in each case the files and the database do not tell the same history.
    """
    once = [script for script in scripts if script.kind == "once"]
    unknown = sorted(
        name
        for name in applied
        if not name.startswith("views/") and name not in {script.name for script in once}
    )
    if unknown:
        raise InputError(
            Code.DATABASE_NEWER,
            f"the database has {', '.join(unknown)}, which this checkout lacks: it was deployed from a newer one. Update the checkout",
        )
    needed: list[Script] = []
    for script in once:
        if script.name not in applied:
            needed.append(script)
        elif applied[script.name] not in (script.checksum, FORMER.get(script.name)):
            raise InputError(
                Code.MIGRATION_CHANGED,
                f"clickhouse/{script.name} was changed after it had been applied: undo the change and write a new migration instead",
            )
        elif needed:
            raise InputError(
                Code.MIGRATION_NUMBER,
                f"clickhouse/{needed[0].name} sorts before {script.name}, which is already applied: give it the next free number",
            )
    return needed + [
        script for script in scripts if script.kind == "view" and applied.get(script.name) != script.checksum
    ]


def refuse_stock_table(database: str, applied: Mapping[str, str], engines: Mapping[str, str]) -> None:
    """Raise InputError when the database has CVAT's own event table where ours would have to be made.

    `engines` is what `engines_query` has found.
    """
    if "init.sql" not in applied and engines.get("events", "").startswith("MergeTree"):
        raise InputError(
            Code.STOCK_TABLE,
            f"the database {database} has a table `events` of a stock CVAT installation. Convert it with `cvat-analytics stock convert` "
            "(docs/how-to/convert-a-stock-table.md), then deploy again; or choose another name with the setting 'database'",
        )


def bootstrap(database: str) -> list[str]:
    """Return the statements that make the database and its ledger."""
    return [
        f"CREATE DATABASE IF NOT EXISTS {database}",
        _LEDGER_DDL.replace(LEDGER, f"{database}.{LEDGER}", 1),
    ]


def applied_query(database: str) -> str:
    """Return the query that reads the ledger: name, checksum."""
    return f"SELECT name, argMax(checksum, applied_at) FROM {database}.{LEDGER} GROUP BY name ORDER BY name"


def record(script: Script, database: str) -> str:
    """Return the statement that enters `script` into the ledger."""
    return f"INSERT INTO {database}.{LEDGER} (name, kind, checksum) VALUES ('{script.name}', '{script.kind}', '{script.checksum}')"


def statements(sql: str) -> list[str]:
    """Return the single statements of a script, for interfaces that take one at a time (ClickHouse's HTTP)."""
    from sqlglot.dialects.clickhouse import ClickHouse  # slow to import, needed for this only

    statements_, start = [], None
    for token in ClickHouse().tokenize(sql):
        if token.token_type.name == "SEMICOLON":
            if start is not None:
                statements_.append(sql[start : token.start])
            start = None
        elif start is None:
            start = token.start
    if start is not None:
        statements_.append(sql[start:])
    return [statement.strip() for statement in statements_]


def apply(scripts: list[Script], database: str, run: Callable[[str], object]) -> None:
    """Run `scripts` and enter each into the ledger; `run` executes one statement in `database`."""
    for script in scripts:
        for statement in statements(script.text(database)):
            run(statement)
        run(record(script, database))


_TTL_COLUMNS = {"events": "timestamp", "event_counts_settled": "hour", "events_dead_letter": "received_at"}


_SYSTEM_LOG = re.compile(r"system\.(query_log|part_log|error_log|asynchronous_metric_log|metric_log)(_\d+)?")
"""ClickHouse's own logs that are kept (templates/clickhouse/config.xml.j2), and what they become when ClickHouse puts one aside because
its definition in the configuration has changed: `query_log_0` and so on, which keep the retention of old."""
_EMPTY = "empty"
_COLUMNS = "events.columns"
_WAYS_IN = "ways in"


def retention(settings: Settings, engines: Mapping[str, str]) -> list[str]:
    """Return the statements that bring the tables' retention to the settings.

    `engines` is what `engines_query` has found. Tables that are not there are left out. A log of ClickHouse's that has been put aside
    gets the same retention as the one in use, and goes when nothing is left in it.
    """
    days = settings.system_logs_retention
    intervals: dict[str, timedelta | None] = {
        "events": settings.events_retention,
        "event_counts_settled": settings.events_retention,
        "events_dead_letter": settings.dead_letters_retention,
    }
    ttls = {
        f"{settings.database}.{table}": f"toDateTime({_TTL_COLUMNS[table]}) + toIntervalSecond({int(keep.total_seconds())})"
        if keep
        else None
        for table, keep in intervals.items()
    }
    keep_names = settings.names_kept
    ttls[f"{settings.database}.known_names"] = names.ttl(keep_names) if keep_names else None
    tables = {table: table.partition(".")[2] for table in ttls}
    for table in filter(_SYSTEM_LOG.fullmatch, engines):
        ttls[table] = f"event_date + toIntervalDay({max(1, days // timedelta(days=1))})" if days else None
        tables[table] = table
    changes = []
    for table, ttl in ttls.items():
        engine = engines.get(tables[table])
        if engine is None:
            continue
        if engine == _EMPTY:
            changes.append(f"DROP TABLE {table}")
            continue
        # clickhouse-client's lines have quotes with a backslash
        match = re.search(r" TTL (.*?)(?: SETTINGS |$)", engine.replace("\\'", "'"))
        if (match[1] if match else None) != ttl:
            changes.append(f"ALTER TABLE {table} " + (f"MODIFY TTL {ttl}" if ttl else "REMOVE TTL"))
    return changes


def new_columns(settings: Settings, engines: Mapping[str, str]) -> list[str]:
    """Return the statement that adds to the event table what a newer CVAT wants to find there; `engines` as for `retention`.

    Vector writes nothing into them: whatever an event has beside the columns that are known goes into its payload.
    """
    there = engines.get(_COLUMNS, "").split(",")
    adding = [
        f"ADD COLUMN IF NOT EXISTS {name} Nullable(String)"
        for name in settings.cvat_columns
        if name not in there
    ]
    return [f"ALTER TABLE {settings.database}.events {', '.join(adding)}"] if adding and there[0] else []


def ways_in_anew(
    database: str, applied: Mapping[str, str], engines: Mapping[str, str], scripts: list[Script]
) -> list[str]:
    """Return the statements that make anew what hands on events and dead letters, where somebody has taken it away or changed it.

    `applied` is the ledger: where the script is not in it, it is applied anyway. `engines` as for `retention`.
    """
    broken = engines.get(_WAYS_IN, "")
    if not broken or ways_in.SCRIPT not in applied:
        return []
    (script,) = (each for each in scripts if each.name == ways_in.SCRIPT)
    made = statements(script.text(database))
    # in place of the missing view inserts are refused, so that none is lost meanwhile; where the constraint was taken away it comes first
    tables = [each for each in made if each.startswith("CREATE OR REPLACE TABLE incoming_")]
    drops = [f"DROP TABLE IF EXISTS {database}.{view} SYNC" for view in broken.split(",")]
    return tables + drops + made


def engines_query(database: str) -> str:
    """Return the query that reads what `retention` needs: table, engine_full, of the database and of ClickHouse's own logs.

    The latter are called `system.…`; one that has been put aside and has nothing in it any more has the engine "empty".
    `events.columns` are the names of the event table's columns, and `ways in` what `ways_in.broken_query` finds.
    """
    return (
        f"SELECT '{_COLUMNS}' AS name, arrayStringConcat(groupArray(columns.name), ',') AS engine FROM system.columns "
        f"WHERE database = '{database}' AND table = 'events' "
        f"UNION ALL SELECT '{_WAYS_IN}', ({ways_in.broken_query(database)}) "
        f"UNION ALL SELECT name, engine_full FROM system.tables WHERE database = '{database}' AND engine LIKE '%MergeTree' "
        f"UNION ALL SELECT concat('system.', name), if(match(name, '_[0-9]+$') AND total_rows = 0, '{_EMPTY}', engine_full) FROM system.tables "
        "WHERE database = 'system' AND engine LIKE '%MergeTree' AND name LIKE '%\\_log%' ORDER BY name"
    )


def working_time_query(database: str) -> str:
    """Return the query that reads what `working_time` needs: name, value of each setting that the database has."""
    latest = ", ".join(
        f"('{name}', toString(argMax({expression}, changed_at)))"
        for name, expression in {
            "threshold_ms": "threshold_ms",
            "duration_scopes": "arrayStringConcat(duration_scopes, ',')",
            "retention_seconds": "retention_seconds",
            "time_zone": "time_zone",
        }.items()
    )
    every = (
        "(SELECT extract(any(create_table_query), 'REFRESH EVERY ([0-9]+) SECOND') FROM system.tables "
        f"WHERE database = '{database}' AND name = 'working_time_refresh')"
    )
    return (
        f"SELECT row.1 AS name, row.2 AS value FROM (SELECT arrayJoin([{latest}, ('refresh_seconds', {every})]) AS row "
        f"FROM {database}.working_time_settings)"
    )


def working_time(settings: Settings, current: Mapping[str, str], scripts: list[Script]) -> list[str]:
    """Return the statements that bring the rule of working time in the database to the settings.

    `current` is what `working_time_query` has found. A changed rule makes every day be computed anew; a changed list
    of scopes with durations also what is noted of the days. Empty when the database has no such settings yet.
    """
    if not current:
        return []
    keep = settings.events_retention
    expected = {
        "threshold_ms": str(settings.working_time_threshold // timedelta(milliseconds=1)),
        "duration_scopes": ",".join(settings.working_time_duration_scopes),
        "retention_seconds": str(int(keep.total_seconds()) if keep else 0),
        "time_zone": settings.time_zone,
    }
    seconds = str(max(1, int(settings.working_time_delay.total_seconds())))
    changes = []
    if any(current.get(name) != value for name, value in expected.items()):
        scopes = ", ".join(f"'{scope}'" for scope in settings.working_time_duration_scopes)
        changes.append(
            f"INSERT INTO {settings.database}.working_time_settings (threshold_ms, duration_scopes, retention_seconds, time_zone) "
            f"VALUES ({expected['threshold_ms']}, [{scopes}], {expected['retention_seconds']}, '{settings.time_zone}')"
        )
    if current.get("duration_scopes") != expected["duration_scopes"]:
        changes.append(f"TRUNCATE TABLE {settings.database}.working_time_days")
        changes += [
            statement
            for script in scripts
            if script.name == "views/working_time.sql"
            for statement in statements(script.sql)
        ]
        current = {**current, "refresh_seconds": ""}
    if current.get("refresh_seconds") != seconds:
        changes.append(
            f"ALTER TABLE {settings.database}.working_time_refresh MODIFY REFRESH EVERY {seconds} SECOND APPEND"
        )
    return changes
