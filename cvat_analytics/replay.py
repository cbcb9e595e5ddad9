"""Put events from the journal back into the event table: those of a range of time that are not there (any more).

The journal's lines are rows already (templates/vector/normalise.vrl), so that they go straight into ClickHouse, in
batches through a temporary table. There the rows that the event table has are left out, which makes the numbers at the
end exact and keeps what is derived from events from being computed again for nothing. A ledger in the database remembers
how many lines of each file are done: the same command goes on after the last batch.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

import lz4.frame  # type: ignore[import-untyped]
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from cvat_analytics.access import Access
from cvat_analytics.errors import InputError
from cvat_analytics.importing.columns import COLUMNS
from cvat_analytics.importing.tables import INSERT_SETTINGS, STORE, explained
from cvat_analytics.journal import EVENT, Damage, File, Reader

BATCH_LINES, BATCH_BYTES = 100_000, 64 * 2**20
"""What is inserted at a time: what is lost by an interruption, and what bounds the memory on both sides."""
_COLUMNS = ", ".join(COLUMNS)
_LIMITS = {"UInt16": 2**16, "UInt32": 2**32, "UInt64": 2**64}
_MISSING = (
    f"({_COLUMNS}) NOT IN (SELECT {_COLUMNS} FROM {{database}}.events "
    # batches follow the time of arrival: days (the sort key begins with them) and hours are few
    "WHERE toDate(timestamp) IN (SELECT toDate(timestamp) FROM replayed) "
    "AND toStartOfHour(timestamp) IN (SELECT toStartOfHour(timestamp) FROM replayed))"
)
# NULL is a value like any other: without this a row with one would be missing for ever
_EXACT = {"transform_null_in": 1}
Progress = Callable[[int], object]
Kind = Literal["event", "arrival"]


@dataclass(frozen=True)
class Range:
    """Which events: those that happened from `since` to before `until`, or those that arrived in whole hours (UTC)."""

    since: datetime
    until: datetime | None
    by: Kind = "event"

    def __post_init__(self) -> None:
        if self.until is not None and self.until <= self.since:
            raise InputError(
                f"--until {self.until:%Y-%m-%d %H:%M:%S}: is not after --since {self.since:%Y-%m-%d %H:%M:%S}"
            )
        whole = all(
            each == each.replace(minute=0, second=0, microsecond=0)
            for each in (self.since, self.until)
            if each
        )
        if self.by == "arrival" and not whole:
            raise InputError(
                "--by arrival: the journal knows the hour of an arrival only; give --since and --until as days or whole hours"
            )

    def files(self, files: Iterable[File]) -> list[File]:
        """Return those of `files` that may hold such events.

        An event may arrive any time after it happened, out of CVAT's queue, but not long before (a wrong clock).
        """
        if self.by == "event":
            return [file for file in files if file.end > self.since - timedelta(days=1)]
        return [
            file
            for file in files
            if file.end > self.since and (self.until is None or file.begin < self.until)
        ]

    def select(self, lines: Sequence[bytes]) -> tuple[list[bytes], int]:
        """Return those of `lines` that are such events, and the number of lines that are no events at all."""
        found = [(line, match[1]) for line in lines if (match := EVENT.match(line))]
        strange = len(lines) - len(found)
        if self.by == "arrival":
            return [line for line, _ in found], strange
        # as text, times compare as they do as times
        first, last = _text(self.since), _text(self.until) if self.until else b"9"
        return [line for line, moment in found if first <= moment < last], strange

    def key(self, source: str) -> str:
        """Return what names a replay of these events from `source` in the ledger."""
        return f"{source} {self.by} {self.since.isoformat()} {self.until.isoformat() if self.until else ''}"


def _text(moment: datetime) -> bytes:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}".encode()


@dataclass
class Outcome:
    """What a replay has done, or (`dry`) would do. All numbers are lines of the journal within the range."""

    read: int = 0
    inserted: int = 0
    strange: int = 0
    """Lines that are no events; `damages` has the first ones."""
    done_before: int = 0
    """Lines, in the range or not, that an interrupted run had done."""
    damages: list[Damage] = field(default_factory=list)
    days: dict[date, tuple[int, int]] = field(default_factory=dict)
    """Of a dry run: by the events' day, how many the journal has, and how many of them are missing in the table."""

    @property
    def there(self) -> int:
        """Return how many were in the table already, or twice in the journal."""
        return self.read - self.inserted

    @property
    def unreadable(self) -> list[Damage]:
        """Return what of the journal could not be read, but for the end of a file that is being written."""
        return [damage for damage in self.damages if not damage.at_end]


@dataclass(frozen=True)
class Replay:
    """The events of `range` in `files`, to be put into the stack that `access` leads to. `source` names the journal."""

    access: Access
    source: str
    files: Sequence[File]
    range: Range
    batch_lines: int = BATCH_LINES

    @property
    def size(self) -> int:
        """Return the compressed bytes that there are to read."""
        return sum(file.size for file in self.files)

    def run(self, progress: Progress, dry: bool = False) -> Outcome:
        """Insert what is missing, or with `dry` only count it; `progress` is told the compressed bytes that are done.

        Raises CvatAnalyticsError when ClickHouse refuses something or the connection is lost; what was done stays.
        """
        outcome = Outcome()
        store = _Store(self.access.client(), self.access.settings.database, self.range.key(self.source))
        done = {} if dry else store.begin()
        with store.replayed_table(), ThreadPoolExecutor(1) as worker:
            # while one batch is inserted the next one is read
            busy: Future[None] | None = None
            for batch in self._batches(outcome, done, progress):
                if busy:
                    busy.result()
                busy = worker.submit(store.count if dry else store.add, batch, outcome)
            if busy:
                busy.result()
        if not dry:
            store.finish()
        return outcome

    def _batches(self, outcome: Outcome, done: dict[str, int], progress: Progress) -> Iterator[_Batch]:
        told = 0
        for file in self.files:
            with file.open() as stream:
                lines: list[bytes] = []
                passed, size, skip = 0, 0, done.get(file.name, 0)
                outcome.done_before += skip
                for block in Reader(file.name, stream, outcome.damages.append):
                    fresh = block.lines[max(0, skip - passed) :]
                    passed += len(block.lines)
                    found, strange = self.range.select(fresh)
                    if strange:
                        outcome.strange += strange
                        outcome.damages.append(
                            Damage(file.name, block.offset, f"{strange} lines near here are no events")
                        )
                    lines += found
                    size += sum(map(len, found))
                    if len(lines) >= self.batch_lines or size >= BATCH_BYTES:
                        yield _Batch(file.name, passed, lines, block.offset)
                        lines, size = [], 0
                        progress(told + block.offset)
                if passed > skip:
                    yield _Batch(file.name, passed, lines, file.size)
            told += file.size
            progress(told)


@dataclass(frozen=True)
class _Batch:
    file: str
    passed: int
    """How many lines of the file are done with this batch."""
    lines: list[bytes]
    offset: int


class _Store:
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
            columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
            self._client.command(f"CREATE TEMPORARY TABLE replayed ({columns}) ENGINE = Memory")
        yield
        with explained(STORE):
            self._client.command("DROP TEMPORARY TABLE replayed")

    @explained(STORE)
    def add(self, batch: _Batch, outcome: Outcome) -> None:
        """Insert those events of `batch` that the table lacks, and remember that it is done."""
        read = self._load(batch, outcome)
        if read:
            missing = f"SELECT DISTINCT {_COLUMNS} FROM replayed WHERE {self._missing}"
            count = int(self._value(f"SELECT count() FROM ({missing})"))
            if count:
                self._client.command(
                    f"INSERT INTO {self._database}.events ({_COLUMNS}) {missing}",
                    settings=INSERT_SETTINGS | _EXACT,
                )
            outcome.inserted += count
            outcome.read += read
        self._client.insert(
            self._ledger, [(self._key, batch.file, batch.passed)], column_names=["replay", "file", "lines"]
        )

    @explained(STORE)
    def count(self, batch: _Batch, outcome: Outcome) -> None:
        """Count by day what `add` would find and insert."""
        read = self._load(batch, outcome)
        if not read:
            return
        outcome.read += read
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
        return self._client.query(query, settings=_EXACT).result_rows[0][0]

    def _load(self, batch: _Batch, outcome: Outcome) -> int:
        """Have exactly the events of `batch` in the temporary table, and return their number."""
        lines = batch.lines
        if not lines:
            return 0
        self._client.command("TRUNCATE TEMPORARY TABLE replayed")
        try:
            self._send(lines)
        except DatabaseError:
            good = [line for line in lines if not problem(line)]
            if len(good) == len(lines):
                raise
            first = next(filter(None, map(problem, lines)))
            outcome.strange += len(lines) - len(good)
            outcome.damages.append(
                Damage(
                    batch.file,
                    batch.offset,
                    f"{len(lines) - len(good)} lines before here are no events ({first})",
                )
            )
            self._client.command("TRUNCATE TEMPORARY TABLE replayed")
            if good:
                self._send(good)
            lines = good
        return len(lines)

    def _send(self, lines: Sequence[bytes]) -> None:
        body: bytes = lz4.frame.compress(b"\n".join(lines))
        settings = {"input_format_skip_unknown_fields": 0}
        self._client.raw_insert(
            "replayed", insert_block=body, settings=settings, fmt="JSONEachRow", compression="lz4"
        )


def problem(line: bytes) -> str:
    """Return why a line of a journal is no row of the event table, empty when it is one."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a field twice")
        return dict(pairs)

    try:
        row = json.loads(line, object_pairs_hook=unique)
        datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S.%f")
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not JSON of the journal's form"
    unknown = row.keys() - COLUMNS.keys()
    if unknown:
        return f"unknown field {min(unknown)[:60]!r}"
    for name, kind in COLUMNS.items():
        value = row.get(name)
        limit = _LIMITS.get(kind.removeprefix("Nullable(").rstrip(")"))
        fits = isinstance(value, str) if limit is None else type(value) is int and 0 <= value < limit
        if not fits and not (value is None and (kind.startswith("Nullable") or name == "duration")):
            return f"{name} is not {kind}"
    return ""
