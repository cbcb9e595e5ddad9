"""A journal is read to its end whatever a crash or a full disk has made of it, and what could not be read is told."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.shell import Shell
from cvat_analytics.pipeline import journal, journal_text
from cvat_analytics.pipeline.journal_text import Damage


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


def opening(content: bytes) -> AbstractContextManager[journal.Stream]:
    return nullcontext(io.BytesIO(content))


def plain(events: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in events)


def read(*parts: bytes, ending: str = ".gz") -> tuple[list[bytes], list[Damage]]:
    """Read the journal of an hour that lies there in these parts."""
    name, begin = "events-2026-01-31T10.jsonl", datetime(2026, 1, 31, 10, tzinfo=UTC)
    opened = [journal.Part(name + ending, len(part), partial(opening, part)) for part in parts]
    damages: list[Damage] = []
    file = journal.File(name, begin, begin + timedelta(hours=1), tuple(opened))
    return [line for block in file.blocks(damages.append) for line in block.lines], damages


texts = st.text(st.sampled_from('a{}[]",:\\\n\u00e9 '), max_size=40)
rows = st.builds(
    lambda text, name, number: json.dumps(
        {"obj_name": name, "payload": text, "count": number, "timestamp": "2026-01-31 10:00:00.000"},
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode(),
    texts, texts, st.none() | st.integers(0, 9),
)  # fmt: skip


@given(st.lists(rows, min_size=1, max_size=12), st.data())
def test_every_whole_event_is_found_whatever_was_cut_off_before_it(
    events: list[bytes], data: st.DataObject
) -> None:
    # writes that end anywhere, and the next event right behind: a kill, or a disk that was full for a moment
    text, whole = b"", []
    for event in events:
        for _ in range(data.draw(st.integers(0, 2))):
            cut = data.draw(st.sampled_from(events))
            text += cut[: data.draw(st.integers(0, len(cut) - 1))]
        text += event + b"\n"
        whole.append(event)
    end = events[0][: data.draw(st.integers(0, len(events[0]) - 1))]
    lines, damages = read(text + end, ending="")
    assert lines == whole
    assert all(damage.expected for damage in damages)
    assert bool(damages) == (text + end != plain(whole))


@given(st.lists(rows, min_size=1, max_size=5), st.integers(1, 60))
def test_a_text_is_read_the_same_in_whatever_pieces_it_comes(events: list[bytes], size: int) -> None:
    text = events[0][: len(events[0]) // 2] + plain(events) + events[0][:9]
    lines = journal_text.Lines("", lambda _: None)
    pieces = [line for at in range(0, len(text), size) for line in lines.of(text[at : at + size], 0)]
    assert pieces + lines.rest(0) == events


def test_a_whole_event_without_its_newline_and_the_next_are_two() -> None:
    assert read(EVENTS[0] + EVENTS[1] + b"\n" + EVENTS[2], ending="") == (EVENTS[:3], [])


def test_what_is_cut_off_is_a_note_and_what_is_no_event_is_damage() -> None:
    lines, damages = read(
        EVENTS[0][:50] + plain(EVENTS[:2]) + b"\0" * 99 + plain(EVENTS[2:4]) + EVENTS[4][:-1], ending=""
    )
    assert lines == EVENTS[:4]
    assert [damage.expected for damage in damages] == [True, False, True]
    assert "an event that was not written to its end (50 bytes" in str(damages[0])
    assert "something that is no event (99 bytes" in str(damages[1])


@pytest.mark.parametrize("line", [b"not JSON", b'{"a":{"b":1}}', b"{", b"[]", b'{"', b'{"a":"x{"}'])
def test_a_line_that_is_no_event_is_given_as_it_is_and_takes_no_neighbour_along(line: bytes) -> None:
    lines, _ = read(plain([EVENTS[0], line, EVENTS[1]]), ending="")
    assert (lines[0], lines[-1]) == (EVENTS[0], EVENTS[1])
    assert not any(journal_text.EVENT.match(found) for found in lines[1:-1])
    assert lines[1:-1]


@given(st.lists(st.integers(0, 2000), max_size=4))
def test_frames_of_zstd_that_follow_one_another_are_one_text(ends: list[int]) -> None:
    ends = [0, *sorted(ends), 2000]
    frames = [zstd.compress(plain(EVENTS[begin:end])) for begin, end in itertools.pairwise(ends)]
    assert read(b"".join(frames), ending=".jsonl.zst") == (EVENTS, [])


def test_what_makes_much_of_little_is_read_in_pieces() -> None:
    events = [event(number, "x" * 3_000_000) for number in range(5)]
    assert read(zstd.compress(plain(events)), ending=".zst") == (events, [])


def test_a_packed_file_that_is_damaged_or_cut_is_read_up_to_there() -> None:
    data = zstd.compress(plain(EVENTS[:1000])) + zstd.compress(plain(EVENTS[1000:]))
    lines, damages = read(data[:-5000], ending=".zst")
    assert len(lines) >= 1000
    assert lines == EVENTS[: len(lines)]
    assert "the file breaks off" in str(damages[0])
    assert not damages[0].expected
    lines, damages = read(data[:-5000] + b"\xff" * 5000, ending=".zst")
    assert len(lines) >= 1000
    assert lines == EVENTS[: len(lines)]
    assert "damaged compression" in str(damages[0])


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
    assert len([damage for damage in damages if not damage.expected]) == 1


def test_all_of_a_member_that_lacks_only_its_end_is_read() -> None:
    assert read(member(EVENTS[:1000])[:-8] + member(EVENTS[1000:]))[0] == EVENTS


def test_a_last_line_without_its_end_counts_if_it_is_whole() -> None:
    torn = gzip.compress(b"\n".join(EVENTS[:3]), 1)[:-8]
    assert read(torn)[0] == EVENTS[:3]
    halved = gzip.compress(b"\n".join(EVENTS[:3])[:-1], 1)[:-8]
    lines, damages = read(halved)
    assert lines == EVENTS[:2]
    assert f"({len(EVENTS[2]) - 1} bytes" in str(damages[-1])


def test_the_end_of_a_file_that_is_being_written_is_told_apart() -> None:
    first = member(EVENTS[:1000])
    lines, damages = read(first + member(EVENTS[1000:])[:3000])
    assert lines[:1000] == EVENTS[:1000]
    assert {(damage.expected, damage.offset) for damage in damages} == {(True, len(first) + 3000)}
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
    monkeypatch.setattr(journal_text, "LONGEST_LINE", 2**20)
    lines, damages = read(gzip.compress(b"{" * 9 * 2**20 + b"\n" + EVENTS[0] + b"\n"))
    assert lines[-1] == EVENTS[0]
    assert "it is no event" in str(damages[0])


def test_files_are_found_by_hour_and_by_day(tmp_path: Path) -> None:
    for name in ("2026-01-31T09", "2026-01-30", "2026-01-31T10", "2026-13-01", "2026-01-31T24"):
        (tmp_path / f"events-{name}.jsonl.gz").write_bytes(member(EVENTS[:1]))
    (tmp_path / "events-2026-01-31T11.jsonl").write_bytes(plain(EVENTS[:1]))
    (tmp_path / "events-2026-01-31T12.jsonl.zst").write_bytes(zstd.compress(plain(EVENTS[:1])))
    for other in ("notes.txt", "dead-letters-2026-01-31T12.jsonl", ".events-2026-01-31T12.jsonl.zst.new"):
        (tmp_path / other).touch()
    times = [f"{file.begin:%d %H:%M} {file.end:%d %H:%M}" for file in journal.find(tmp_path)]
    hours = [f"31 {hour:02}:00 31 {hour + 1:02}:00" for hour in (9, 10, 11, 12)]
    assert times == ["30 00:00 31 00:00", *hours]


@pytest.mark.parametrize("remote", [False, True], ids=["here", "on a host"])
@pytest.mark.parametrize(
    ("packed", "left", "whole"),
    [
        (EVENTS, EVENTS, EVENTS),
        (EVENTS, EVENTS[1500:], EVENTS),
        (EVENTS[:1500], EVENTS[1500:], EVENTS),
        (EVENTS, EVENTS[:1500], EVENTS + EVENTS[:1500]),
        (EVENTS[:9], EVENTS, EVENTS[:9] + EVENTS),
        (EVENTS, [], EVENTS),
    ],
    ids=[
        "killed before the removal",
        "the same with a file that was added",
        "a clock that went back",
        "other events",
        "more",
        "empty",
    ],
)
def test_an_hour_whose_plain_file_is_still_there_is_read_once(
    tmp_path: Path, remote: bool, packed: list[bytes], left: list[bytes], whole: list[bytes]
) -> None:
    (tmp_path / "events-2026-01-31T11.jsonl.zst").write_bytes(zstd.compress(plain(packed)))
    (tmp_path / "events-2026-01-31T11.jsonl").write_bytes(plain(left))
    (file,) = (
        journal.find_on_host(Shell("here", {}, None), str(tmp_path)) if remote else journal.find(tmp_path)
    )
    assert file.name == "events-2026-01-31T11.jsonl"
    assert [line for block in file.blocks(print) for line in block.lines] == whole


@pytest.mark.parametrize("remote", [False, True], ids=["here", "on a host"])
def test_a_file_that_is_packed_after_it_was_found_is_read(tmp_path: Path, remote: bool) -> None:
    path = tmp_path / "events-2026-01-31T11.jsonl"
    path.write_bytes(plain(EVENTS))
    (file,) = (
        journal.find_on_host(Shell("here", {}, None), str(tmp_path)) if remote else journal.find(tmp_path)
    )
    path.with_name(f"{path.name}.zst").write_bytes(zstd.compress(path.read_bytes()))
    path.unlink()
    journal.refuse_foreign(file)
    assert [line for block in file.blocks(print) for line in block.lines] == EVENTS


def test_a_file_that_is_packed_while_files_are_looked_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events-2026-01-31T11.jsonl"
    path.write_bytes(plain(EVENTS))
    (tmp_path / "events-2026-01-31T10.jsonl").symlink_to("nowhere")
    listed = journal.arrival

    def pack(name: str) -> object:
        if path.exists():
            path.with_name(f"{path.name}.zst").write_bytes(zstd.compress(path.read_bytes()))
            path.unlink()
        return listed(name)

    monkeypatch.setattr(journal, "arrival", pack)
    (file,) = journal.find(tmp_path)
    assert [line for block in file.blocks(print) for line in block.lines] == EVENTS


def test_a_file_that_is_removed_after_it_was_found_is_told(tmp_path: Path) -> None:
    path = tmp_path / "events-2026-01-31T11.jsonl"
    path.write_bytes(plain(EVENTS))
    (file,) = journal.find(tmp_path)
    path.unlink()
    journal.refuse_foreign(file)
    damages: list[Damage] = []
    assert [line for block in file.blocks(damages.append) for line in block.lines] == []
    assert ["is gone" in str(damage) and not damage.expected for damage in damages] == [True]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes", b"", "has no file events-YYYY-MM-DDTHH.jsonl, packed or not"),
        ("events-2026-01-31T10.jsonl.gz", b"plain text\n", "is not what its name says"),
        ("events-2026-01-31T10.jsonl.zst", b"text without an end", "is not what its name says"),
        ("events-2026-01-31T10.jsonl", b"text without an end", "is not what its name says"),
        ("events-2026-01-31T10.jsonl", b"plain text\n", "holds something else than events"),
        ("events-2026-01-31T10.jsonl.zst", zstd.compress(b"plain text\n"), "holds something else than events"),
        ("events-2026-01-31T10.jsonl.gz", member([b"plain text", b'{"a": 1}']), "holds something else than events"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)  # fmt: skip
def test_what_is_no_journal_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(map(journal.refuse_foreign, journal.find(tmp_path)))


@pytest.mark.parametrize(
    "content",
    [b"", EVENTS[0][:20], event(1, "x" * 2**20) + b"\n", EVENTS[0][:9] + plain(EVENTS[:2])],
    ids=["nothing", "cut off", "a large event", "a whole one behind one that is cut off"],
)
def test_a_journal_that_has_just_begun_is_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "events-2026-01-31T10.jsonl").write_bytes(content)
    (file,) = journal.find(tmp_path)
    journal.refuse_foreign(file)


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read \\(No such file or directory\\)"):
        journal.find(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Give the directory"):
        journal.find(tmp_path / "file")
