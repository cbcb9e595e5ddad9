"""A journal is read to its end whatever a crash has made of it, and what could not be read is told."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_analytics.errors import InputError
from cvat_analytics.pipeline import journal


def event(number: int, text: str = "") -> bytes:
    row = {
        "payload": text or os.urandom(40).hex(),
        "scope": "save:job",
        "timestamp": "2026-01-31 10:00:00.000",
    }
    return json.dumps(row | {"job_id": number}).encode()


EVENTS = [event(number) for number in range(2000)]


def member(events: Sequence[bytes]) -> bytes:
    return gzip.compress(b"".join(line + b"\n" for line in events), 1)


def read(data: bytes) -> tuple[list[bytes], list[journal.Damage]]:
    damages: list[journal.Damage] = []
    reader = journal.Reader("events-2026-01-31T10.jsonl.gz", io.BytesIO(data), damages.append)
    return [line for block in reader for line in block.lines], damages


def test_members_that_follow_one_another_are_one_text() -> None:
    assert read(member(EVENTS[:1000]) + member(EVENTS[1000:])) == (EVENTS, [])


def test_an_empty_file_and_an_empty_member_have_no_lines() -> None:
    assert read(b"") == ([], [])
    assert read(member([]) + member(EVENTS[:1]) + member([])) == (EVENTS[:1], [])


@given(st.data())
def test_a_member_torn_anywhere_costs_only_what_was_not_written(data: st.DataObject) -> None:
    first = member(EVENTS[:1000])
    cut = data.draw(st.integers(1, len(first) - 1))
    lines, damages = read(first[:cut] + member(EVENTS[1000:]) + member(EVENTS[:10]))
    kept = lines[:-1010]
    assert lines[-1010:] == EVENTS[1000:] + EVENTS[:10]
    assert kept == EVENTS[: len(kept)]
    assert len(kept) >= 1000 * cut // len(first) - 200, "what zlib had not given out yet is a block at most"
    assert len(damages) == 1
    assert not damages[0].at_end


def test_all_of_a_member_that_lacks_only_its_end_is_read() -> None:
    assert read(member(EVENTS[:1000])[:-8] + member(EVENTS[1000:]))[0] == EVENTS


def test_a_last_line_without_its_end_counts_if_it_is_whole() -> None:
    torn = gzip.compress(b"\n".join(EVENTS[:3]), 1)[:-8]
    assert read(torn)[0] == EVENTS[:3]
    halved = gzip.compress(b"\n".join(EVENTS[:3])[:-1], 1)[:-8]
    lines, damages = read(halved)
    assert lines == EVENTS[:2]
    assert f"{len(EVENTS[2]) - 1} bytes of an event are left out" in str(damages[0])


def test_the_end_of_a_file_that_is_being_written_is_told_apart() -> None:
    first = member(EVENTS[:1000])
    lines, damages = read(first + member(EVENTS[1000:])[:3000])
    assert lines[:1000] == EVENTS[:1000]
    assert [(damage.at_end, damage.offset) for damage in damages] == [(True, len(first) + 3000)]
    assert f"the file ends before what began at byte {len(first)} is complete" in str(damages[0])


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 400_000, b"\x1f\x8b\x08\x00" * 5, random.Random(1).randbytes(300_000)]
)
def test_what_is_no_compressed_text_is_passed_over(rubbish: bytes) -> None:
    lines, damages = read(member(EVENTS[:5]) + rubbish + member(EVENTS[5:10]))
    assert lines == EVENTS[:10]
    assert damages
    assert damages[0].offset == len(member(EVENTS[:5]))


@given(st.integers(20, 30_000), st.integers(1, 255))
def test_a_flipped_byte_never_stops_what_follows(position: int, change: int) -> None:
    first = bytearray(member(EVENTS[:1000]))
    first[position % len(first)] ^= change
    lines, _ = read(bytes(first) + member(EVENTS[1000:]))
    assert lines[-1000:] == EVENTS[1000:]


def test_a_compressed_text_within_an_event_is_no_new_member() -> None:
    # stored blocks keep the inner text as it is
    inner = member(EVENTS[:1]).decode("latin-1")
    odd = [event(1, inner), event(2, inner)]
    data = gzip.compress(b"".join(line + b"\n" for line in odd), 0)
    assert read(data) == (odd, [])


def test_a_line_without_end_is_dropped_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LONGEST_LINE", 2**20)
    lines, damages = read(gzip.compress(b"{" * 3 * 2**20 + b"\n" + EVENTS[0] + b"\n"))
    assert lines[-1] == EVENTS[0]
    assert "it is no event" in str(damages[0])


def test_files_are_found_by_hour_and_by_day(tmp_path: Path) -> None:
    for name in ("2026-01-31T09", "2026-01-30", "2026-01-31T10", "2026-13-01", "2026-01-31T24"):
        (tmp_path / f"events-{name}.jsonl.gz").write_bytes(member(EVENTS[:1]))
    (tmp_path / "notes.txt").touch()
    times = [f"{file.begin:%d %H:%M} {file.end:%d %H:%M}" for file in journal.find(tmp_path)]
    assert times == ["30 00:00 31 00:00", "31 09:00 31 10:00", "31 10:00 31 11:00"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no file events-YYYY-MM-DDTHH.jsonl.gz"),
        (b"plain text\n", "is not compressed with gzip"),
        (member([b"plain text", b'{"a": 1}']), "holds something else than events"),
    ],
    ids=["nothing", "not compressed", "other lines"],
)
def test_what_is_no_journal_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "events-2026-01-31T10.jsonl.gz").write_bytes(content)
    with pytest.raises(InputError, match=message):
        [journal.refuse_foreign(file) for file in journal.find(tmp_path)]


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read \\(No such file or directory\\)"):
        journal.find(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Give the directory"):
        journal.find(tmp_path / "file")
