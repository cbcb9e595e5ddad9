"""Where a replay puts events: the event table, a temporary table in front of it, and the ledger of what is done."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from cvat_analytics.base.texts import HALF_OF_A_PAIR, is_utf8
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.pipeline.journal_text import Damage
from cvat_analytics.pipeline.refused_rows import Refused
from cvat_analytics.store import event_dates
from cvat_analytics.store.event_columns import COLUMNS, INSERT_SETTINGS

_COLUMNS = ", ".join(COLUMNS)
_JOURNAL = {**COLUMNS, "sender": "Nullable(String)"}
"""What a line of the journal has: the columns, and from which address the event came."""
_LIMITS = {"UInt32": 2**32, "UInt64": 2**64}
_MISSING = (
    f"NOT {event_dates.IMPLAUSIBLE} AND ({_COLUMNS}) NOT IN (SELECT {_COLUMNS} FROM {{database}}.events "
    # batches follow the time of arrival: days (the sort key begins with them) and hours are few
    "WHERE toDate(timestamp) IN (SELECT toDate(timestamp) FROM replayed) "
    "AND toStartOfHour(timestamp) IN (SELECT toStartOfHour(timestamp) FROM replayed))"
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MISDATED = f"SELECT count() FROM replayed WHERE {event_dates.IMPLAUSIBLE}"
# NULL is a value like any other: without this a row with one would be missing for ever
_EXACT = {"transform_null_in": 1}


@dataclass
class Outcome:
    """What a replay has done, or (`dry`) would do. All numbers are lines of the journal within the range."""

    read: int = 0
    inserted: int = 0
    strange: int = 0
    """Lines that are no events; `damages` has the first ones."""
    done_before: int = 0
    """Lines, in the range or not, that an interrupted run had done."""
    refused: int = 0
    """Lines that ClickHouse refuses; they are dead letters now."""
    misdated: int = 0
    """Events whose date cannot be; they are dead letters now."""
    damages: list[Damage] = field(default_factory=list)
    days: dict[date, tuple[int, int]] = field(default_factory=dict)
    """Of a dry run: by the events' day, how many the journal has, and how many of them are missing in the table."""

    @property
    def there(self) -> int:
        """Return how many were in the table already, or twice in the journal."""
        return self.read - self.inserted - self.misdated

    @property
    def unreadable(self) -> list[Damage]:
        """Return what of the journal could not be read, but for what unfinished writes have left."""
        return [damage for damage in self.damages if not damage.expected]


@dataclass(frozen=True)
class Batch:
    """Some events of a file, read up to `offset`."""

    file: str
    passed: int
    """How many lines of the file are done with this batch."""
    lines: list[bytes]
    offset: int


class Store:
    """The event table, the temporary table in front of it, and the ledger."""

    def __init__(self, client: Client, database: str, key: str) -> None:
        self._client, self._database, self._key = client, database, key
        self._ledger = f"{database}.replay_progress"

    @explained(STORE)
    def begin(self) -> dict[str, int]:
        """Return how many lines of which file an interrupted run has done."""
        self._client.command(
            f"CREATE TABLE IF NOT EXISTS {self._ledger} (replay String, file String, lines UInt64, "
            "at DateTime64(6, 'Etc/UTC') DEFAULT now64(6)) ENGINE = ReplacingMergeTree(at) ORDER BY (replay, file)"
        )
        query = f"SELECT file, max(lines) FROM {self._ledger} WHERE replay = {{key:String}} GROUP BY file"
        rows = self._client.query(query, parameters={"key": self._key}).result_rows
        return {str(file): int(lines) for file, lines in rows}

    @contextmanager
    def replayed_table(self) -> Iterator[None]:
        """Have the temporary table, which belongs to an HTTP session and goes with it."""
        self._client.set_client_setting("session_id", str(uuid.uuid4()))
        # while a slow line brings the next batch; the most that ClickHouse allows
        self._client.set_client_setting("session_timeout", "3600")
        with explained(STORE):
            columns = ", ".join(f"{name} {kind}" for name, kind in _JOURNAL.items())
            self._client.command(f"CREATE TEMPORARY TABLE replayed ({columns}) ENGINE = Memory")
        yield
        with explained(STORE):
            self._client.command("DROP TEMPORARY TABLE replayed")

    @explained(STORE)
    def add(self, batch: Batch, outcome: Outcome) -> None:
        """Insert those events of `batch` that the table lacks, and remember that it is done."""
        refused = Refused(self._client, self._database)
        self._insert(batch, outcome, refused)
        outcome.refused += refused.keep()
        self._client.insert(
            self._ledger, [(self._key, batch.file, batch.passed)], column_names=["replay", "file", "lines"]
        )

    def _insert(self, batch: Batch, outcome: Outcome, refused: Refused) -> None:
        """Insert `batch`; where ClickHouse refuses it for good, all of it but the rows that are at fault."""
        try:
            read = self._load(batch, outcome)
            if not read:
                return
            misdated = int(self._value(_MISDATED))
            if misdated:
                self._client.command(
                    event_dates.letters(self._database, COLUMNS, f"replayed WHERE {event_dates.IMPLAUSIBLE}")
                )
            missing = f"SELECT DISTINCT {_COLUMNS} FROM replayed WHERE {self._missing}"
            count = int(self._value(f"SELECT count() FROM ({missing})"))
            if count:
                self._client.command(
                    f"INSERT INTO {self._database}.incoming_events ({_COLUMNS}) {missing}",
                    settings=INSERT_SETTINGS | _EXACT,
                )
        except DatabaseError as error:
            lines = [line for line in batch.lines if not problem(line)]
            if len(lines) == 1:
                refused.add(lines[0], error)
                return
            self._require_table()
            for half in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
                self._insert(replace(batch, lines=half), outcome, refused)
            return
        outcome.inserted += count
        outcome.misdated += misdated
        outcome.read += read

    def _require_table(self) -> None:
        """Raise DatabaseError when it is the table that is wrong, or a right, and no row: it takes not even none."""
        self._client.command(
            f"INSERT INTO {self._database}.incoming_events ({_COLUMNS}) SELECT {_COLUMNS} FROM replayed LIMIT 0",
            settings=INSERT_SETTINGS,
        )

    @explained(STORE)
    def count(self, batch: Batch, outcome: Outcome) -> None:
        """Count by day what `add` would find and insert."""
        read = self._load(batch, outcome)
        if not read:
            return
        outcome.read += read
        outcome.misdated += int(self._value(_MISDATED))
        query = f"SELECT toDate(timestamp, 'UTC') AS day, count(), uniqExactIf(tuple({_COLUMNS}), {self._missing}) FROM replayed GROUP BY day"
        for day, journal, missing in self._client.query(query, settings=_EXACT).result_rows:
            before = outcome.days.get(day, (0, 0))
            outcome.days[day] = (before[0] + journal, before[1] + missing)
            outcome.inserted += missing

    @explained(STORE)
    def finish(self) -> None:
        """Forget the progress: the next replay of the same range begins at the beginning."""
        self._client.command(
            f"DELETE FROM {self._ledger} WHERE replay = {{key:String}}", parameters={"key": self._key}
        )

    @property
    def _missing(self) -> str:
        return _MISSING.format(database=self._database)

    def _value(self, query: str) -> Any:
        return only_row(self._client.query(query, settings=_EXACT).result_rows)[0]

    def _load(self, batch: Batch, outcome: Outcome) -> int:
        """Have exactly the events of `batch` in the temporary table, and return their number."""
        lines = batch.lines
        if not lines:
            return 0
        self._client.command("TRUNCATE TEMPORARY TABLE replayed")
        good = lines if _is_text(lines) else [line for line in lines if not problem(line)]
        try:
            if good:
                self._send(good)
        except DatabaseError:
            sent, good = good, [line for line in good if not problem(line)]
            if len(good) == len(sent):
                raise
            self._client.command("TRUNCATE TEMPORARY TABLE replayed")
            if good:
                self._send(good)
        if len(good) < len(lines):
            first = next(filter(None, map(problem, lines)))
            outcome.strange += len(lines) - len(good)
            outcome.damages.append(
                Damage(
                    batch.file,
                    batch.offset,
                    f"{len(lines) - len(good)} lines before here are no events ({first})",
                )
            )
        return len(good)

    def _send(self, lines: Sequence[bytes]) -> None:
        body: bytes = lz4.frame.compress(b"\n".join(lines))
        settings = {"input_format_skip_unknown_fields": 0}
        self._client.raw_insert(
            "replayed", insert_block=body, settings=settings, fmt="JSONEachRow", compression="lz4"
        )


def _is_text(lines: Sequence[bytes]) -> bool:
    """Return whether ClickHouse would store text: it takes other bytes as they are, and half of a surrogate pair as three of them."""
    text = b"\n".join(lines)
    if not is_utf8(text):
        return False
    # Vector writes what it has as it is: an escape stands within a payload, or somebody else has written the line
    return (
        not any(problem(line) for line in lines if _SURROGATE.search(line))
        if _SURROGATE.search(text)
        else True
    )


def problem(line: bytes) -> str:
    """Return why a line of a journal is no row of the event table, empty when it is one."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a field twice")
        return dict(pairs)

    try:
        row = json.loads(line.decode(), object_pairs_hook=unique)
        datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S.%f")
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not JSON of the journal's form"
    unknown = row.keys() - _JOURNAL.keys()
    if unknown:
        return f"unknown field {min(unknown)[:60]!r}"
    for name, kind in _JOURNAL.items():
        value = row.get(name)
        limit = _LIMITS.get(kind.removeprefix("Nullable(").rstrip(")"))
        fits = isinstance(value, str) if limit is None else type(value) is int and 0 <= value < limit
        if not fits and not (value is None and (kind.startswith("Nullable") or name == "duration")):
            return f"{name} is not {kind}"
        if isinstance(value, str) and HALF_OF_A_PAIR.search(value):
            return f"{name} has half of a surrogate pair"
    return ""
