"""The text of a journal's files: plain as Vector writes it, packed with zstd by the journal's timer, or gzip of before.

Whatever ended a write, what was written whole is found. A plain line is cut off where Vector was killed or the disk was
full; the next event follows right behind it, on the same line. A gzip member (as Vector wrote them up to version 0.1) is
torn by kill -9, and the next one begins right behind it.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

try:
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # before Python 3.14
    from backports import zstd

from cvat_analytics.config import limits

EVENT = re.compile(rb'^\{.*?"timestamp": ?"(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{3})".*\}$', re.DOTALL)
"""A line of the journal and in it the event's time. Within a JSON text a quote has a backslash: the match is the field."""
LONGEST_LINE = limits.LINE

_BEGIN = re.compile(rb'\{"(?=[^,}])')
"""How an event begins. In an event the bytes `{"` can only be the end of a string, before a comma or the last brace."""
_HEADER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]", re.DOTALL)
"""How a gzip member begins: magic, deflate, no reserved flag (RFC 1952)."""
_ZSTD = b"\x28\xb5\x2f\xfd"
"""How a zstd frame begins (RFC 8878)."""
_CHUNK = 2**18
_LOOK_AHEAD = 2**12
"""Compressed bytes after a possible beginning of a member that are tried: enough to see an event begin."""
_STEP = 2**12
"""Compressed bytes that are unpacked at a time: what comes of them is bounded (deflate makes up to 1032 bytes of one)."""
_OUTPUT = 2**20


class Stream(Protocol):
    """Where a file's bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


@dataclass(frozen=True)
class Damage:
    """What of a journal could not be read. `offset`: the file's bytes that were read up to there."""

    file: str
    offset: int
    reason: str
    expected: bool = False
    """Whether it is what a kill, a full disk or the moment leaves of a write that has not come to its end: no failure."""

    def __str__(self) -> str:
        return f"{self.file}: at byte {self.offset}: {self.reason}"


Report = Callable[[Damage], object]


def unpacked(name: str, stream: Stream, report: Report) -> Iterator[tuple[bytes, int]]:
    """Yield the text of the file `name` piece by piece, each with the bytes of the file that were read for it."""
    if name.endswith(".gz"):
        yield from _gzip(name, stream, report)
        return
    # a file that is packed meanwhile is opened by the name that it had: its beginning tells
    first = stream.read(_STEP)
    yield from (_zstd if first.startswith(_ZSTD) else _plain)(name, first, stream, report)


def could_be(name: str, head: bytes) -> bool:
    """Return whether `head` may be the beginning of a journal file of that name, as far as its form goes."""
    if name.endswith(".gz"):
        return bool(_HEADER.search(head))
    return head.startswith(_ZSTD) or bool(_BEGIN.search(head))


def _plain(name: str, data: bytes, stream: Stream, report: Report) -> Iterator[tuple[bytes, int]]:
    offset = 0
    while data:
        offset += len(data)
        yield data, offset
        data = stream.read(_CHUNK)


def _zstd(name: str, data: bytes, stream: Stream, report: Report) -> Iterator[tuple[bytes, int]]:
    """Yield what the frames hold. The file was compared with its original when it was made: no way leads on from damage."""
    frame, offset, begun = zstd.ZstdDecompressor(), 0, False
    while data:
        offset += len(data)
        while data or not frame.needs_input:
            try:
                text = frame.decompress(data, _OUTPUT)
            except zstd.ZstdError:
                report(Damage(name, offset, "damaged compression; the rest of the file is passed over"))
                return
            yield text, offset
            data, begun = b"", not frame.eof
            if frame.eof:
                data, frame = frame.unused_data, zstd.ZstdDecompressor()
        data = stream.read(_STEP)
    if begun:
        report(Damage(name, offset, "the file breaks off: it was not copied to its end"))


def _gzip(name: str, stream: Stream, report: Report) -> Iterator[tuple[bytes, int]]:
    """Yield what the members hold, each up to its end or its tear."""
    window = _Window(stream)
    while window.fill():
        begin = window.offset
        if not _HEADER.match(window.data):
            report(Damage(name, begin, f"something that is not gzip ({window.skip()} bytes passed over)"))
            continue
        inflate = zlib.decompressobj(wbits=31)
        while window.fill():
            following = window.next_member(1 if window.offset == begin else 0)
            size = window.safe if following is None else following
            try:
                used = yield from _inflated(inflate, window.data[:size], window.offset)
            except zlib.error:
                reason = "damaged compression; an event shortly before it may be altered"
                report(Damage(name, window.offset, f"{reason} ({window.skip()} bytes passed over)"))
                break
            window.advance(used)
            if inflate.eof:
                break
            if following is not None:
                report(Damage(name, window.offset, f"what began at byte {begin} is not complete"))
                break
        else:
            reason = f"the file ends before what began at byte {begin} is complete"
            report(Damage(name, window.offset, reason, expected=True))


class _Window:
    """The part of a stream that is looked at: a chunk, and what is looked ahead beyond it."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._ended = stream, False
        self.data, self.offset = b"", 0

    @property
    def safe(self) -> int:
        """Return how much of `data` can be used: whether a member begins in it is known."""
        return len(self.data) if self._ended else len(self.data) - _LOOK_AHEAD

    def fill(self) -> bool:
        """Have as much as is looked at, or all that is left; return whether there is anything."""
        while not self._ended and len(self.data) < _CHUNK + _LOOK_AHEAD:
            data = self._stream.read(_CHUNK)
            self._ended = not data
            self.data += data
        return bool(self.data)

    def advance(self, size: int) -> None:
        self.data = self.data[size:]
        self.offset += size

    def skip(self) -> int:
        """Go on to the next member that begins after this place; return how many bytes are passed over."""
        begin = self.offset
        while self.fill():
            member = self.next_member(1 if self.offset == begin else 0)
            self.advance(self.safe if member is None else member)
            if member is not None:
                break
        return self.offset - begin

    def next_member(self, start: int) -> int | None:
        """Return where a member begins, from `start` on. Four bytes prove nothing: an event must begin there."""
        for match in _HEADER.finditer(self.data, start, min(self.safe + 3, len(self.data))):
            trial = zlib.decompressobj(wbits=31)
            try:
                if trial.decompress(self.data[match.start() : match.start() + _LOOK_AHEAD], 1) == b"{":
                    return match.start()
            except zlib.error:
                continue
        return None


def _inflated(inflate: zlib._Decompress, data: bytes, offset: int) -> Generator[tuple[bytes, int], None, int]:
    """Yield what `data` inflates to and return how much of it was used. Raises zlib.error at the first damage, not before it."""
    for start in range(0, len(data), _STEP):
        step, before = data[start : start + _STEP], inflate.copy()
        try:
            text = inflate.decompress(step)
        except zlib.error:
            # what the failed call has inflated is lost with it: go up to the damage byte by byte
            for byte in step:
                yield before.decompress(bytes([byte])), offset + start
            raise
        yield text, offset + start
        if inflate.eof:
            return start + len(step) - len(inflate.unused_data)
    return len(data)


class Lines:
    """Makes lines of a text that comes in pieces, and finds each whole event in them; `report` is told of what was cut off."""

    def __init__(self, name: str, report: Report) -> None:
        self._name, self._report = name, report
        self._pieces: list[bytes] = []
        """The beginning of a line whose end has not come yet."""
        self._size = 0

    def of(self, text: bytes, offset: int) -> list[bytes]:
        """Return the lines that `text` completes, which is known from `offset` bytes of the file."""
        first, *others = text.split(b"\n")
        lines = [self._line(first), *others[:-1]] if others else []
        rest = others[-1] if others else first
        self._pieces.append(rest)
        self._size += len(rest)
        if self._size > LONGEST_LINE:
            reason = f"a line of more than {LONGEST_LINE} bytes; it is no event"
            self._report(Damage(self._name, offset, reason))
            self._line()
        return [event for line in lines for event in self._events(line, offset)]

    def rest(self, offset: int) -> list[bytes]:
        """Return what is whole of a last line that has no end."""
        line = self._line()
        *events, last = self._events(line, offset) or [b""]
        if not last or _is_event(last):
            return [*events, last] if last else []
        self._cut([last], offset)
        return events

    def _line(self, end: bytes = b"") -> bytes:
        """Return the line that ends so, and be at the beginning of the next."""
        line = b"".join([*self._pieces, end])
        self._pieces.clear()
        self._size = 0
        return line

    def _events(self, line: bytes, offset: int) -> list[bytes]:
        """Return the events of a line, or whatever it is; nearly always it is one event. Of an erasure blanks are left."""
        if not line or line.isspace():
            return []
        if line.startswith(b"{") and not _BEGIN.search(line, 1):
            return [line]
        begins = [match.start() for match in _BEGIN.finditer(line)]
        if not begins or begins == [0] or _is_event(line):
            return [line]
        pieces = [
            line[begin:end]
            for begin, end in zip([0, *begins], [*begins, len(line)], strict=True)
            if begin < end
        ]
        whole = [_is_event(piece) for piece in pieces[:-1]] + [True]
        if not all(whole):
            self._cut([piece for piece, good in zip(pieces, whole, strict=True) if not good], offset)
        return [piece for piece, good in zip(pieces, whole, strict=True) if good]

    def _cut(self, pieces: list[bytes], offset: int) -> None:
        """Tell of what is left of writes that did not come to their end; another beginning than an event's is damage."""
        size, expected = sum(map(len, pieces)), all(piece.startswith(b"{") for piece in pieces)
        what = "an event that was not written to its end" if expected else "something that is no event"
        self._report(Damage(self._name, offset, f"{what} ({size} bytes, shortly before here)", expected))


def _is_event(text: bytes) -> bool:
    """Return whether `text` is one whole event."""
    try:
        return bool(EVENT.match(text)) and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
