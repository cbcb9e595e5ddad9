"""The buffers before a sink: one on disk for what must not be lost, one in memory for what may.

The disk buffer keeps lines in append-only segment files, on disk before `append` returns, removed once acknowledged.
It survives kill -9 at any moment: a torn last line was never answered with 200 and is cut off; what was being sent is sent
again as the very same batch, which ClickHouse recognises (`non_replicated_deduplication_window`).
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvat_analytics.base.files import fsync_directory

SEGMENT_BYTES = 16 * 2**20


class BufferFull(OSError):
    """There is no room for these lines until older ones are delivered."""


@dataclass(frozen=True)
class Batch:
    """Consecutive lines of one segment: the bytes, and the range to acknowledge."""

    segment: int
    start: int
    end: int
    body: bytes


class Buffer(Protocol):
    """A queue of lines with one writer and one reader, each in a thread of its own."""

    def append(self, lines: Sequence[str]) -> int:
        """Add `lines` and return how many were dropped for want of room."""

    def size(self) -> tuple[int, int]:
        """Return how many events and how many bytes wait."""

    def wait(self, timeout: float, enough: int) -> None:
        """Return `timeout` seconds after a line waits, earlier when `enough` bytes do; after a second if none does."""

    def next_batch(self, max_events: int, max_bytes: int) -> Batch | None:
        """Return the oldest lines, the same ones again until they are acknowledged; None when nothing waits."""

    def acknowledge(self, batch: Batch) -> None:
        """Forget `batch`: it was delivered, or nobody will ever take it."""

    def close(self) -> None:
        """Let `wait` return at once from now on."""


class MemoryBuffer:
    """A queue of at most `max_events` lines; what does not fit is dropped."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._lines: list[bytes] = []
        self._changed = threading.Condition()
        self._closed = False

    def append(self, lines: Sequence[str]) -> int:
        """Add the first of `lines` that fit and return how many did not."""
        with self._changed:
            room = max(0, self._max_events - len(self._lines))
            self._lines += [line.encode() + b"\n" for line in lines[:room]]
            self._changed.notify_all()
            return max(0, len(lines) - room)

    def size(self) -> tuple[int, int]:
        """Return how many events and how many bytes wait."""
        with self._changed:
            return len(self._lines), sum(map(len, self._lines))

    def wait(self, timeout: float, enough: int) -> None:
        """Return `timeout` seconds after a line waits; after a second if none does."""
        del enough
        with self._changed:
            if self._changed.wait_for(lambda: self._closed or self._lines, timeout=1.0):
                self._changed.wait_for(lambda: self._closed, timeout=timeout)

    def next_batch(self, max_events: int, max_bytes: int) -> Batch | None:
        """Return the oldest lines; None when nothing waits."""
        del max_bytes
        with self._changed:
            taken = self._lines[:max_events]
        return Batch(0, 0, len(taken), b"".join(taken)) if taken else None

    def acknowledge(self, batch: Batch) -> None:
        """Forget `batch`."""
        with self._changed:
            del self._lines[: batch.end]

    def close(self) -> None:
        """Let `wait` return at once from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class DiskBuffer:
    """A queue of lines on disk with one writer and one reader, each in a thread of its own."""

    def __init__(self, directory: Path, max_size: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._max_size = directory, max_size
        self._changed = threading.Condition()
        files = {int(file.stem): _whole_lines(file) for file in sorted(directory.glob("*.jsonl"))}
        self._lengths = {number: length for number, (length, _) in files.items()}
        self._closed = False
        # which range is being sent, and thereby what is already delivered
        self._position_file = directory / "position.json"
        self._segment, self._start, self._end = self._position()
        for number in [number for number in self._lengths if number < self._segment]:
            self._forget(number)
        self._lengths.setdefault(max(self._segment, *self._lengths, 1), 0)
        self._events = (
            sum(files[number][1] for number in self._lengths if number in files) - self._delivered()
        )

    def _position(self) -> tuple[int, int, int]:
        first = min(self._lengths, default=1)
        try:
            segment, start, end = json.loads(self._position_file.read_text())
        except (OSError, ValueError):
            return first, 0, 0
        if segment < first or end > self._lengths.get(segment, 0):
            return first, 0, 0
        return segment, start, end

    def _delivered(self) -> int:
        """Return how many lines of the oldest segment are delivered already."""
        if not self._start:
            return 0
        with (self._directory / f"{self._segment:08}.jsonl").open("rb") as file:
            return file.read(self._start).count(b"\n")

    def size(self) -> tuple[int, int]:
        """Return how many events and how many bytes wait on disk."""
        with self._changed:
            return self._events, self._bytes()

    def _bytes(self) -> int:
        return sum(self._lengths.values()) - self._start

    def close(self) -> None:
        """Let `wait` return at once from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def require_room(self, lines: Sequence[str]) -> None:
        """Raise BufferFull if `lines` do not fit."""
        waiting = self.size()[1]
        # what is larger than the buffer as text need not be in Vector's
        if waiting and waiting + sum(len(line) for line in lines) > self._max_size:
            raise BufferFull(
                f"the buffer {self._directory} is full: {waiting} of {self._max_size} bytes wait"
            )

    def append(self, lines: Sequence[str]) -> int:
        """Write `lines`; they are on disk when this returns. Raises OSError, and then none of them is kept."""
        if not lines:
            return 0
        current = max(self._lengths)
        if self._lengths[current] >= SEGMENT_BYTES:
            current += 1
        before = self._lengths.get(current, 0)
        data = "".join(line + "\n" for line in lines).encode()
        with (self._directory / f"{current:08}.jsonl").open("ab", buffering=0) as file:
            try:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        if not before:
            fsync_directory(self._directory)
        with self._changed:
            self._lengths[current] = before + len(data)
            self._events += len(lines)
            self._changed.notify_all()
        return 0

    def wait(self, timeout: float, enough: int) -> None:
        """Return `timeout` seconds after a line waits, earlier when `enough` bytes do; after a second if none does."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._bytes() > 0, timeout=1.0)
            self._changed.wait_for(lambda: self._closed or not 0 < self._bytes() < enough, timeout=timeout)

    def next_batch(self, max_events: int, max_bytes: int) -> Batch | None:
        """Return the oldest lines, the same ones again until they are acknowledged; None when nothing waits."""
        with self._changed:
            if self._start >= self._lengths.get(self._segment, 0) and self._segment < max(self._lengths):
                self._remove_segment()
            path = self._directory / f"{self._segment:08}.jsonl"
            available = self._lengths[self._segment] - self._start
        if not available:
            return None
        with path.open("rb") as file:
            file.seek(self._start)
            if self._end > self._start:
                return Batch(self._segment, self._start, self._end, file.read(self._end - self._start))
            lines: list[bytes] = []
            taken = 0
            while len(lines) < max_events and taken < available:
                line = file.readline()
                if lines and taken + len(line) > max_bytes:
                    break
                lines.append(line)
                taken += len(line)
        self._move(self._start, self._start + taken)
        return Batch(self._segment, self._start, self._end, b"".join(lines))

    def acknowledge(self, batch: Batch) -> None:
        """Forget `batch`: it was delivered, or nobody will ever take it."""
        with self._changed:
            self._events -= batch.body.count(b"\n")
            self._move(batch.end, batch.end)

    def _move(self, start: int, end: int) -> None:
        self._start, self._end = start, end
        temporary = self._position_file.with_suffix(".tmp")
        # An old position means at worst that a batch is sent twice. So no fsync, and a full disk does not stop delivery,
        # which is what makes room again.
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps([self._segment, start, end]))
            temporary.replace(self._position_file)

    def _remove_segment(self) -> None:
        done = self._segment
        self._segment = min(number for number in self._lengths if number > done)
        self._move(0, 0)
        self._forget(done)

    def _forget(self, number: int) -> None:
        del self._lengths[number]
        (self._directory / f"{number:08}.jsonl").unlink(missing_ok=True)


def _whole_lines(file: Path) -> tuple[int, int]:
    """Cut a torn last line off `file` and return its length and how many lines it has."""
    data = file.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(file, whole)
    return whole, data.count(b"\n")
