"""What is said of a stack as a whole: whether all is fine, and what no longer takes anything for want of room."""

from __future__ import annotations

import pytest

from cvat_analytics.checks.health import State
from cvat_analytics.checks.status import Part, Report, with_room
from cvat_analytics.connect.volumes import Volume

MIB = 2**20
FULL = Volume("one", ("clickhouse", "vector"), "/var/lib/clickhouse", MIB, 1000 * MIB, 64 * MIB, 32 * MIB)
WHY = "takes nothing: its disk (/var/lib/clickhouse) has 1 MiB of 1000 MiB free, and {} MiB are needed: make room (docs/how-to/disk-is-full.md)"
STORE, VECTOR = WHY.format(64), WHY.format(32)


def part(name: str, state: State, problem: str = "", host: str = "one") -> Part:
    return Part(name, host, state, "1.0", "http://10.0.0.1", problem)


def test_a_pipeline_that_could_not_be_looked_at_is_not_fine() -> None:
    assert not Report([part("clickhouse", "running")], None).fine
    assert Report([part("clickhouse", "starting"), part("vector", "running")], None).fine
    assert not Report([part("clickhouse", "starting"), part("vector", "failing")], None).fine


def test_what_takes_nothing_says_why_and_what_else_is_wrong() -> None:
    parts = [
        part("clickhouse", "running", "its certificate ends on 2030-01-01"),
        part("vector", "not answering", "no answer\nits keeper is inactive"),
        part("grafana", "running"),
        part("vector", "running", host="two"),
    ]
    assert with_room(Report(parts, None), [FULL]).parts == [
        part("clickhouse", "failing", f"{STORE}\nits certificate ends on 2030-01-01"),
        part("vector", "failing", f"{VECTOR}\nits keeper is inactive"),
        *parts[2:],
    ]


@pytest.mark.parametrize(
    ("state", "becomes", "problem"),
    [
        ("not answering", "not answering", f"{STORE}\nno answer"),
        ("stopped", "stopped", "no answer"),
        ("not asked", "not asked", "no answer"),
    ],
)
def test_a_clickhouse_that_does_not_answer_is_said_not_to(state: State, becomes: State, problem: str) -> None:
    (found,) = with_room(Report([part("clickhouse", state, "no answer")], None), [FULL]).parts
    assert (found.state, found.problem) == (becomes, problem)
