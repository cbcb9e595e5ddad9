"""Find and read the journal: what Vector has accepted, as lines of JSON, one file per hour of arrival.

The hour that is written is plain. Later the journal's timer packs it with zstd (templates/vector/keep-journal.j2): both
files may be there for a moment, and are one hour. Files of before are packed with gzip.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.shell import Shell
from cvat_analytics.pipeline.journal_text import EVENT, Damage, Lines, Report, Stream, could_be, unpacked

_NAME = re.compile(r"(events-(\d{4}-\d{2}-\d{2})(?:T(\d{2}))?\.jsonl(?:\.gz)?)(\.zst)?")
"""The name of a journal file: the hour of arrival (templates/vector.toml.j2), at first the day; with `.zst` packed."""
_HEAD = 2**18
"""Bytes of a file that tell whether it is a journal."""
PACKED = ".zst"
"""What the journal's timer adds to the name of a file that it has packed."""


@dataclass(frozen=True)
class Part:
    """A file as it lies there: its name, its size in bytes, and how to open it (up to that size)."""

    name: str
    size: int
    open: Callable[[], AbstractContextManager[Stream]]


@dataclass(frozen=True)
class File:
    """The journal of an hour: its name, when what is in it arrived, and the files that hold it, in this order."""

    name: str
    """The name that Vector gave it, whether it is packed by now or not."""
    begin: datetime
    end: datetime
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Return the bytes that there are to read."""
        return sum(part.size for part in self.parts)

    def blocks(self, report: Report) -> Iterator[Block]:
        """Yield the lines in constant memory; `report` is told of what cannot be read."""
        lines, before = Lines(self.name, report), 0
        for part in self.parts:
            try:
                with part.open() as stream:
                    for text, offset in unpacked(part.name, stream, report):
                        yield Block(lines.of(text, before + offset), before + offset)
            except FileNotFoundError:
                report(
                    Damage(part.name, 0, "is gone: it was removed after this began, by its age or for room")
                )
            before += part.size
        yield Block(lines.rest(before), before)


@dataclass(frozen=True)
class Block:
    """Some whole lines, and how many of the file's bytes have been read up to here."""

    lines: list[bytes]
    offset: int


class _Limited:
    """The first `size` bytes of a file, so that one that grows meanwhile comes to an end; all of it where it is packed by now."""

    def __init__(self, path: Path, size: int) -> None:
        try:
            self._file = path.open("rb")
            self._left = size
        except FileNotFoundError:
            self._file = path.with_name(f"{path.name}{PACKED}").open("rb")
            self._left = self._file.seek(0, io.SEEK_END)
            self._file.seek(0)

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
        raise InputError(
            Code.JOURNAL_PLACE,
            f"journal {directory}: is a file. Give the directory that holds the journal's files",
        )
    sizes: dict[str, int] = {}
    before: list[str] = []
    while True:
        try:
            names = sorted(path.name for path in directory.iterdir() if arrival(path.name))
        except OSError as error:
            raise InputError(
                Code.JOURNAL_PLACE, f"journal {directory}: cannot be read ({error.strerror})"
            ) from None
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes[name] = (directory / name).stat().st_size
        # one that is gone was packed or removed just now: look again
        if sizes.keys() >= set(names) or names == before:
            break
        sizes, before = {}, names
    return _files(sizes, lambda name, size: _Limited(directory / name, size), str(directory))


def find_on_host(shell: Shell, directory: str) -> list[File]:
    """Return the journal files in `directory` on a host by time, to be read over SSH.

    Raises InputError when there are none, UnreachableError when the host does not let us look.
    """
    listing = shell.run(
        f"[ -d {shlex.quote(directory)} ] || exit 0; cd {shlex.quote(directory)} && find . -maxdepth 1 -type f -name 'events-*' -printf '%s %f\\n'"
    )
    sizes = {name: int(size) for size, _, name in (line.partition(" ") for line in listing.splitlines())}

    def opened(name: str, size: int) -> AbstractContextManager[Stream]:
        path = shlex.quote(f"{directory}/{name}")
        # no more than it had: a file that grows meanwhile comes to an end; all of it where it is packed by now
        return shell.stream(
            f"if [ -e {path} ]; then head -c {size} -- {path}; else cat -- {path}{PACKED}; fi"
        )

    return _files(sizes, opened, f"{directory} on {shell.host}")


def arrival(name: str) -> tuple[datetime, datetime] | None:
    """Return the time of arrival that a journal file's name stands for, None when it is no such name."""
    match = _NAME.fullmatch(name)
    try:
        begin = datetime.fromisoformat(f"{match[2]}T{match[3] or '00'}:00:00+00:00") if match else None
    except ValueError:
        return None
    return (begin, begin + timedelta(hours=1 if match[3] else 24)) if match and begin else None


def _files(
    sizes: Mapping[str, int], opened: Callable[[str, int], AbstractContextManager[Stream]], where: str
) -> list[File]:
    """Return the journal that these names and sizes are. Raises InputError when there is none."""
    parts: dict[str, list[Part]] = {}
    # the longer name is the packed one, and what it holds came first
    for name in sorted(sizes, reverse=True):
        match = _NAME.fullmatch(name)
        if match and arrival(name):
            parts.setdefault(match[1], []).append(Part(name, sizes[name], partial(opened, name, sizes[name])))
    files = []
    for name, of_hour in parts.items():
        begin, end = arrival(name) or (datetime.min, datetime.max)
        once = of_hour[:1] if len(of_hour) > 1 and _ends_with(of_hour[0], of_hour[1]) else of_hour
        files.append(File(name, begin, end, tuple(once)))
    if not files:
        raise InputError(
            Code.JOURNAL_PLACE,
            f"journal {where}: has no file events-YYYY-MM-DDTHH.jsonl, packed or not. Is it the right directory, and has Vector "
            "received anything?",
        )
    return sorted(files, key=lambda file: (file.begin, file.name))


def _ends_with(packed: Part, plain: Part) -> bool:
    """Return whether the end of `packed` is what `plain` holds: it has been packed, and was about to be removed."""
    with packed.open() as stream:
        size = sum(len(text) for text, _ in unpacked(packed.name, stream, _nobody))
    if size < plain.size:
        return False
    before, rest = size - plain.size, b""
    with packed.open() as stream, plain.open() as other:
        for text, _ in unpacked(packed.name, stream, _nobody):
            passed, before = text[before:], max(0, before - len(text))
            while passed:
                rest = rest or other.read(_HEAD)
                size = min(len(rest), len(passed))
                if not size or rest[:size] != passed[:size]:
                    return False
                rest, passed = rest[size:], passed[size:]
        return not (rest or other.read(1))


def _nobody(_: Damage) -> None:
    """Be told of damage that is told where the file is read for good."""


def refuse_foreign(file: File) -> None:
    """Raise InputError when `file` does not begin as a journal does. A damaged beginning with an event after it is fine."""
    for part in file.parts:
        try:
            with part.open() as stream:
                head = stream.read(_HEAD)
        except FileNotFoundError:  # told where it is read for good
            continue
        lines = Lines(part.name, _nobody)
        foreign = [
            line for text, _ in unpacked(part.name, io.BytesIO(head), _nobody) for line in lines.of(text, 0)
        ]
        # of an hour in which only somebody was at work who is erased, blanks are left
        if any(EVENT.match(line) for line in foreign) or not head.strip():
            continue
        if foreign:
            raise InputError(
                Code.JOURNAL_FILE, f"journal file {part.name}: holds something else than events. Move it away"
            )
        if not could_be(part.name, head):
            raise InputError(
                Code.JOURNAL_FILE, f"journal file {part.name}: is not what its name says. Move it away"
            )
