"""Read the journal: what Vector has accepted, as gzip-compressed lines of JSON, one file per hour of arrival.

A process that is killed leaves a torn gzip member behind, and its next life writes the next member right after it. So
a file is read member by member: where one breaks off, reading goes on at the next, and what could not be read is told.
"""

from __future__ import annotations

import io
import re
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from cvat_analytics.errors import InputError
from cvat_analytics.pipeline import limits
from cvat_analytics.shell import Shell

_NAME = re.compile(r"events-(\d{4}-\d{2}-\d{2})(?:T(\d{2}))?\.jsonl\.gz")
"""The name of a journal file: the hour of arrival (templates/vector/vector.toml.j2), at first the day."""
EVENT = re.compile(rb'^\{.*?"timestamp": ?"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{3})".*\}$', re.DOTALL)
"""A line of the journal and in it the event's time. Within a JSON text a quote has a backslash: the match is the field."""

_HEADER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]", re.DOTALL)
"""How a gzip member begins: magic, deflate, no reserved flag (RFC 1952)."""
_CHUNK = 2**18
_LOOK_AHEAD = 2**12
"""Compressed bytes after a possible beginning of a member that are tried: enough to see an event begin."""
_OUTPUT = 2**20
_STEP = 2**6
LONGEST_LINE = limits.LINE


class Stream(Protocol):
    """Where the compressed bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


@dataclass(frozen=True)
class File:
    """A journal file: its name, when what is in it arrived, its size in bytes, and how to open it (up to that size)."""

    name: str
    begin: datetime
    end: datetime
    size: int
    open: Callable[[], AbstractContextManager[Stream]]


@dataclass(frozen=True)
class Damage:
    """What of a journal could not be read. `offset`: compressed bytes before it, in the file."""

    file: str
    offset: int
    reason: str
    at_end: bool = False
    """Whether it is the end of the file that breaks off, as it does while Vector has it open."""

    def __str__(self) -> str:
        return f"{self.file}: at byte {self.offset}: {self.reason}"


class _Limited:
    """The first `size` bytes of a file, so that one that grows meanwhile comes to an end."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("rb")
        self._left = size

    def read(self, size: int, /) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data

    def __enter__(self) -> _Limited:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def find(directory: Path) -> list[File]:
    """Return the journal files in `directory` by time. Raises InputError when it cannot be read or has none."""
    if directory.is_file():
        raise InputError(f"journal {directory}: is a file. Give the directory that holds the journal's files")
    try:
        paths = sorted(directory.iterdir())
        sizes = {path: path.stat().st_size for path in paths if arrival(path.name)}
    except OSError as error:
        raise InputError(f"journal {directory}: cannot be read ({error.strerror})") from None
    return _files(
        {path.name: size for path, size in sizes.items()},
        lambda name, size: _Limited(directory / name, size),
        str(directory),
    )


def find_on_host(shell: Shell, directory: str) -> list[File]:
    """Return the journal files in `directory` on a host by time, to be read over SSH.

    Raises InputError when there are none, UnreachableError when the host does not let us look.
    """
    listing = shell.run(
        f"[ -d {shlex.quote(directory)} ] || exit 0; cd {shlex.quote(directory)} && find . -maxdepth 1 -type f -name 'events-*' -printf '%s %f\\n'"
    )
    sizes = {name: int(size) for size, _, name in (line.partition(" ") for line in listing.splitlines())}
    # no more than it had: a file that grows meanwhile comes to an end
    return _files(
        sizes,
        lambda name, size: shell.stream(f"head -c {size} -- {shlex.quote(f'{directory}/{name}')}"),
        f"{directory} on {shell.host}",
    )


def arrival(name: str) -> tuple[datetime, datetime] | None:
    """Return the time of arrival that a journal file's name stands for, None when it is no such name."""
    match = _NAME.fullmatch(name)
    try:
        begin = datetime.fromisoformat(f"{match[1]}T{match[2] or '00'}:00:00+00:00") if match else None
    except ValueError:
        return None
    return (begin, begin + timedelta(hours=1 if match[2] else 24)) if match and begin else None


def _files(
    sizes: Mapping[str, int], opened: Callable[[str, int], AbstractContextManager[Stream]], where: str
) -> list[File]:
    """Return those of these names and sizes that are journal files. Raises InputError when there are none."""
    found = []
    for name, size in sizes.items():
        times = arrival(name)
        if times:
            found.append(File(name, *times, size, partial(opened, name, size)))
    if not found:
        raise InputError(
            f"journal {where}: has no file events-YYYY-MM-DDTHH.jsonl.gz. Is it the right directory, and has Vector received anything?"
        )
    return sorted(found, key=lambda file: (file.begin, file.name))


def refuse_foreign(file: File) -> None:
    """Raise InputError when `file` does not begin as a journal does. A damaged beginning with an event after it is fine."""
    with file.open() as stream:
        head = stream.read(_CHUNK)
    damages: list[Damage] = []
    reader = Reader(file.name, io.BytesIO(head), damages.append)
    lines = [line for block in reader for line in block.lines]
    if any(EVENT.match(line) for line in lines) or not head:
        return
    if lines:
        raise InputError(f"journal file {file.name}: holds something else than events. Move it away")
    if not _HEADER.search(head):
        raise InputError(f"journal file {file.name}: is not compressed with gzip. Move it away")


@dataclass(frozen=True)
class Block:
    """Some whole lines, and how many compressed bytes of the file have been read up to here."""

    lines: list[bytes]
    offset: int


class Reader:
    """Yields the lines of one journal file as blocks, in constant memory; `report` is told of what cannot be read."""

    def __init__(self, name: str, stream: Stream, report: Callable[[Damage], object]) -> None:
        self._name, self._stream, self._report = name, stream, report
        self._buffer = b""
        self._offset = 0
        """Where in the file the buffer begins."""
        self._ended = False
        self._line = b""
        """The beginning of a line whose end has not come yet."""

    def __iter__(self) -> Iterator[Block]:
        while self._fill():
            if _HEADER.match(self._buffer):
                yield from self._member()
            else:
                self._skip("something that is not gzip")

    def _fill(self) -> bool:
        """Have a chunk, and what is looked ahead in the buffer, or all that is left; return whether there is anything."""
        while not self._ended and len(self._buffer) < _CHUNK + _LOOK_AHEAD:
            data = self._stream.read(_CHUNK)
            self._ended = not data
            self._buffer += data
        return bool(self._buffer)

    def _advance(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self._offset += size

    def _skip(self, reason: str) -> None:
        """Go on to the next beginning of a member."""
        begin = self._offset
        while self._fill():
            found = _HEADER.search(self._buffer, 1 if self._offset == begin else 0)
            if found:
                self._advance(found.start())
                break
            self._advance(len(self._buffer) if self._ended else len(self._buffer) - _LOOK_AHEAD)
        self._report(Damage(self._name, begin, f"{reason} ({self._offset - begin} bytes passed over)"))

    def _member(self) -> Iterator[Block]:
        """Yield the lines of the member that begins here, up to its end, its tear, or the end of the file."""
        inflate = zlib.decompressobj(wbits=31)
        begin = self._offset
        while self._fill():
            following = self._next_member(1 if self._offset == begin else 0)
            limit = len(self._buffer) if self._ended else len(self._buffer) - _LOOK_AHEAD
            size = limit if following is None else following
            try:
                for data in _inflated(inflate, self._buffer[:size]):
                    yield Block(self._lines(data), self._offset)
            except zlib.error:
                yield Block(self._last_line(), self._offset)
                self._skip("damaged compression; an event shortly before it may be altered")
                return
            self._advance(size - len(inflate.unused_data))
            if inflate.eof:
                # a writer ends a member after a whole line
                yield Block(self._rest(), self._offset)
                return
            if following is not None:
                break
        lost = len(self._line)
        kept = self._last_line()
        where = "the file ends before what" if self._ended and not self._buffer else "what"
        self._report(
            Damage(
                self._name,
                self._offset,
                f"{where} began at byte {begin} is complete; {0 if kept else lost} bytes of an event are left out",
                at_end=not self._buffer,
            )
        )
        yield Block(kept, self._offset)

    def _next_member(self, start: int) -> int | None:
        """Return where in the buffer a member begins, from `start` on. Four bytes prove nothing: an event must begin there."""
        limit = len(self._buffer) if self._ended else len(self._buffer) - _LOOK_AHEAD
        for found in _HEADER.finditer(self._buffer, start, min(limit + 3, len(self._buffer))):
            trial = zlib.decompressobj(wbits=31)
            try:
                if trial.decompress(self._buffer[found.start() : found.start() + _LOOK_AHEAD], 1) == b"{":
                    return found.start()
            except zlib.error:
                continue
        return None

    def _lines(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes."""
        *lines, rest = (self._line + data).split(b"\n") if b"\n" in data else [self._line + data]
        if len(rest) > LONGEST_LINE:
            self._report(
                Damage(self._name, self._offset, f"a line of more than {LONGEST_LINE} bytes; it is no event")
            )
            rest = b""
        self._line = rest
        return [line for line in lines if line]

    def _rest(self) -> list[bytes]:
        rest, self._line = self._line, b""
        return [rest] if rest else []

    def _last_line(self) -> list[bytes]:
        """Return what has come of a line that has no end, if only its end is missing."""
        return [line for line in self._rest() if EVENT.match(line)]


def _inflated(inflate: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Yield what `data` inflates to, in pieces of bounded size. Raises zlib.error at the first damage, not before it."""
    while True:
        before = inflate.copy()
        try:
            output = inflate.decompress(data, _OUTPUT)
        except zlib.error:
            # what the failed call has inflated is lost with it: go up to the damage in small steps
            for start in range(0, len(data), _STEP):
                yield before.decompress(data[start : start + _STEP])
            raise
        if output:
            yield output
        data = inflate.unconsumed_tail
        if not data and len(output) < _OUTPUT:
            return
