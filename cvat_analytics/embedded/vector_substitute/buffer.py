"""A disk buffer: lines in append-only segment files, on disk before `append` returns, removed once acknowledged.

Survives kill -9 at any moment: a torn last line was never answered with 200 and is cut off; what was being sent is sent
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


class DiskBuffer:
    """A queue of lines on disk with one writer and one reader, each in a thread of its own."""

    def __init__(self, directory: Path, max_size: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._max_size = directory, max_size
        self._changed = threading.Condition()
        self._lengths = {int(file.stem): _whole_lines(file) for file in sorted(directory.glob("*.jsonl"))}
        self._closed = False
        # which range is being sent, and thereby what is already delivered
        self._position_file = directory / "position.json"
        self._segment, self._start, self._end = self._position()
        for number in [number for number in self._lengths if number < self._segment]:
            self._forget(number)
        self._lengths.setdefault(max(self._segment, *self._lengths, 1), 0)

    def _position(self) -> tuple[int, int, int]:
        first = min(self._lengths, default=1)
        try:
            segment, start, end = json.loads(self._position_file.read_text())
        except (OSError, ValueError):
            return first, 0, 0
        if segment < first or end > self._lengths.get(segment, 0):
            return first, 0, 0
        return segment, start, end

    def size(self) -> int:
        """Return the bytes that wait on disk."""
        with self._changed:
            return sum(self._lengths.values()) - self._start

    def close(self) -> None:
        """Let `wait` return at once from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def require_room(self, lines: Sequence[str]) -> None:
        """Raise BufferFull if `lines` do not fit."""
        if self.size() + sum(len(line) for line in lines) > self._max_size:
            raise BufferFull(
                f"the buffer {self._directory} is full: {self.size()} of {self._max_size} bytes wait"
            )

    def append(self, lines: Sequence[str]) -> None:
        """Write `lines`; they are on disk when this returns. Raises OSError, and then none of them is kept."""
        if not lines:
            return
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
            _fsync_directory(self._directory)
        with self._changed:
            self._lengths[current] = before + len(data)
            self._changed.notify_all()

    def wait(self, timeout: float, enough: int) -> None:
        """Return `timeout` seconds after a line waits, earlier when `enough` bytes do; after a second if none does."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.size() > 0, timeout=1.0)
            self._changed.wait_for(lambda: self._closed or not 0 < self.size() < enough, timeout=timeout)

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


def _whole_lines(file: Path) -> int:
    """Cut a torn last line off `file` and return its length."""
    data = file.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(file, whole)
    return whole


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
