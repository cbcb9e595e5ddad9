"""The whole originals of dead letters of which the table has the beginning only: lines of files beside the journal.

A line is found by the SHA-256 of its original, in the file that the letter names, plain or compressed when it was closed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.connect.shell import Shell

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor
else:
    from backports.zstd import ZstdDecompressor

_NAME = re.compile(r"dead-letters-\d{4}-\d{2}-\d{2}T\d{2}\.jsonl")
_DIGEST = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')
_CHUNK = 2**20
_ENDINGS = ("", ".zst")


class MissingOriginal(CvatAnalyticsError):
    """The whole original of a dead letter is not where it should be; says so, and what to do."""


class Stream(Protocol):
    """What a file is read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


@dataclass(frozen=True)
class Place:
    """A journal's directory: its name in messages, its files of originals, which of some it has, and how to read one."""

    name: str
    names: Callable[[], list[str]]
    having: Callable[[Sequence[str]], list[str]]
    open: Callable[[str], AbstractContextManager[Stream]]


def in_directory(directory: Path) -> Place:
    """Return a directory of this machine."""
    return Place(
        str(directory),
        lambda: sorted(path.name for path in directory.glob("dead-letters-*") if _is_name(path.name)),
        lambda names: [name for name in names if (directory / name).is_file()],
        lambda name: (directory / name).open("rb"),
    )


def on_host(shell: Shell, directory: str) -> Place:
    """Return a directory of a host, read over SSH."""

    def listed() -> list[str]:
        pattern = f"{shlex.quote(directory)}/dead-letters-*"
        found = shell.run(f'for file in {pattern}; do [ ! -f "$file" ] || echo "$file"; done')
        return [name for line in found.splitlines() if _is_name(name := line.rpartition("/")[2])]

    def having(names: Sequence[str]) -> list[str]:
        quoted = " ".join(shlex.quote(f"{directory}/{name}") for name in names)
        existing = shell.run(f'for file in {quoted}; do [ ! -f "$file" ] || echo "$file"; done')
        return [line.rpartition("/")[2] for line in existing.splitlines()]

    return Place(
        f"{directory} on {shell.host}",
        listed,
        having,
        lambda name: shell.stream(f"cat -- {shlex.quote(f'{directory}/{name}')}"),
    )


class Originals:
    """The whole originals in some places: beside each Vector of a stack."""

    def __init__(self, places: Sequence[Place] = ()) -> None:
        self._places = places

    def whole(self, file: str, sha256: str) -> bytes:
        """Return the original with this digest, which the table says is in `file`. Raises MissingOriginal."""
        if file.endswith(_ENDINGS[1]) or not _is_name(file):
            raise MissingOriginal(
                Code.LETTER_ORIGINAL_GONE, f"{file!r} is no name of a file with dead letters"
            )
        looked: list[str] = []
        for place in self._places:
            names = place.having([file + ending for ending in _ENDINGS])
            looked += [f"{place.name}/{name}" for name in names]
            for name in names:
                with place.open(name) as stream:
                    original = _search(_pieces(stream, name), sha256)
                    if original is not None:
                        return original
        where = ", ".join(looked) or f"no such file in {', '.join(place.name for place in self._places)}"
        raise MissingOriginal(
            Code.LETTER_ORIGINAL_GONE,
            f"the whole original (SHA-256 {sha256}) is not in {file} any more, or damaged there ({where}): only its beginning "
            "is left. The journal's files go after 'journal_retention', or when it takes more than 'journal_max_size'",
        )

    def every(self) -> Iterator[tuple[str, bytes]]:
        """Yield each original that is whole, with the name of its file; one that lies in a plain and a packed file comes twice."""
        for place in self._places:
            for name in place.names():
                with place.open(name) as stream:
                    for line in _lines(_pieces(stream, name)):
                        digest = _DIGEST.search(line)
                        original = _original(line, digest[1].decode()) if digest else None
                        if original is not None:
                            yield name, original


def _is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name.removesuffix(_ENDINGS[1])))


def _pieces(stream: Stream, name: str) -> Iterator[bytes]:
    """Yield what a file holds, as far as it can be unpacked."""
    if not name.endswith(".zst"):
        yield from iter(lambda: stream.read(_CHUNK), b"")
        return
    unpack = ZstdDecompressor()
    while data := stream.read(_CHUNK):
        while data:
            try:
                yield unpack.decompress(data)
            except Exception:  # its own error, in one module or the other; a damaged file has no more to give
                return
            data = unpack.unused_data if unpack.eof else b""
            if unpack.eof:
                unpack = ZstdDecompressor()


def _search(pieces: Iterator[bytes], sha256: str) -> bytes | None:
    """Return the original with this digest out of lines, and read them to their end."""
    mark, original = f'"{sha256}"'.encode(), None
    for line in _lines(pieces):
        if original is None and mark in line:
            original = _original(line, sha256)
    return original


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the whole lines of a file; what comes after the last one is still being written, or was cut off."""
    parts: list[bytes] = []
    for piece in pieces:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            yield b"".join([*parts, end])
            parts = []
        parts.append(rest)


def _original(line: bytes, sha256: str) -> bytes | None:
    """Return the original of a line if it is the one with this digest."""
    try:
        fields = json.loads(line)
        original = (
            base64.b64decode(fields["base64"], validate=True)
            if "base64" in fields
            else str(fields["original"]).encode()
        )
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
    return original if hashlib.sha256(original).hexdigest() == sha256 else None
