"""Copy a table of events into the stack's own, day by day, and compare both sides month by month.

What is copied twice is stored once (docs/why/architecture.md), so that any step may be repeated. A ledger in the target's
database remembers which days are done and with how many rows: a second run copies only days that are new or have grown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.importing.tables import Table, ranges
from cvat_analytics.store import erasures, event_dates

ROWS = 200_000
"""How many rows are copied or counted at a time: what is lost by an interruption, and what bounds the memory."""
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Ledger:
    """Which days of `source` have been copied into `database`, and how many rows each had then."""

    client: Client
    database: str
    source: str

    @property
    def _table(self) -> str:
        return f"`{self.database}`.imported_days"

    @explained(STORE)
    def create(self) -> None:
        """Make the ledger's table, if there is none."""
        self.client.command(
            f"CREATE TABLE IF NOT EXISTS {self._table} (source String, day UInt32, rows UInt64, "
            "imported_at DateTime64(6, 'Etc/UTC') DEFAULT now64(6)) "
            "ENGINE = ReplacingMergeTree(imported_at) ORDER BY (source, day)"
        )

    @explained(STORE)
    def done(self) -> dict[int, int]:
        """Return the days that are done, with their rows. Where there is no ledger yet, nothing is."""
        if not only_row(self.client.query(f"EXISTS TABLE {self._table}").result_rows)[0]:
            return {}
        query = f"SELECT day, argMax(rows, imported_at) FROM {self._table} WHERE source = {{source:String}} GROUP BY day"
        rows = self.client.query(query, parameters={"source": self.source}).result_rows
        return {int(day): int(count) for day, count in rows}

    @explained(STORE)
    def enter(self, days: Mapping[int, int]) -> None:
        """Remember that `days` are done."""
        self.client.insert(
            self._table,
            [(self.source, day, rows) for day, rows in days.items()],
            column_names=["source", "day", "rows"],
        )

    @explained(STORE)
    def forget(self, months: Iterable[int] | None = None) -> None:
        """Forget the days of `months` (yyyymm), or all of them."""
        condition = f" AND intDiv(day, 100) IN ({', '.join(map(str, months))})" if months is not None else ""
        self.client.command(
            f"DELETE FROM {self._table} WHERE source = {{source:String}}{condition}",
            parameters={"source": self.source},
        )


@dataclass(frozen=True)
class Month:
    """A month (yyyymm) on both sides. `source_rows` may hold repetitions; the other numbers do not."""

    month: int
    source_rows: int
    source_events: int
    stored_events: int

    @property
    def complete(self) -> bool:
        """Return whether everything is there. More is no mistake: events arrive from elsewhere too."""
        return self.stored_events >= self.source_events


@dataclass(frozen=True)
class Copy:
    """What there is to copy from `source` to `target`: rows by day."""

    source: Table
    target: Table
    ledger: Ledger
    days: Mapping[int, int]
    expired: Mapping[int, int]
    """Days whose events are older than the retention in the settings: they would be removed at once."""
    before: Mapping[int, int]
    """Days before there was CVAT."""
    ahead: Mapping[int, int]
    """Days after tomorrow. Events of these and of `before` become dead letters, as those that arrive do."""
    chunk_rows: int = ROWS

    @property
    def rows(self) -> int:
        """Return how many rows there are to copy, or to make dead letters of."""
        return sum(sum(days.values()) for days in (self.days, self.before, self.ahead))

    def pending(self) -> dict[int, int]:
        """Return the days that are not done, or have other rows than when they were."""
        done = self.ledger.done()
        every = {**self.days, **self.before, **self.ahead}
        return {day: rows for day, rows in every.items() if done.get(day) != rows}

    def run(self, progress: Progress) -> None:
        """Copy what is pending; `progress` is told the rows of each step. Can be interrupted and repeated."""
        self.ledger.create()
        pending = self.pending()
        for days, take in (
            (self.before, self.target.keep_letters),
            (self.days, self.target.insert),
            (self.ahead, self.target.keep_letters),
        ):
            for part in ranges({day: pending[day] for day in days if day in pending}, self.chunk_rows):
                take(self.source, part)
                self.ledger.enter(part.days)
                progress(part.rows)

    def compare(self, progress: Progress) -> list[Month]:
        """Count both sides month by month; `progress` is told the rows of the source as they are counted."""
        months = {day // 100 for day in self.days}
        theirs = self._distinct(self.source, self.days, progress)
        present = {day: rows for day, rows in self.target.days().items() if day // 100 in months}
        ours = self._distinct(self.target, present, lambda rows: None)
        return [
            Month(
                month,
                sum(rows for day, rows in self.days.items() if day // 100 == month),
                theirs.get(month, 0),
                ours.get(month, 0),
            )
            for month in sorted(months)
        ]

    def _distinct(self, table: Table, days: Mapping[int, int], progress: Progress) -> dict[int, int]:
        totals: dict[int, int] = {}
        for part in ranges(days, self.chunk_rows):
            # days have no event in common, so that the numbers of distinct events add up
            for month, events in table.distinct(part, self.source.columns).items():
                totals[month] = totals.get(month, 0) + events
            progress(part.rows)
        return totals

    def melted(self, months: Iterable[Month]) -> str:
        """Return how many rows of the source are the same event as another row, and the likely reason; empty when none is."""
        counted = list(months)
        rows = sum(month.source_rows for month in counted)
        again = rows - sum(month.source_events for month in counted)
        if not again:
            return ""
        seconds = self.source.query(
            f"SELECT countIf(toUnixTimestamp64Milli(toDateTime64(timestamp, 3)) % 60000 != 0) FROM {self.source.sql_name}"
        )
        reason = (
            ""
            if only_row(seconds)[0]
            else ". All times are whole minutes: where they were cut, different events are one now"
        )
        return f"{again:,} of {rows:,} rows have the same values as another row{reason}"

    def refuse_incomplete(self, months: Iterable[Month]) -> None:
        """Raise CvatAnalyticsError when something is missing, having seen to it that the next run copies it."""
        missing = [month for month in months if not month.complete]
        if not missing:
            return
        grown = sum(self.source.days().values()) - self.rows - sum(self.expired.values())
        if grown > 0:
            raise CvatAnalyticsError(
                Code.IMPORT_GREW,
                f"{self.source.where}: has received {grown} rows meanwhile. Run the same command again: it brings the new ones",
            )
        self.ledger.forget(month.month for month in missing)
        names = ", ".join(f"{month.month // 100}-{month.month % 100:02}" for month in missing)
        raise CvatAnalyticsError(
            Code.IMPORT_GREW,
            f"{names}: fewer events are stored than {self.source.where} has. Run the same command again: it copies these months anew",
        )

    def notes(self) -> list[str]:
        """Return what is remarkable about the source's days, one sentence each."""
        remarks = []
        if not self.rows and not self.expired:
            remarks.append(f"{self.source.where}: the table has no events; there is nothing to import")
        if self.expired:
            remarks.append(
                f"{sum(self.expired.values())} rows before {iso(max(self.expired))} (inclusive) are older than the setting "
                "'events_retention' keeps events; they are left where they are"
            )
        for days, when in ((self.before, "before there was CVAT"), (self.ahead, "in the future")):
            if days:
                remarks.append(
                    f"{sum(days.values())} rows have a time {when} ({iso(min(days))} to {iso(max(days))}), "
                    f"from a wrong clock; they are kept as dead letters ({event_dates.REASON})"
                )
        plausible = [datetime.strptime(str(day), "%Y%m%d") for day in self.days]
        if plausible:
            empty = (max(plausible) - min(plausible)).days + 1 - len(plausible)
            if empty:
                remarks.append(
                    f"{empty} days between {min(plausible):%Y-%m-%d} and {max(plausible):%Y-%m-%d} have no events"
                )
        return remarks


def plan(source: Table, target: Table, key: str, retention: timedelta | None, chunk_rows: int = ROWS) -> Copy:
    """Return what there is to copy; nothing is changed yet. `key` names the source in the ledger, `retention` is how long events are kept."""
    ledger = Ledger(target.client, target.database, key)
    with explained(STORE):
        erased = erasures.read(target.client, target.database)
    names = (source.columns.get(name, "") for name in ("user_id", "timestamp"))
    source = replace(source, left_out=erasures.left_out(erased, *names))
    now = datetime.now(UTC)
    first, last = event_dates.FIRST_DAY, int((now + timedelta(days=1)).strftime("%Y%m%d"))
    oldest = int((now - retention).strftime("%Y%m%d")) if retention else 0
    days = source.days()

    def chosen(since: int, until: int) -> dict[int, int]:
        return {day: rows for day, rows in days.items() if since <= day < until}

    return Copy(
        source,
        target,
        ledger,
        chosen(max(first, oldest), last + 1),
        chosen(first, oldest),
        chosen(0, first),
        chosen(last + 1, 1_0000_00_00),
        chunk_rows,
    )


def iso(day: int) -> str:
    """Return a day (yyyymmdd) as people write it."""
    return f"{day // 10000:04}-{day // 100 % 100:02}-{day % 100:02}"
