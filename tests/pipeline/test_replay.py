"""Replay brings back exactly what is missing, once, however often and however interrupted it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backports import zstd
from click.testing import CliRunner

from cvat_analytics.embedded import stack
from cvat_analytics.pipeline import journal, replay, replay_store
from scripts.cli import main
from tests.pipeline.conftest import Day, row


def command(running: stack.Stack, *arguments: object) -> tuple[int, str]:
    options = ["replay", "--dir", running.directory, *arguments]
    result = CliRunner().invoke(main, [str(option) for option in options])
    return result.exit_code, result.output


def test_what_is_missing_comes_back_once(running: stack.Stack, day: Day) -> None:
    day.journal(day.events(600), day.events(600, "13:00:00"))
    arguments = ("--from-journal", day.directory, "--since", day.day)
    assert command(running, *arguments)[0] == 0
    assert day.stored() == 1200
    client = day.access.client()
    client.command(
        f"DELETE FROM cvat.events WHERE timestamp >= '{day.day} 13:00:00' AND timestamp < '{day.day} 13:00:01'"
    )
    assert day.stored() == 600
    code, output = command(running, *arguments)
    assert (code, day.stored()) == (0, 1200)
    assert "1,200 events read, 600 inserted, 600 already there; 0 lines and 0 places unreadable." in output
    assert "0 inserted, 1,200 already there" in command(running, *arguments)[1]
    assert (
        int(
            client.query(
                f"SELECT count() FROM cvat.events WHERE toDate(timestamp) = '{day.day}'"
            ).result_rows[0][0]
        )
        == 1200
    )


def test_events_whose_date_cannot_be_become_dead_letters(running: stack.Stack, day: Day) -> None:
    """Of a journal from before they did so when they arrived."""
    ahead = datetime.now(UTC) + timedelta(days=2)
    dates = ("1970-01-01 00:00:00.000", f"{ahead:%Y-%m-%d %H:%M:%S}.000")
    day.journal(day.events(3), [row(date, user_name="of a wrong clock") for date in dates])
    arguments = ("--from-journal", day.directory, "--by", "arrival", "--since", day.day)
    letters = "SELECT count() FROM cvat.events_dead_letter FINAL WHERE reason = 'implausible date' AND position(original, 'of a wrong clock') > 0"
    client = day.access.client()
    code, output = command(running, *arguments, "--dry-run")
    assert (code, "2 whose date cannot be would become dead letters" in output) == (0, True), output
    assert client.query(letters).result_rows == [(0,)]
    for inserted in (3, 0):
        code, output = command(running, *arguments)
        assert code == 0, output
        assert "2 whose date cannot be are dead letters" in output
        assert f"5 events read, {inserted} inserted, {3 - inserted} already there" in output
        assert client.query(letters).result_rows == [(2,)], "the same events are the same letters"
    found = "SELECT count() FROM cvat.events WHERE user_name = 'of a wrong clock'"
    assert client.query(found).result_rows == [(0,)]


def test_a_value_that_is_null_is_told_from_an_empty_one(running: stack.Stack, day: Day) -> None:
    rows = [row(f"{day.day} 10:00:00.000", obj_val=value) for value in (None, "", "0")] * 2
    day.journal(rows)
    _, output = command(running, "--from-journal", day.directory, "--since", day.day)
    assert "6 events read, 3 inserted, 3 already there" in output
    assert day.stored() == 3


def test_the_range_is_about_the_time_of_events_wherever_they_lie(running: stack.Stack, day: Day) -> None:
    day.journal(day.events(10, "09:59:59"), day.events(10, "10:00:00"), day.events(10, "11:00:00"))
    day.journal(day.events(5, "10:30:00"), days=9)  # it was in CVAT's queue
    day.journal(day.events(3, "10:45:00"), days=-1)  # a clock that is ahead
    code, output = command(
        running,
        "--from-journal",
        day.directory,
        "--since",
        f"{day.day}T10:00",
        "--until",
        f"{day.day}T20:00+09:00",
    )
    assert code == 0
    assert "18 events read, 18 inserted" in output
    assert day.stored() == 18


def test_the_range_may_be_about_arrival(running: stack.Stack, day: Day) -> None:
    for hour in range(4):
        day.journal(day.events(10 + hour, days=-5 * hour), days=1, hour=hour)
    arguments = ("--from-journal", day.directory, "--by", "arrival", "--since")
    code, output = command(
        running, *arguments, day.at("01:00", 1).isoformat(), "--until", day.at("03:00", 1).isoformat()
    )
    assert code == 0
    assert "23 events read, 23 inserted" in output
    assert "Replaying 2 files" in output
    next_day = day.at("00:00", 1).date()
    assert "46 events read, 23 inserted" in command(running, *arguments, next_day, "--until", next_day)[1]
    assert (
        "has nothing of that range; its files are of "
        in command(running, *arguments, day.at("04:00", 1).isoformat())[1]
    )


def test_a_dry_run_says_by_day_what_is_missing(running: stack.Stack, day: Day) -> None:
    day.journal(day.events(10), day.events(7, days=1))
    arguments = ("--from-journal", day.directory, "--since", day.day)
    command(running, *arguments, "--until", day.day)
    assert day.stored() == 10
    code, output = command(running, *arguments, "--dry-run")
    lines = [line.split() for line in output.splitlines()]
    assert (code, day.stored()) == (0, 10)
    assert [str(day.day), "10", "0"] in lines
    assert [str(day.at("00:00", 1).date()), "7", "7"] in lines
    assert "17 events read, 7 would be inserted, 10 already there" in output


def test_an_interrupted_replay_goes_on_where_it_stopped(day: Day) -> None:
    day.journal(*(day.events(100, f"12:{minute:02}:00") for minute in range(10)), ending=".gz")
    files = journal.find(day.directory)
    job = replay.Replay(day.access, "here", files, replay.Range(day.at("00:00"), None), batch_lines=300)
    calls: list[int] = []

    def interrupt(offset: int) -> None:
        calls.append(offset)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run(interrupt)
    stored = day.stored()
    assert 300 <= stored < 1000
    dry = job.run(lambda offset: None, dry=True)
    assert (dry.done_before, dry.read) == (0, 1000), "a dry run looks at everything"
    outcome = job.run(lambda offset: None)
    assert (outcome.done_before, outcome.read, outcome.inserted) == (stored, 1000 - stored, 1000 - stored)
    assert day.stored() == 1000
    assert job.run(lambda offset: None).read == 1000, "a finished one begins anew"


def test_an_hour_is_read_once_however_it_lies_there(running: stack.Stack, day: Day) -> None:
    old, packed, written = (day.events(10, f"{hour}:00:00") for hour in (10, 11, 12))
    day.journal(old, hour=10, ending=".gz")
    day.journal(packed, hour=11, ending=".zst")
    day.journal(packed, hour=11)  # the timer was killed before it removed it
    day.journal(written)
    arguments = ("--from-journal", day.directory, "--since", day.day)
    code, output = command(running, *arguments, "--dry-run")
    assert code == 0
    assert "30 events read, 30 would be inserted, 0 already there; 0 lines and 0 places" in output
    assert command(running, *arguments)[0] == 0
    assert day.stored() == 30


def test_an_interrupted_replay_goes_on_in_a_file_that_is_packed_by_now(day: Day) -> None:
    path = day.journal(*(day.events(100, f"12:{minute:02}:00") for minute in range(10)))

    def job() -> replay.Replay:
        period = replay.Range(day.at("00:00"), None)
        return replay.Replay(day.access, "here", journal.find(day.directory), period, batch_lines=300)

    def interrupt(offset: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job().run(interrupt)
    stored = day.stored()
    assert 0 < stored < 1000
    path.with_name(f"{path.name}.zst").write_bytes(zstd.compress(path.read_bytes()))
    path.unlink()
    outcome = job().run(lambda offset: None)
    assert (outcome.done_before, outcome.inserted) == (stored, 1000 - stored)


def test_what_a_kill_or_a_full_disk_has_cut_off_is_a_note(running: stack.Stack, day: Day) -> None:
    first, second, last = day.events(20), day.events(5, "13:00:00"), day.events(1, "14:00:00")
    day.journal(first, day.events(1, "15:00:00"), torn=60)
    day.journal(second, last, torn=60)
    code, output = command(running, "--from-journal", day.directory, "--since", day.day)
    assert code == 0, output
    assert output.count("Note: events-") == 2
    assert "an event that was not written to its end (60 bytes" in output
    assert "25 events read, 25 inserted, 0 already there; 0 lines and 0 places unreadable" in output


def test_what_cannot_be_read_is_told_and_stops_nothing(running: stack.Stack, day: Day) -> None:
    good, other = day.events(500), day.events(20, "14:00:00")
    day.journal(good, torn=1500, ending=".gz")
    day.journal(other, ending=".gz")
    bad: Sequence[object] = [
        b"not JSON",
        b'{"scope":"x","timestamp":"1733480873.184"}',
        row(f"{day.day} 15:00:00.000", job_id=-1),
        row(f"{day.day} 15:00:00.000", tomorrow=1),
        row(f"{day.day} 15:00:00.000", count=2**32),
        row(f"{day.day} 15:00:00.000", scope=None),
        row("2026-02-30 15:00:00.000"),
    ]
    day.journal(bad, days=1)
    day.journal(day.events(1, "16:00:00"), days=1)
    code, output = command(running, "--from-journal", day.directory, "--since", day.day)
    assert code == 1
    assert "NOT READ: events-" in output
    assert "is not complete" in output
    kept = day.stored() - 21
    assert 0 <= kept < 500
    assert f"{kept + 21} events read, {kept + 21} inserted, 0 already there; {len(bad)} lines and" in output


def test_an_old_file_that_breaks_off_is_no_failure(running: stack.Stack, day: Day) -> None:
    day.journal(day.events(20), day.events(3000, "13:00:00"), torn=9000, ending=".gz")
    code, output = command(running, "--from-journal", day.directory, "--since", day.day)
    assert code == 0, output
    assert "Note: events-" in output
    assert "0 lines and 0 places unreadable" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--since", "yesterday"), "'yesterday' is not a time: write it as 2026-01-31"),
        (("--since", "2026-02-01", "--until", "2026-01-30"), "is not after --since 2026-02-01 00:00:00"),
        (("--since", "2026-01-31T10:30", "--by", "arrival"), "as days or whole hours"),
        (("--since", "2020-01-01", "--from-journal", "/nowhere"), "journal /nowhere: cannot be read"),
        (("--since", "2020-01-01", "--inventory", "hosts.py"), "give either --dir or --inventory, not both"),
        ((), "Missing option '--since'"),
    ],
)
def test_a_wrong_question_is_refused(running: stack.Stack, options: tuple[str, ...], message: str) -> None:
    code, output = command(running, *options)
    assert (code, message in output) == (2, True), output


def test_a_foreign_file_is_refused_before_anything_is_inserted(running: stack.Stack, day: Day) -> None:
    day.journal(day.events(5))
    (day.directory / f"events-{day.at('00:00', 1).date()}T00.jsonl").write_bytes(b"access log\n" * 9)
    code, output = command(running, "--from-journal", day.directory, "--since", day.day)
    assert code == 2
    assert "holds something else than events" in output
    assert day.stored() == 0


def test_a_foreign_file_of_one_host_keeps_the_others_from_being_inserted(
    running: stack.Stack, day: Day, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day.journal(day.events(5))
    other = tmp_path / "other"
    other.mkdir()
    (other / f"events-{day.day}T12.jsonl").write_bytes(b"access log\n" * 9)
    journals = [(str(place), journal.find(place)) for place in (day.directory, other)]
    monkeypatch.setattr("scripts.replay._opened", lambda *place: nullcontext((day.access, journals)))
    code, output = command(running, "--since", day.day)
    assert (code, "holds something else than events" in output, day.stored()) == (2, True, 0)


def test_the_stack_s_own_journal_is_the_default(running: stack.Stack, day: Day) -> None:
    own = Path(running.paths.vector_data) / "journal"
    own.mkdir(exist_ok=True)
    file = day.journal(day.events(5))
    file.rename(own / file.name)
    code, output = command(running, "--since", day.day, "--until", day.day)
    assert (code, day.stored()) == (0, 5), output


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"scope":"a","source":"b","timestamp":"2026-01-31 10:00:00.000"}', ""),
        (b'{"scope":"a","scope":"a","source":"b","timestamp":"2026-01-31 10:00:00.000"}', "not JSON of the journal's form"),
        (b'{"source":"b","timestamp":"2026-01-31 10:00:00.000"}', "scope is not String"),
        (b'{"scope":"a","source":"b","timestamp":"2026-01-31 10:00:00.000","job_id":1.5}', "job_id is not Nullable(UInt64)"),
        (b'{"scope":"a","source":"b","timestamp":"2026-01-31 10:00:00.000","duration":4294967296}', "duration is not UInt32"),
        (b'{"scope":"a","source":"b","timestamp":"2026-01-31 10:00:00.000","job_id":true}', "job_id is not Nullable(UInt64)"),
        (b"\xff", "not UTF-8"),
        (b'{"scope":"\xed\xa0\x80","source":"b","timestamp":"2026-01-31 10:00:00.000"}', "not UTF-8"),
        (rb'{"scope":"\udc00","source":"b","timestamp":"2026-01-31 10:00:00.000"}', "scope has half of a surrogate pair"),
        (rb'{"scope":"\ud83d\ude00","source":"b","timestamp":"2026-01-31 10:00:00.000"}', ""),
        (rb'{"scope":"a","source":"b","timestamp":"2026-01-31 10:00:00.000","payload":"{\"a\": \"\\ud800\"}"}', ""),
    ],
)  # fmt: skip
def test_why_a_line_is_no_row(line: bytes, reason: str) -> None:
    assert replay_store.problem(line) == reason


def test_a_moment_without_a_zone_is_utc() -> None:
    since = replay.Range(datetime.fromisoformat("2026-01-31T10:00:00.5+00:00"), None)
    lines = [b'{"timestamp":"2026-01-31 10:00:00.%d"}' % part for part in (499, 500)]
    assert since.select(lines) == (lines[1:], 0)


BYTES = [b"caf\xe9", b"\xc0\xaf", b"\xed\xa0\x80", rb"\ud800", rb"\udc00x", rb"\ud83d\u0041"]


def test_what_is_no_text_is_passed_over_and_the_rest_is_stored(running: stack.Stack, day: Day) -> None:
    mark = str(day.day)
    good = [*day.events(3, obj_name=mark), *day.events(1, clock="13:00:00", obj_name=f"{mark} \ud83d\ude00")]
    bad = [
        json.dumps(day.events(1, clock="14:00:00", obj_name="TEXT")[0]).encode().replace(b"TEXT", each)
        for each in BYTES
    ]
    day.journal([good[0], *bad[:3], good[1], *bad[3:], *good[2:]])
    code, output = command(running, "--since", day.day, "--from-journal", day.directory)
    assert (code, f"{len(bad)} lines before here are no events (not UTF-8)" in output) == (1, True), output
    assert day.stored() == len(good)
    query = "SELECT countIf(NOT isValidUTF8(ifNull(obj_name, ''))), countIf(endsWith(obj_name, '😀')) FROM cvat.events WHERE startsWith(ifNull(obj_name, ''), {mark:String})"
    assert day.access.client().query(query, parameters={"mark": mark}).result_rows == [(0, 1)]
