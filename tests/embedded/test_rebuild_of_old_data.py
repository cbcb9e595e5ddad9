"""`up` with the data of an earlier version, whose table holds only 16 bits of `count`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvat_analytics.embedded import stack
from cvat_analytics.pipeline import events
from cvat_analytics.store import migrations
from cvat_analytics.store.migrations import Script
from tests.waiting import until

FORMER = Script("init.sql", "once", (Path(__file__).parents[1] / "store" / "former" / "init.sql").read_text())
PROGRAM = Path(sys.executable).with_name("cvat-analytics")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "stack"
    stack.down(tmp_path / "stack")


def up(directory: Path) -> str:
    """Start what is missing, and return what is said meanwhile."""
    done = subprocess.run([PROGRAM, "up", "--dir", directory, "--detach", "--json"], capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_stack_of_an_earlier_version_is_rebuilt_and_takes_greater_numbers(directory: Path) -> None:
    up(directory)
    client = stack.find(directory).access().client()
    client.database = "cvat"
    for statement in (
        "DROP TABLE events SYNC",
        migrations.statements(FORMER.sql)[0],
        "INSERT INTO events (scope, source, timestamp, count, payload) SELECT 'create:shapes', 'server', "
        "toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + number * 3600, number, toString(number) FROM numbers(3000)",
        migrations.record(FORMER, "cvat"),
    ):
        client.command(statement)
    assert "is rebuilt, because `count` is to hold numbers beyond 65,535" in up(directory)
    assert up(directory) == ""
    access = stack.find(directory).access()
    events.send(
        [{"scope": "delete:shapes", "timestamp": time.time(), "count": 90_007}],
        access.vector.host,
        access.vector.port,
    )
    query = "SELECT count(), max(count) FROM events FINAL WHERE source != 'client'"
    until(
        lambda: client.query(query).result_rows[0],
        "the event is there",
        lambda found: found == (3001, 90_007),
    )
