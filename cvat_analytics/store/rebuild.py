"""Give an installed event table a wider column where the column is part of the sort key, which no ALTER can.

`init.sql` has made `count` with 16 bits once, and CVAT counts beyond that. The table is made anew beside the old one, month
by month, while events go on coming in and people go on reading; then both change their names in one step:

1. a view feeds whatever is inserted into `events` into the new table too, from its first moment;
2. each month is copied and compared; what is there already is not copied again;
3. the tables are exchanged. Views on `events` go by its name: from now on they see the new table, which they have seen
   nothing of before;
4. old and new are compared once more, what has slipped through is brought over without any view noticing, and the old table goes.

What is done is seen from the tables themselves. A run that was cut off anywhere is completed by the next one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count as numbers
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.connect.clickhouse_errors import only_row
from cvat_analytics.store import migrations
from cvat_analytics.store.migrations import Script

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Ask = Callable[[str], list[list[str]]]
"""Returns the rows of a query, its values as ClickHouse writes them (TSVRaw)."""
Tell = Callable[[str], object]

TABLE, OTHER = "events", "events_rebuild"
_FEED, _LATE = "events_rebuild_feed", "events_rebuild_late"
COLUMN, FORMER_TYPE, TYPE = "count", "Nullable(UInt16)", "Nullable(UInt32)"
FORMER_LIMIT = 2**16 - 1

ROWS_PER_SECOND = 43_000
"""What a busy machine with two cores does, comparisons included (docs/why/store.md): for saying beforehand how long it takes."""
_CHUNK_ROWS = 1_000_000
_ATTEMPTS = 10
_PATIENCE = 600.0
# what an insert may take from its beginning (which is when its events arrived) until both tables have it; slower ones are looked for again
_IN_FLIGHT_SECONDS = 10
_INSERT_SETTINGS = "insert_allow_materialized_columns = 1, insert_deduplicate = 0, async_insert = 0"


def pending(scripts: list[Script], applied: Mapping[str, str]) -> bool:
    """Return whether a database with this ledger (`applied`: name to checksum) has a table that is still to be rebuilt."""
    return any(applied.get(script.name) == migrations.FORMER.get(script.name, "") for script in scripts)


@dataclass(frozen=True)
class _Column:
    name: str
    definition: str
    """As in CREATE TABLE, for a computed one; else empty: `SELECT *` shows it."""


def steps(scripts: list[Script], database: str, ask: Ask, tell: Tell) -> Iterator[str]:
    """Yield the statements that rebuild the table, each to be run before the next one is asked for.

    Each is needed: of a run that was cut off, none is repeated that was done.
    `ask` answers questions about what is there, `tell` is told in a sentence what comes next. Raises InputError, with nothing
    begun, when the disk has not the space; CvatAnalyticsError when both tables will not become equal.
    """
    work = _Rebuild(database, ask, tell)
    if work.type_of(TABLE) == FORMER_TYPE:
        yield from work.prepare()
        yield from work.copy(work.months(TABLE))
        # in months that were done, events have come in since
        yield from work.copy(work.months_fed())
        yield from work.exchange()
    if work.type_of(OTHER):
        yield from work.finish()
    for script in scripts:
        if script.name in migrations.FORMER:
            yield migrations.record(script, database)


def asking(client: Client) -> Ask:
    """Return how to ask ClickHouse through `client`."""

    def ask(query: str) -> list[list[str]]:
        text = client.raw_query(query, fmt="TSVRaw").decode()
        return [line.split("\t") for line in text.split("\n") if line]

    return ask


def duration(rows: int) -> str:
    """Return in words about how long it takes to rebuild a table of `rows`."""
    minutes = rows / ROWS_PER_SECOND / 60
    return "less than a minute" if minutes < 1 else f"about {minutes:.0f} min"


@dataclass(frozen=True)
class _Rebuild:
    database: str
    ask: Ask
    tell: Tell

    def one(self, query: str) -> str:
        rows = self.ask(query)
        return rows[0][0] if rows else ""

    def number(self, query: str) -> int:
        """Return the number that ClickHouse must answer."""
        return int(only_row(self.ask(query))[0])

    def type_of(self, table: str) -> str:
        """Return the type of the column in `table`, or nothing when there is no such table."""
        return self.one(
            f"SELECT type FROM system.columns WHERE database = '{self.database}' AND table = '{table}' AND name = '{COLUMN}'"
        )

    def months(self, table: str) -> dict[str, int]:
        """Return the months (yyyymm) that `table` has rows of, and how many rows."""
        query = (
            f"SELECT partition, sum(rows) FROM system.parts WHERE active AND database = '{self.database}' "
            f"AND table = '{table}' GROUP BY partition ORDER BY partition"
        )
        return {month: int(rows) for month, rows in self.ask(query)}

    def months_fed(self) -> dict[str, int]:
        """Return the months of which events have come in since both tables get them, and how many."""
        query = (
            f"SELECT toYYYYMM(timestamp) AS month, count() FROM {self.database}.{TABLE} "
            f"WHERE received_at >= toDateTime({self._fed_since()}) GROUP BY month ORDER BY month"
        )
        return {month: int(rows) for month, rows in self.ask(query)}

    def _fed_since(self) -> int:
        query = f"SELECT toUnixTimestamp(metadata_modification_time) FROM system.tables WHERE database = '{self.database}' AND name = '{_FEED}'"
        return self.number(query)

    def prepare(self) -> Iterator[str]:
        """Make the new table, and the view that feeds it, unless they are there."""
        rows = sum(self.months(TABLE).values())
        definition = self._definition(TABLE, OTHER).replace(
            f"`{COLUMN}` {FORMER_TYPE}", f"`{COLUMN}` {TYPE}", 1
        )
        current = self._definition(OTHER, OTHER) if self.type_of(OTHER) else ""
        self._refuse_without_space()
        self.tell(
            f"The table {self.database}.{TABLE} ({rows:,} rows) is rebuilt, because `{COLUMN}` is to hold numbers beyond {FORMER_LIMIT:,}: "
            f"{duration(rows)}. Events go on coming in and can be read; if it is interrupted, run the same command again"
        )
        if current and current != definition:
            # of another definition than the table has by now, from a run that was interrupted long ago
            yield from self._drop_view()
            yield self._drop(OTHER)
            current = ""
        if not current:
            yield definition
        if not self._exists(_FEED):
            # a number that the old table cannot hold is not to come back to it when this view sees the new one, after the exchange
            yield (
                f"CREATE MATERIALIZED VIEW {self.database}.{_FEED} TO {self.database}.{OTHER} DEFINER = CURRENT_USER SQL SECURITY DEFINER AS "
                f"SELECT {self._names} FROM {self.database}.{TABLE} WHERE ifNull({COLUMN}, 0) <= {FORMER_LIMIT}"
            )
        self._wait_for_inserts()

    def copy(self, months: Mapping[str, int]) -> Iterator[str]:
        """Copy what of `months` is not in the new table yet, and compare both."""
        # what has just come may be in the one and on its way into the other
        arrived = (
            f"(received_at <= toDateTime({self._fed_since()}) OR received_at < now() - {_IN_FLIGHT_SECONDS})"
        )
        todo = sum(months.values())
        for number, (month, rows) in enumerate(months.items(), 1):
            self.tell(
                f"{_name(month)}: {rows:,} rows (month {number} of {len(months)}; all of it {duration(todo)} more)"
            )
            todo -= rows
            days = self._missing(TABLE, OTHER, month, arrived) if self._is_begun(month) else self._days(month)
            for attempt in numbers(1):
                if not days:
                    break
                if attempt > _ATTEMPTS:
                    raise CvatAnalyticsError(
                        Code.REBUILD_UNEQUAL,
                        f"{_name(month)}: {self.database}.{OTHER} does not become equal to {self.database}.{TABLE}, which is as it was. Look at "
                        f"ClickHouse's log; then run the same command again, or `DROP VIEW {self.database}.{_FEED}; DROP TABLE {self.database}.{OTHER}` to begin anew",
                    )
                for first, last in _chunks(days):
                    yield self._insert(TABLE, OTHER, OTHER, month, first, last)
                days = self._missing(TABLE, OTHER, month, arrived)

    def exchange(self) -> Iterator[str]:
        """Let the new table be `events`, in one step."""
        for column, there in zip(self._columns(TABLE), self._columns(OTHER), strict=True):
            if column.definition and not there.definition:
                # an ordinary one until now: a view can write only to such
                yield f"ALTER TABLE {self.database}.{OTHER} MODIFY COLUMN {column.definition}"
        if (self.type_of(TABLE), self.type_of(OTHER)) == (FORMER_TYPE, TYPE):
            yield f"EXCHANGE TABLES {self.database}.{TABLE} AND {self.database}.{OTHER}"

    def finish(self) -> Iterator[str]:
        """Bring over what an insert has written to the old table at the last moment, compare both, and drop the old one."""
        yield from self._drop_view()
        self._wait_for_inserts()
        months = self.months(OTHER)
        self.tell(
            f"The new table is in its place; {sum(months.values()):,} rows of the old one are compared with it"
        )
        if self._exists(_LATE):
            yield self._drop(_LATE)
        for month in months:
            missing = self._missing(OTHER, TABLE, month)
            if not missing:
                continue
            self.tell(
                f"{_name(month)}: {sum(missing.values()):,} events had come in while the tables changed"
            )
            yield f"CREATE TABLE {self.database}.{_LATE} AS {self.database}.{TABLE}"
            for first, last in _chunks(missing):
                yield self._insert(OTHER, TABLE, _LATE, month, first, last)
            # not by an insert: the views have noted these events when they came
            yield f"ALTER TABLE {self.database}.{TABLE} ATTACH PARTITION ID '{month}' FROM {self.database}.{_LATE}"
            yield self._drop(_LATE)
            if self._missing(OTHER, TABLE, month):
                raise CvatAnalyticsError(
                    Code.REBUILD_UNEQUAL,
                    f"{_name(month)}: {self.database}.{OTHER}, the former table, has events that {self.database}.{TABLE} lacks. Nothing is lost; "
                    "look at ClickHouse's log and run the same command again",
                )
        self.tell(f"Everything is in the new table; the old one goes ({sum(months.values()):,} rows)")
        yield self._drop(OTHER)

    def _definition(self, table: str, name: str) -> str:
        """Return the statement that makes `table` as it is, with its retention, under another name; no column of it computed."""
        text = self.one(
            f"SELECT create_table_query FROM system.tables WHERE database = '{self.database}' AND name = '{table}'"
        )
        text = re.sub(r"^CREATE TABLE .*? \(", f"CREATE TABLE {self.database}.{name} (", text, count=1)
        for column in self._columns(table):
            text = text.replace(
                column.definition, column.definition.replace(" MATERIALIZED ", " DEFAULT ", 1)
            )
        return text

    def _columns(self, table: str) -> list[_Column]:
        # what is computed when an event comes in is not computed again: it is copied
        query = (
            "SELECT name, default_kind, concat('`', name, '` ', type, ' MATERIALIZED ', default_expression, if(compression_codec = '', '', concat(' ', compression_codec))) "
            f"FROM system.columns WHERE database = '{self.database}' AND table = '{table}' AND default_kind NOT IN ('ALIAS', 'EPHEMERAL') ORDER BY position"
        )
        return [
            _Column(name, definition if kind == "MATERIALIZED" else "")
            for name, kind, definition in self.ask(query)
        ]

    def _refuse_without_space(self) -> None:
        """Raise InputError unless the table fits once more onto its disks, with room for a merge of its largest month."""
        sizes = {
            table: [int(bytes_) for (bytes_,) in self.ask(
                f"SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '{self.database}' AND table = '{table}' GROUP BY partition"
            )]
            for table in (TABLE, OTHER)
        }  # fmt: skip
        needed = sum(sizes[TABLE]) + max(sizes[TABLE], default=0) - sum(sizes[OTHER])
        free = self.number(
            "SELECT sum(unreserved_space) FROM system.disks WHERE name IN (SELECT arrayJoin(disks) FROM system.storage_policies "
            f"WHERE policy_name IN (SELECT storage_policy FROM system.tables WHERE database = '{self.database}' AND name = '{TABLE}'))"
        )
        if free < needed:
            raise InputError(
                Code.REBUILD_ROOM,
                f"ClickHouse's disk has {_gib(free)} GiB free; to rebuild the table {self.database}.{TABLE} for a wider `{COLUMN}`, {_gib(needed)} GiB are "
                "needed until it is done. Make room there, or shorten the setting 'events_retention' with the version that is installed; then run the same command again",
            )

    def _wait_for_inserts(self) -> None:
        """Return when no INSERT is running any more that has begun before now: it would not know of what has just been changed."""
        begin = time.monotonic()
        query = "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND elapsed >= "
        while self.number(f"{query}{time.monotonic() - begin:.3f}"):
            if time.monotonic() - begin > _PATIENCE:
                raise CvatAnalyticsError(
                    Code.INSERT_RUNNING,
                    f"ClickHouse: an INSERT has been running for more than {_PATIENCE / 60:.0f} min. Run the same command again when it has ended",
                )
            time.sleep(0.2)

    def _is_begun(self, month: str) -> bool:
        return month in self.months(OTHER)

    def _days(self, month: str) -> dict[str, int]:
        query = f"SELECT toDate(timestamp) AS day, count() FROM {self.database}.{TABLE} WHERE toYYYYMM(timestamp) = {month} GROUP BY day ORDER BY day"
        return {day: int(rows) for day, rows in self.ask(query)}

    def _different(self, month: str, condition: str = "1") -> dict[str, int]:
        """Return the days of `month` of which the tables do not have the same events under `condition`, and how many `events` has."""
        # what retention may take away at any moment, from the one and not from the other, is no difference
        condition = f"toYYYYMM(timestamp) = {month} AND {self._kept} AND {condition}"
        sides = " UNION ALL ".join(
            f"SELECT toDate(timestamp) AS day, {sign} AS side, count() AS events, sum({self._hash}) AS hashes "
            f"FROM {self.database}.{table} FINAL WHERE {condition} GROUP BY day"
            for table, sign in ((TABLE, 1), (OTHER, 2))
        )
        query = (
            f"SELECT day, greatest(sumIf(events, side = 1), 1) FROM ({sides}) GROUP BY day "
            "HAVING sumIf(events, side = 1) != sumIf(events, side = 2) OR sumIf(hashes, side = 1) != sumIf(hashes, side = 2) ORDER BY day"
        )
        return {day: int(events) for day, events in self.ask(query)}

    def _missing(self, source: str, target: str, month: str, condition: str = "1") -> dict[str, int]:
        """Return the days of `month` of which `source` has events under `condition` that `target` lacks, and how many.

        An event that comes again while we look has another time of arrival, so that its day may seem different. It is not missing.
        """
        missing: dict[str, int] = {}
        for first, last in _chunks(self._different(month, condition)):
            query = (
                f"SELECT toDate(timestamp) AS day, count() FROM {self.database}.{source} FINAL "
                f"WHERE {self._lacked(target, month, first, last)} AND {self._kept} AND {condition} GROUP BY day ORDER BY day"
            )
            missing |= {day: int(events) for day, events in self.ask(query)}
        return missing

    def _insert(self, source: str, compared: str, target: str, month: str, first: str, last: str) -> str:
        """Return the statement that inserts into `target` what `source` has of these days and `compared` lacks."""
        return (
            f"INSERT INTO {self.database}.{target} ({self._names}) SELECT {self._names} FROM {self.database}.{source} FINAL "
            f"WHERE {self._lacked(compared, month, first, last)} SETTINGS {_INSERT_SETTINGS}"
        )

    def _lacked(self, table: str, month: str, first: str, last: str) -> str:
        days = f"toYYYYMM(timestamp) = {month} AND toDate(timestamp) BETWEEN '{first}' AND '{last}'"
        return f"{days} AND {self._hash} NOT IN (SELECT {self._hash} FROM {self.database}.{table} FINAL WHERE {days})"

    @cached_property
    def _names(self) -> str:
        return ", ".join(column.name for column in self._columns(TABLE))

    @cached_property
    def _hash(self) -> str:
        """The expression that stands for an event: for all that `SELECT *` shows, in the new type."""
        shown = [column.name for column in self._columns(TABLE) if not column.definition]
        values = [f"CAST({name}, '{TYPE}')" if name == COLUMN else name for name in shown]
        # as a tuple: a NULL among several arguments would make the whole NULL
        return f"cityHash64(tuple({', '.join(values)}))"

    @cached_property
    def _kept(self) -> str:
        """The condition that an event is not so old that retention may drop it while we look."""
        engine = self.one(
            f"SELECT engine_full FROM system.tables WHERE database = '{self.database}' AND name = '{TABLE}'"
        )
        match = re.search(r" TTL (.*?)(?: SETTINGS |$)", engine)
        return f"{match[1]} > now() + 3600" if match else "1"

    def _exists(self, table: str) -> bool:
        return self.number(f"EXISTS TABLE {self.database}.{table}") == 1

    def _drop_view(self) -> Iterator[str]:
        if self._exists(_FEED):
            yield f"DROP VIEW {self.database}.{_FEED} SYNC"

    def _drop(self, table: str) -> str:
        return f"DROP TABLE {self.database}.{table} SYNC SETTINGS max_table_size_to_drop = 0"


def _chunks(days: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return first and last day of ranges of about so many rows that one statement takes seconds; no day is divided."""
    chunks: list[tuple[str, str]] = []
    rows = 0
    for day, events in days.items():
        if chunks and rows + events <= _CHUNK_ROWS:
            chunks[-1] = (chunks[-1][0], day)
            rows += events
        else:
            chunks.append((day, day))
            rows = events
    return chunks


def _name(month: str) -> str:
    return f"{month[:-2]}-{month[-2:]}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"
