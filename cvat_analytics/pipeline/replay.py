"""Put events from the journal back into the event table: those of a range of time that are not there (any more).

The journal's lines are rows already (templates/vector/normalise.vrl), so that they go straight into ClickHouse, in
batches through a temporary table. There the rows that the event table has are left out, which makes the numbers at the
end exact and keeps what is derived from events from being computed again for nothing. A ledger in the database remembers
how many lines of each file are done: the same command goes on after the last batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.timestamps import refuse_backwards, text
from cvat_analytics.connect.access import Access
from cvat_analytics.pipeline.journal import File
from cvat_analytics.pipeline.journal_text import EVENT, Damage
from cvat_analytics.pipeline.replay_store import Batch, Outcome, Store
from cvat_analytics.store.smoke_events import is_of_smoke_test

BATCH_LINES, BATCH_BYTES = 100_000, 64 * 2**20
"""What is inserted at a time: what is lost by an interruption, and what bounds the memory on both sides."""
Progress = Callable[[int], object]
Kind = Literal["event", "arrival"]


@dataclass(frozen=True)
class Range:
    """Which events: those that happened from `since` to before `until`, or those that arrived in whole hours (UTC)."""

    since: datetime
    until: datetime | None
    by: Kind = "event"

    def __post_init__(self) -> None:
        refuse_backwards(self.since, self.until)
        whole = all(
            each == each.replace(minute=0, second=0, microsecond=0)
            for each in (self.since, self.until)
            if each
        )
        if self.by == "arrival" and not whole:
            raise InputError(
                Code.OPTION_VALUE,
                "--by arrival: the journal knows the hour of an arrival only; give --since and --until as days or whole hours",
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
        """Return those of `lines` that are such events, and the number of lines that are no events at all.

        What a smoke test has sent is not wanted back.
        """
        found = [(line, match[1]) for line in lines if (match := EVENT.match(line))]
        strange = len(lines) - len(found)
        events = [each for each in found if not is_of_smoke_test(each[0])]
        if self.by == "arrival":
            return [line for line, _ in events], strange
        first, last = text(self.since).encode(), text(self.until).encode() if self.until else b"9"
        return [line for line, moment in events if first <= moment < last], strange

    def key(self, source: str) -> str:
        """Return what names a replay of these events from `source` in the ledger."""
        return f"{source} {self.by} {self.since.isoformat()} {self.until.isoformat() if self.until else ''}"


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
        """Return the bytes that there are to read."""
        return sum(file.size for file in self.files)

    def run(self, progress: Progress, dry: bool = False) -> Outcome:
        """Insert what is missing, or with `dry` only count it; `progress` is told the bytes of the files that are done.

        Raises CvatAnalyticsError when ClickHouse refuses something or the connection is lost; what was done stays.
        """
        outcome = Outcome()
        store = Store(self.access.client(), self.access.database, self.range.key(self.source))
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

    def _batches(self, outcome: Outcome, done: dict[str, int], progress: Progress) -> Iterator[Batch]:
        size_done = 0
        for file in self.files:
            lines: list[bytes] = []
            passed, size, skip = 0, 0, done.get(file.name, 0)
            outcome.done_before += skip
            for block in file.blocks(outcome.damages.append):
                fresh = block.lines[max(0, skip - passed) :]
                passed += len(block.lines)
                events, strange = self.range.select(fresh)
                if strange:
                    outcome.strange += strange
                    outcome.damages.append(
                        Damage(file.name, block.offset, f"{strange} lines near here are no events")
                    )
                lines += events
                size += sum(map(len, events))
                if len(lines) >= self.batch_lines or size >= BATCH_BYTES:
                    yield Batch(file.name, passed, lines, block.offset)
                    lines, size = [], 0
                    progress(size_done + block.offset)
            if passed > skip:
                yield Batch(file.name, passed, lines, file.size)
            size_done += file.size
            progress(size_done)
