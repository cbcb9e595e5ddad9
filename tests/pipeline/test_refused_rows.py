"""A row that ClickHouse refuses for good is found, kept as a dead letter, and holds nothing up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cvat_analytics.embedded import stack
from cvat_analytics.pipeline import refused_rows
from cvat_analytics.pipeline.dead_letters import Choice, DeadLetters
from scripts.cli import main
from tests.pipeline.conftest import Day


@contextmanager
def refusing(day: Day, condition: str) -> Iterator[None]:
    """Let the event table refuse rows that do not meet a condition."""
    client = day.access.client()
    client.command(f"ALTER TABLE cvat.events ADD CONSTRAINT IF NOT EXISTS poison CHECK {condition}")
    try:
        yield
    finally:
        client.command("ALTER TABLE cvat.events DROP CONSTRAINT IF EXISTS poison")


def replay(running: stack.Stack, day: Day) -> tuple[int, str]:
    command = ["replay", "--dir", running.directory, "--from-journal", day.directory, "--since", day.day]
    result = CliRunner().invoke(main, list(map(str, command)))
    return result.exit_code, result.output


def letters(day: Day, tag: str = "") -> list[str]:
    found = DeadLetters(day.access).letters(Choice(reason=refused_rows.REASON, contains=tag), 10_000)
    return [each.original for each in found if str(day.day) in each.original]


EXAMPLES = itertools.count()


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(poison=st.sets(st.integers(0, 63), max_size=5))
@example(poison=set(range(10, 20)))
def test_exactly_the_refused_rows_become_dead_letters(
    running: stack.Stack, day: Day, poison: set[int]
) -> None:
    tag = f"example {next(EXAMPLES)}."
    rows = day.events(64, obj_name=tag)
    for number in poison:
        rows[number]["obj_val"] = "poison"
    for file in day.directory.iterdir():
        file.unlink()
    day.journal([row | {"sender": "10.0.0.4"} for row in rows])
    before = day.stored()
    with refusing(day, "ifNull(obj_val, '') != 'poison'"):
        code, output = replay(running, day)
        again = replay(running, day)[1]
    assert (code, day.stored() - before) == (0, 64 - len(poison))
    refused = sorted(json.loads(each)["timestamp"] for each in letters(day, tag))
    assert refused == sorted(rows[number]["timestamp"] for number in poison)
    # whence it came is no field of the event, as which a retry would send it
    assert all("sender" not in json.loads(each) for each in letters(day, tag))
    found = DeadLetters(day.access).letters(Choice(reason=refused_rows.REASON, contains=tag), 10_000)
    assert {each.sender for each in found} <= {"10.0.0.4"}
    if poison:
        assert f"{len(poison)} that ClickHouse refuses are dead letters now" in output
        assert f"{len(poison)} that ClickHouse refuses" in again


def test_what_was_refused_comes_back_by_a_retry_once_it_is_taken(running: stack.Stack, day: Day) -> None:
    day.journal(day.events(1, obj_val="poison", payload='{"a": 1}', duration=3), day.events(5, "13:00:00"))
    with refusing(day, "ifNull(obj_val, '') != 'poison'"):
        replay(running, day)
    assert (day.stored(), len(letters(day))) == (5, 1)
    command = ["dead-letters", "retry", "--dir", str(running.directory), "--reason", refused_rows.REASON]
    assert CliRunner().invoke(main, command).exit_code == 0
    assert (day.stored(), len(letters(day))) == (6, 0)
    assert "0 inserted" in replay(running, day)[1], "it is the very row that the journal has"


def test_a_table_that_refuses_everything_makes_no_dead_letters(
    running: stack.Stack, day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_rows, "MOST", 20)
    day.journal(day.events(64))
    with refusing(day, "scope = 'no such'"):
        code, output = replay(running, day)
    assert (code, day.stored(), letters(day)) == (1, 0, [])
    assert "That is not about single rows" in output
    client = day.access.client()
    client.command("RENAME TABLE cvat.events TO cvat.events_away")
    try:
        code, output = replay(running, day)
    finally:
        client.command("RENAME TABLE cvat.events_away TO cvat.events")
    assert (code, letters(day)) == (1, [])
    assert "events" in output
    assert replay(running, day)[0] == 0
    assert day.stored() == 64
