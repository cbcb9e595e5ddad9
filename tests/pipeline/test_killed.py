"""kill -9 in the middle of what operators do by hand: the same command completes it, nothing is lost and nothing doubled.

On a stack, each command as a process of its own. What has its own engine or hosts is beside the other tests of it (docs/how-to/day-2.md).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.credentials import secrets
from cvat_analytics.embedded import stack
from cvat_analytics.pipeline.dead_letters import DeadLetters
from scripts.cli import main
from tests.killing import killed
from tests.pipeline.conftest import PROGRAM, Day, read_often
from tests.pipeline.test_dead_letters_edit import refused
from tests.waiting import until


def command(running: stack.Stack, *words: object) -> Result:
    done = CliRunner().invoke(main, [*map(str, words), "--dir", str(running.directory)])
    assert done.exit_code == 0, done.output
    return done


def until_all_works(running: stack.Stack) -> None:
    words = ["status", "--dir", str(running.directory)]
    until(lambda: CliRunner().invoke(main, words), "a stack that works", lambda done: done.exit_code == 0)


def count(running: stack.Stack, table: str, condition: str) -> int:
    query = f"SELECT count() FROM cvat.{table} FINAL WHERE {condition}"
    return int(running.access().client().query(query).result_rows[0][0])


def test_a_replay_that_is_killed_goes_on_after_what_is_inserted(running: stack.Stack, day: Day) -> None:
    for hour in (10, 11, 12):
        day.journal(day.events(50, f"{hour}:00:00"), hour=hour)
    words = ("replay", "--since", day.day, "--from-journal", day.directory)
    # inserted, and not noted as done
    insert = "cvat_analytics.pipeline.replay_store:Store._insert"
    killed(insert, *words, "--dir", running.directory, times=2, done=True)
    assert day.stored() == 100
    said = command(running, *words).output
    assert "50 lines had been done by an interrupted run." in said
    assert "100 events read, 50 inserted, 50 already there" in said
    assert day.stored() == 150


def test_dead_letters_that_are_sent_and_not_removed_when_it_is_killed_become_one_event_each(
    running: stack.Stack, day: Day
) -> None:
    originals = [
        json.dumps({"scope": "save:job", "timestamp": f"{day.at('12:00').timestamp() + number:.3f}", "user_id": 77})
        for number in range(5)
    ]  # fmt: skip
    running.access().client().command(
        "INSERT INTO cvat.events_dead_letter (received_at, reason, message, original) "
        "SELECT now64(3), 'killed', 'a rule of then', arrayJoin({originals:Array(String)})",
        parameters={"originals": originals},
    )
    remove = "cvat_analytics.pipeline.dead_letters_retry:Retry._remove"
    words = ("dead-letters", "retry", "--reason", "killed")
    killed(remove, *words, "--dir", running.directory)
    assert count(running, "events_dead_letter", "reason = 'killed'") == 5
    command(running, *words)
    assert count(running, "events_dead_letter", "reason = 'killed'") == 0
    assert day.stored() == 5


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_purge_of_dead_letters_that_is_killed_has_removed_all_or_nothing(
    running: stack.Stack, done: bool
) -> None:
    client = running.access().client()
    client.command(
        "INSERT INTO cvat.events_dead_letter (received_at, reason, message, original) SELECT now64(3), 'purged', 'x', toString(number) FROM numbers(9)"
    )
    words = ("dead-letters", "purge", "--reason", "purged", "--yes")
    purge = "cvat_analytics.pipeline.dead_letters:DeadLetters.purge"
    killed(purge, *words, "--dir", running.directory, done=done)
    assert count(running, "events_dead_letter", "reason = 'purged'") == (0 if done else 9)
    command(running, *words)
    assert count(running, "events_dead_letter", "reason = 'purged'") == 0


def test_an_export_that_is_killed_leaves_no_file_of_that_name(
    running: stack.Stack, day: Day, tmp_path: Path
) -> None:
    day.journal(day.events(100))
    command(running, "replay", "--since", day.day, "--from-journal", day.directory)
    path = tmp_path / "exported" / "all.csv"
    path.parent.mkdir()
    words = ("export", "--from", day.day, "--to", day.at("00:00", 1).date(), "--output", path)
    killed("pathlib:Path.replace", *words, "--dir", running.directory)
    assert [each.name for each in path.parent.iterdir()] == [".all.csv.part"]
    command(running, *words)
    assert [each.name for each in path.parent.iterdir()] == ["all.csv"]
    assert len(path.read_text().splitlines()) == 101


@pytest.mark.parametrize(
    "place",
    [
        # the list beside the inventory says so, the database does not yet
        "cvat_analytics.store.erasing:remember",
        "cvat_analytics.store.erasing:Erasing._end",
    ],
)
def test_an_erasure_that_is_killed_lasts_from_its_first_step_on_and_is_completed(
    running: stack.Stack, day: Day, place: str
) -> None:
    user = 990_000 + day.day.toordinal() % 10_000
    day.journal(day.events(20, user_id=user, user_name=f"gone{user}"), day.events(10, "13:00:00"))
    replay = ("replay", "--since", day.day, "--from-journal", day.directory)
    command(running, *replay)
    words = ("person", "erase", user, "--yes")
    killed(place, *words, "--dir", running.directory)
    command(running, *words)
    assert count(running, "events", f"user_id = {user}") == 0
    assert day.stored() == 10
    # not even a journal of before brings them back
    command(running, *replay)
    assert count(running, "events", f"user_id = {user}") == 0
    left = "SELECT count() FROM system.tables WHERE database = 'cvat' AND name LIKE 'erasure_under_way%'"
    assert running.access().client().query(left).result_rows == [(0,)]


def test_working_time_whose_refresh_is_killed_is_computed_by_the_next(running: stack.Stack, day: Day) -> None:
    day.journal(day.events(30, user_id=4242))
    command(running, "replay", "--since", day.day, "--from-journal", day.directory)
    words = ("working-time", "refresh", "--since", day.day)
    pending = "cvat_analytics.store.working_time_report:_pending"
    killed(pending, *words, "--dir", running.directory)
    assert "Working time is up to date." in command(running, *words).output
    sums = f"SELECT sum(events) FROM cvat.working_time WHERE user_id = 4242 AND day = '{day.day}'"
    assert running.access().client().query(sums).result_rows == [(30,)]


def test_a_rotation_that_is_killed_between_its_steps_is_completed(running: stack.Stack) -> None:
    """Where the new password is the one in use, and both are valid; the other steps are in test_rotation.py."""
    file = running.directory / "secrets.json"
    before = secrets.load(file)["clickhouse_grafana"]
    words = ("secrets", "rotate", "grafana")
    killed(
        "cvat_analytics.credentials.secrets:replace",
        *words,
        "--dir",
        running.directory,
        times=2,
        done=True,
    )
    command(running, *words)
    values = secrets.load(file)
    assert values["clickhouse_grafana"] != before
    assert set(values) <= {*secrets.NAMES, *secrets.GIVEN}
    until_all_works(running)
    read_often(running)


def test_a_dead_letter_whose_edit_is_killed_when_its_event_is_sent_becomes_one_event(
    running: stack.Stack, day: Day
) -> None:
    access = running.access()
    letter = refused(access, duration=-1, user_name="edited")
    mark = json.loads(letter.original)["obj_val"]
    words = ("dead-letters", "edit", letter.id, "--set", "duration=0")
    killed("cvat_analytics.pipeline.dead_letters_edit:_mark", *words, "--dir", running.directory)
    command(running, *words)
    until(lambda: count(running, "events", f"obj_val = '{mark}'"), "the event")
    assert count(running, "events", f"obj_val = '{mark}'") == 1
    assert DeadLetters(access).letter(letter.id).corrected


def test_an_answer_to_somebody_that_is_killed_is_not_there_under_its_name(
    running: stack.Stack, day: Day, tmp_path: Path
) -> None:
    day.journal(day.events(3, user_id=5150))
    command(running, "replay", "--since", day.day, "--from-journal", day.directory)
    path = tmp_path / "answer" / "theirs.zip"
    path.parent.mkdir()
    words = ("person", "export", 5150, "--output", path)
    killed("pathlib:Path.rename", *words, "--dir", running.directory)
    (left,) = path.parent.iterdir()
    assert (left.name.startswith(".theirs.zip."), left.stat().st_mode & 0o777) == (True, 0o700)
    command(running, *words)
    assert path.exists()


def test_an_up_that_is_killed_with_some_parts_started_is_completed(running: stack.Stack) -> None:
    for part in ("vector", "viewer"):
        os.kill(running.processes.pid(part) or 0, signal.SIGKILL)
    until(lambda: running.processes.pid("vector"), "it has ended", lambda pid: pid is None)
    words = ("up", "--detach")
    killed(
        "cvat_analytics.embedded.processes:Processes.ensure", *words, "--dir", running.directory, times=2, done=True
    )  # fmt: skip
    subprocess.run(
        [PROGRAM, *words, "--dir", running.directory], check=True, capture_output=True, timeout=600
    )
    until_all_works(running)
    read_often(running)
