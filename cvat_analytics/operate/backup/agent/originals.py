"""Whole originals of dead letters, lines of files beside the journal: those of a backup that are lacking here come back."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.report import AgentError

_NAME = re.compile(r"(dead-letters-[0-9T-]+\.jsonl)(?:\.zst)?")
_DIGEST = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')


def add(config: Config, place: Path, digests: Sequence[str]) -> int:
    """Append to the files beside the journal those lines of files in `place` that have one of the `digests` and are not there.

    Return how many there were. A letter of a person who was erased is among the digests no more, so that its original stays away.
    Raises AgentError.
    """
    own, wanted, added = Path(config.journal), set(digests), 0
    if not own.is_dir():
        raise AgentError(Code.BACKUP_AGENT, f"{own}: is not there. Deploy first")
    if not place.is_dir():
        raise AgentError(
            Code.BACKUP_AGENT,
            f"{place}: is not there any more, as a backup began here. Run the same command again",
        )
    with _locked(own):
        for name, packed in _files(place):
            lacking = wanted - {
                digest for each in (own / name, own / f"{name}.zst") for digest, _ in _lines(each)
            }
            for digest, line in _lines(packed):
                if digest in lacking:
                    _append(own / name, line)
                    lacking.remove(digest)
                    added += 1
    return added


def _files(place: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(place.glob("dead-letters-*")):
        if found := _NAME.fullmatch(path.name):
            yield found[1], path


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the whole lines of a file that have a digest, with it; of one that is not there none, of a damaged one what is before the damage."""
    if not path.is_file():
        return
    with _read(path) as stream:
        for line in stream:
            found = _DIGEST.search(line)
            if found and line.endswith(b"\n") and _is_whole(line):
                yield found[1].decode(), line


def _is_whole(line: bytes) -> bool:
    """Return whether a line is one: half of one, cut off, may have taken the next into itself."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@contextmanager
def _read(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".zst":
        with path.open("rb") as file:
            yield file
        return
    # which what packs the journal needs as well, so that it is there where such a file is
    command = ["zstd", "-dcq", "--", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if process.stdout:
            with closing(process.stdout) as stream:
                yield stream


def _append(path: Path, line: bytes) -> None:
    """Write a line in one piece, as Vector may be writing to the file of this hour; after one that was cut off on a line of its own."""
    owner, is_new = path.parent.stat(), not path.exists()
    number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    with open(number, "r+b", buffering=0) as file:
        size = os.fstat(number).st_size
        if size and os.pread(number, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.geteuid() == 0 and is_new:
            os.fchown(number, owner.st_uid, owner.st_gid)
        if (done := file.write(line)) != len(line):
            # unless Vector has written behind it
            if os.fstat(number).st_size == size + done:
                os.ftruncate(number, size)
            raise AgentError(
                Code.BACKUP_ROOM,
                f"{path}: {done} of {len(line)} bytes could be written. Make room, then run this again",
            )
        os.fsync(number)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep what packs the journal, and erasures, away meanwhile."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
