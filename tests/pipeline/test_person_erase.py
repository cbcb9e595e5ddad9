"""`person erase` on a whole stack: the journal, dead letters, exports, and every way by which an event of before may come back."""

from __future__ import annotations

import csv
import json
import subprocess
import urllib.request
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.config import inventory as inventories
from cvat_analytics.connect import remote
from cvat_analytics.embedded import stack
from cvat_analytics.operate import erasing_files, erasure_list, person
from cvat_analytics.pipeline.dead_letters import Choice, DeadLetters
from cvat_analytics.pipeline.replay import Range
from cvat_analytics.store import erasures
from scripts import deploy
from scripts.cli import main
from tests.pipeline.conftest import Day, row
from tests.waiting import until

ANN, BOB, CAT, CARL, DORA = 880001, 880002, 880003, 880011, 880021
MARK = "zq5xann"


def invoke(running: stack.Stack, *words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words), "--dir", str(running.directory)])


def send(running: stack.Stack, *events: dict[str, Any]) -> None:
    address = running.access().vector
    body = json.dumps(events).encode()
    request = urllib.request.Request(
        f"{address.url}/", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def event(day: Day, user: int, clock: str, **fields: Any) -> dict[str, Any]:
    name = MARK if user == ANN else "bob"
    return {
        "scope": "draw:object", "source": "client", "timestamp": f"{day.at(clock).timestamp():.6f}", "duration": 0, "user_id": user,
        "user_name": name, "user_email": f"{name}@example.com", "payload": "{}", **fields,
    }  # fmt: skip


def unpacked(file: Path) -> bytes:
    tool = {".gz": ["gzip", "-dc"], ".zst": ["zstd", "-dcq"]}.get(file.suffix, ["cat"])
    return subprocess.run([*tool, file], check=True, capture_output=True).stdout


def places(running: stack.Stack) -> list[str]:
    """Return where the mark is: in which tables, and in which of the journal's files and exports."""
    client = running.access().client()
    found = []
    for table, text in {
        "events": "toString(tuple(*))",
        "known_names": "finalizeAggregation(name)",
        "events_dead_letter": "original",
    }.items():
        query = f"SELECT count() FROM cvat.{table} WHERE position({text}, '{MARK}') > 0"
        found += [table] if client.query(query).result_rows[0][0] else []
    for directory in (Path(running.paths.vector_data) / "journal", Path(running.paths.events_api_data)):
        for file in directory.rglob("*"):
            if not file.is_file():
                continue
            data = unpacked(file)
            found += [file.name] if MARK.encode() in data else []
    return found


@pytest.fixture
def runs_before(running: stack.Stack) -> list[str]:
    """Return the erasures that others have begun on this stack, and some of theirs are killed in the midst."""
    runs = running.access().client().query("SELECT DISTINCT toString(id) FROM cvat.erasure_runs").result_rows
    return [id for (id,) in runs]


@pytest.fixture
def erased(running: stack.Stack, day: Day, runs_before: list[str]) -> Day:
    """Return a day on which two people were at work, one of whom was erased since (`runs_before`: after these)."""
    assigned = event(day, BOB, "12:00:03", scope="update:job", source="server", obj_name="assignee", obj_id=ANN,
                     obj_val=str({"id": ANN, "username": MARK}), payload=json.dumps({"old_value": None}))  # fmt: skip
    wrong = event(day, ANN, "12:00:04", duration="none")
    send(running, event(day, ANN, "12:00:00"), event(day, BOB, "12:00:01"), assigned, wrong)
    client = running.access().client()
    query = f"SELECT count() FROM cvat.events WHERE toDate(timestamp) = '{day.day}'"
    until(lambda: client.query(query).result_rows[0][0], "three events", lambda seen: seen == 3)
    letters = f"SELECT count() FROM cvat.events_dead_letter WHERE position(original, '{MARK}') > 0"
    until(lambda: client.query(letters).result_rows[0][0], "a dead letter")
    exports = Path(running.paths.events_api_data) / "exports" / "one"
    exports.mkdir(parents=True)
    (exports / "result").write_text(MARK)
    assert {"events", "known_names", "events_dead_letter", "result"} <= set(places(running))
    asked = invoke(running, "person", "erase", MARK)
    assert asked.exit_code == 1, "nobody has agreed"
    assert "events" in places(running)
    done = invoke(running, "person", "erase", MARK, "--yes")
    assert done.exit_code == 0, done.output
    assert "1  events of their own" in done.output
    assert "1  events of others that speak of them" in done.output
    assert "1  dead letters" in done.output
    return day


def test_nobody_comes_back_by_any_way(
    running: stack.Stack, erased: Day, runs_before: list[str], tmp_path: Path
) -> None:
    day = erased
    assert places(running) == []
    again = invoke(running, "person", "erase", ANN, "--yes")
    assert (again.exit_code, again.output) == (
        0,
        f"id {ANN}: nothing of them is stored. Nothing was changed.\n",
    )
    record = (running.directory / "person-requests.jsonl").read_text()
    requests = [json.loads(each) for each in record.splitlines()]
    at = {each["at"] for each in requests if each["command"] == "erase"}
    assert at
    assert {len(each) for each in at} == {len("2026-01-31")}, "a moment would tell whose erasure it was"
    assert [each for each in (MARK, str(ANN)) if each in record] == []
    assert invoke(running, "person", "erase", MARK, "--yes").exit_code == 2, (
        "by name nobody is known any more"
    )
    listed = json.loads((running.directory / erasure_list.FILE_NAME).read_text())
    assert [set(each) for each in listed["erasures"]] == [{"user_id", "before"}] * len(listed["erasures"])
    client = running.access().client()
    runs = client.query(
        "SELECT operator, ended_at IS NOT NULL, toString(tuple(*)), begun_at = toStartOfDay(begun_at) AND ended_at = toStartOfDay(ended_at) "
        "FROM cvat.erasure_runs FINAL WHERE NOT has({before:Array(String)}, toString(id))",
        parameters={"before": runs_before},
    ).result_rows
    assert runs
    for operator, has_ended, said, day_alone in runs:
        assert operator
        assert has_ended
        assert str(ANN) not in said
        assert MARK not in said
        assert day_alone

    # late by Vector, by replay of a journal that still has it, by import
    late = day.events(3, user_id=ANN, user_name=MARK) + day.events(3, "13:00:00", user_id=BOB)
    day.journal(late)
    replayed = invoke(running, "replay", "--from-journal", day.directory, "--since", day.day)
    assert replayed.exit_code == 0, replayed.output
    dump = tmp_path / "dump.csv"
    with dump.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(late[0])
        for each in [*late, *day.events(2, "14:00:00", user_id=BOB)]:
            writer.writerow([r"\N" if value is None else value for value in each.values()])
    imported = invoke(running, "import", "--file", dump)
    assert imported.exit_code == 0, imported.output
    send(
        running,
        event(day, ANN, "15:00:00"),
        event(day, ANN, "15:00:01", duration="none"),
        event(day, BOB, "15:00:02"),
    )
    query = f"SELECT user_id, count() FROM cvat.events FINAL WHERE toDate(timestamp) = '{day.day}' GROUP BY user_id"
    until(
        lambda: client.query(query).result_rows,
        "all of the other one's",
        lambda seen: list(seen) == [(BOB, 8)],
    )
    assert set(places(running)) <= {
        file.name for file in (Path(running.paths.vector_data) / "journal").iterdir()
    }

    # a database that was restored from before, and somebody who inserts past the list
    client.command(
        f"INSERT INTO cvat.events (scope, source, timestamp, user_id, user_name) VALUES ('save:job', 'client', '{day.day} 16:00:00', {ANN}, '{MARK}')"
    )
    client.command(f"ALTER TABLE cvat.erasures DELETE WHERE user_id = {ANN} SETTINGS mutations_sync = 1")
    assert (
        person.apply(person.of_directory(running.access(), running.directory, running.paths), lambda _: None)
        == 1
    )
    assert places(running) == []
    assert client.query(f"SELECT count() FROM cvat.erasures WHERE user_id = {ANN}").result_rows == [(1,)]
    assert (
        person.apply(person.of_directory(running.access(), running.directory, running.paths), lambda _: None)
        == 0
    )


def test_a_journal_is_replayed_after_an_erasure(running: stack.Stack, day: Day) -> None:
    """An hour of blanks only, some blanks among others' lines, and a replay that was cut off before the erasure."""
    alone = day.journal(day.events(3, "11:00:00", user_id=CAT), hour=11)
    both = day.journal(
        day.events(4, user_id=BOB), day.events(2, "12:01:00", user_id=CAT), day.events(2, "12:02:00", user_id=BOB), hour=12
    )  # fmt: skip
    words = ("replay", "--from-journal", day.directory, "--since", day.day)
    client = running.access().client()
    client.command(
        "CREATE TABLE IF NOT EXISTS cvat.replay_progress (replay String, file String, lines UInt64, at DateTime64(6, 'Etc/UTC') DEFAULT now64(6)) "
        "ENGINE = ReplacingMergeTree(at) ORDER BY (replay, file)"
    )
    key = Range(day.at("00:00:00"), None).key(str(day.directory))
    client.command(
        f"INSERT INTO cvat.replay_progress (replay, file, lines) VALUES ('{key}', '{both.name}', 6)"
    )
    stored = replace(
        person.of_directory(running.access(), running.directory, running.paths),
        places=[erasing_files.Place(person.Shell("here", {}, None), str(day.directory))],
    )
    one = person.Erasure(stored, str(CAT))
    for _ in one.run(False, one.found()):
        pass
    assert alone.read_bytes().split() == []
    replayed = invoke(running, *words)
    assert replayed.exit_code == 0, replayed.output
    assert day.stored() == 6


def test_somebody_without_an_account_may_erase(running: stack.Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)

    def nobody(id: int) -> None:
        raise KeyError(id)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    done = invoke(running, "person", "erase", 880005, "--yes")
    assert done.exit_code == 0, done.output
    said = "SELECT count() FROM cvat.erasure_runs FINAL WHERE startsWith(operator, 'uid ') AND ended_at IS NOT NULL"
    assert running.access().client().query(said).result_rows == [(1,)]


def test_a_damaged_hour_of_the_journal_is_named_and_stops_nothing(running: stack.Stack, day: Day) -> None:
    client = running.access().client()
    client.command(
        f"INSERT INTO cvat.events (scope, source, timestamp, user_id, user_name) VALUES ('save:job', 'client', '{day.day} 16:00:00', {CAT}, 'cat')"
    )
    packed = day.journal(day.events(500, user_id=CAT), ending=".zst")
    damaged = Path(running.paths.vector_data) / "journal" / packed.name
    damaged.write_bytes(packed.read_bytes()[:-9])
    before = damaged.read_bytes()
    try:
        done = invoke(running, "person", "erase", CAT, "--yes")
        assert done.exit_code == 1
        assert f"NOT ERASED: {damaged} on this machine: cannot be unpacked" in done.output
        assert client.query(f"SELECT count() FROM cvat.events WHERE user_id = {CAT}").result_rows == [(0,)]
        assert damaged.read_bytes() == before
        assert list(damaged.parent.glob(".*")) == []
        again = invoke(running, "person", "erase", CAT, "--yes")
        assert again.exit_code == 1
        assert "nothing of them is stored. Nothing was changed.\nNOT ERASED: " in again.output
    finally:
        damaged.unlink()
    assert invoke(running, "person", "erase", CAT, "--yes").exit_code == 0


def test_dead_letters_that_are_back_leave_the_person_out_when_they_are_sent_again(
    running: stack.Stack, day: Day
) -> None:
    """Letters of a restored database, of before the erasure: one that is understood by now, and one that somebody corrects."""
    erasure_list.add(running.directory / erasure_list.FILE_NAME, {CARL: datetime.now(UTC)})
    person.apply(person.of_directory(running.access(), running.directory, running.paths), lambda _: None)
    client = running.access().client()
    originals = {
        "understood": [event(day, CARL, "12:00:00"), event(day, BOB, "12:00:01")],
        "corrected": [event(day, CARL, "12:00:02", duration="none"), event(day, BOB, "12:00:03", duration="none")],
    }  # fmt: skip
    letters = [
        (datetime.now(UTC), f"{way} {day.day}", "m", json.dumps(each))
        for way, events in originals.items()
        for each in events
    ]
    client.insert(
        "cvat.events_dead_letter", letters, column_names=["received_at", "reason", "message", "original"]
    )
    retried = invoke(running, "dead-letters", "retry", "--reason", f"understood {day.day}")
    assert retried.exit_code == 0, retried.output
    found = DeadLetters(running.access()).letters(Choice(reason=f"corrected {day.day}"), 5)
    for letter in sorted(found, key=lambda letter: str(BOB) in letter.original):
        edited = invoke(running, "dead-letters", "edit", letter.id, "--set", "duration=0")
        assert edited.exit_code == 0, edited.output
    query = f"SELECT user_id, count() FROM cvat.events WHERE toDate(timestamp) = '{day.day}' GROUP BY user_id"
    until(lambda: client.query(query).result_rows, "both of the other one's", lambda seen: (BOB, 2) in seen)
    assert list(client.query(query).result_rows) == [(BOB, 2)]


def test_a_deploy_from_a_copy_without_the_list_writes_it_from_the_database(
    running: stack.Stack,
    day: Day,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The embedded stack is the deployed one here: in the place of SSH to its hosts."""
    access = running.access()
    client = access.client()
    inventory = tmp_path / "hosts.py"
    inventory.write_text("clickhouse = vector = grafana = ['@local']\n")
    stored = replace(
        person.of_directory(access, running.directory, running.paths),
        list_file=tmp_path / erasure_list.FILE_NAME,
    )
    monkeypatch.setattr(remote, "reach", lambda _: nullcontext(access))
    monkeypatch.setattr(person, "reached", lambda _: nullcontext(stored))
    before = datetime.now(UTC).replace(microsecond=0)
    client.insert("cvat.erasures", [(DORA, before)], column_names=["user_id", "before"])
    client.command(
        f"INSERT INTO cvat.events (scope, source, timestamp, user_id) VALUES ('save:job', 'client', '{day.day} 16:00:00', {DORA})"
    )
    deploy._apply_erasures(inventory, inventories.load(inventory))
    known = erasure_list.load(stored.list_file)
    assert known[DORA] == before
    assert known == erasures.read(client, "cvat"), "none is lost"
    said = capsys.readouterr().out
    assert f"{stored.list_file} has {len(known)} erasures now" in said
    assert "People who were erased before were taken out again: 1" in said
    assert client.query(f"SELECT count() FROM cvat.events WHERE user_id = {DORA}").result_rows == [(0,)]

    # the file knows somebody whom the database has forgotten, and the other way round
    erasure_list.add(stored.list_file, {DORA + 1: before})
    client.insert("cvat.erasures", [(DORA + 2, before)], column_names=["user_id", "before"])
    deploy._apply_erasures(inventory, inventories.load(inventory))
    both = known | {DORA + 1: before, DORA + 2: before}
    assert erasure_list.load(stored.list_file) == erasures.read(client, "cvat") == both
    capsys.readouterr()
    deploy._apply_erasures(inventory, inventories.load(inventory))
    assert capsys.readouterr().out == ""


def test_a_list_that_is_damaged_stops_before_anything_is_done(running: stack.Stack) -> None:
    path = running.directory / erasure_list.FILE_NAME
    before = path.read_bytes() if path.exists() else b'{"erasures": []}'
    path.write_text("{")
    try:
        refused = invoke(running, "person", "erase", 880004, "--yes")
        assert refused.exit_code == 2
        assert "erasures.json: is no list of erasures" in refused.output
    finally:
        path.write_bytes(before)


def test_packed_hours_lose_the_lines_too_and_nothing_else(day: Day) -> None:
    others = [row(f"{day.day} 10:00:00.001", user_id=BOB, payload=json.dumps({"shapes": [{"id": ANN}]}))]
    lines = [
        row(f"{day.day} 10:00:00.000", user_id=ANN, user_name=MARK),
        row(f"{day.day} 10:00:00.002", user_id=BOB, scope="create:task", payload=json.dumps({"owner": {"id": ANN, "username": MARK}})),
    ]  # fmt: skip
    later = row("2030-01-01 00:00:00.000", user_id=ANN)
    for ending in ("", ".gz", ".zst"):
        day.journal([*others, *lines, later], hour=12 + len(ending), ending=ending)
    place = erasing_files.Place(person.Shell("here", {}, None), str(day.directory))
    before = datetime.fromisoformat("2029-01-01T00:00:00+00:00")
    assert erasing_files.lines(place, ANN, before, [], erase=False).lines == 6
    assert erasing_files.erase(place, ANN, before, []).lines == 6
    assert erasing_files.lines(place, ANN, before, [], erase=False).lines == 0
    for file in day.directory.iterdir():
        left = [json.loads(line) for line in unpacked(file).splitlines() if line.strip()]
        assert left == [*others, later], file.name
