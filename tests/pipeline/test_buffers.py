"""A batch that ClickHouse refuses for good is told, set aside and accounted for, and stands in nobody's way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.base.errors import InputError
from cvat_analytics.checks import flow
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client
from cvat_analytics.connect.shell import Shell
from cvat_analytics.embedded import stack
from cvat_analytics.operate.buffers import Buffers, Kept, Place
from cvat_analytics.pipeline import events
from scripts.cli import main
from tests.waiting import until

# the stack's processes outlive whoever starts them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
TOLD = 120.0
"""Seconds within which `status` must name the sink, which is what docs/reference/status.md promises."""


def invoke(running: stack.Stack, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--dir", str(running.directory)])


@contextmanager
def refusing(access: Access) -> Iterator[None]:
    """Let ClickHouse refuse any batch with "poison" in a row, of events and of dead letters."""
    client = access.client()
    rules = {"events": "ifNull(obj_val, '') != 'poison'", "events_dead_letter": "original != 'poison'"}
    for table, rule in rules.items():
        client.command(f"ALTER TABLE cvat.{table} ADD CONSTRAINT IF NOT EXISTS poison CHECK {rule}")
    try:
        yield
    finally:
        for table in rules:
            client.command(f"ALTER TABLE cvat.{table} DROP CONSTRAINT IF EXISTS poison")


def send(access: Access, *names: str) -> None:
    batch = [{"scope": "test:refused", "timestamp": time.time(), "obj_val": name} for name in names]
    events.send(batch, *access.vector.address)


def stored(access: Access) -> list[str]:
    query = "SELECT obj_val FROM cvat.events FINAL WHERE scope = 'test:refused' ORDER BY obj_val"
    return [row[0] for row in access.client().query(query).result_rows]


def letters(access: Access) -> int:
    query = "SELECT count() FROM cvat.events_dead_letter FINAL WHERE original = 'poison'"
    return int(access.client().query(query).result_rows[0][0])


def post(access: Access, body: bytes) -> None:
    with http_client(access.vector.url, timeout=10) as sending:
        assert sending.post("/", content=body).status_code == 200


def refusals(running: stack.Stack) -> dict[str, Any]:
    report = json.loads(invoke(running, "status", "--json").stdout)
    return {each["sink"]: each for each in report["pipeline"]["refusals"]}


def test_a_refused_batch_is_told_set_aside_and_accounted_for(running: stack.Stack, access: Access) -> None:
    until(lambda: flow.of(access).measured_at, "Vector's first reading")
    assert invoke(running, "buffer", "set-aside", "events", "--yes").exit_code == 2, "nothing is refused"
    with refusing(access):
        send(access, "a1", "a2", "poison", "a3")
        post(access, b"poison")
        told = until(
            lambda: refusals(running),
            "both sinks are named",
            lambda named: named.keys() == {"events", "dead_letters"},
            patience=2 * TOLD,
        )
        send(access, "b1")
        assert told["events"]["statuses"] == "500"
        assert told["events"]["times"] >= 1
        assert "Constraint" in told["events"]["words"]
        status = invoke(running, "status")
        assert status.exit_code == 1
        hint = f"cvat-analytics buffer set-aside events --dir {running.directory}"
        assert hint in status.stdout
        assert stored(access) == []

        assert invoke(running, "buffer", "set-aside", "events", "--dry-run").exit_code == 0
        assert "No buffer was set aside" in invoke(running, "buffer", "list").stdout
        result = invoke(running, *hint.split()[1:-2], "--yes")
        assert (result.exit_code, result.exception) == (0, None), result.output
        assert "1 that ClickHouse refuses are dead letters now" in result.output
        send(access, "c1")
        expected = ["a1", "a2", "a3", "b1", "c1"]
        until(lambda: stored(access), "what waited and what comes", lambda found: found == expected)
        result = invoke(running, "buffer", "set-aside", "dead_letters", "--yes")
        assert result.exit_code == 0, result.output
        until(
            lambda: refusals(running),
            "nothing is refused any more, though no letter has been delivered",
            lambda named: not named,
        )
    kept = {each["sink"]: each for each in json.loads(invoke(running, "buffer", "list", "--json").stdout)}
    assert {sink: each["state"] for sink, each in kept.items()} == {
        "events": "inserted",
        "dead_letters": "kept",
    }
    assert letters(access) == 0
    assert invoke(running, "buffer", "put-back", kept["dead_letters"]["name"], "--yes").exit_code == 0
    until(lambda: letters(access), "the dead letter", lambda count: count == 1)
    retry = invoke(running, "dead-letters", "retry", "--reason", "refused by ClickHouse")
    assert retry.exit_code == 0, retry.output
    assert stored(access) == ["a1", "a2", "a3", "b1", "c1", "poison"]
    assert len(json.loads(invoke(running, "buffer", "list", "--json").stdout)) == 2
    for each in json.loads(invoke(running, "buffer", "list", "--json").stdout):
        assert invoke(running, "buffer", "purge", each["name"], "--yes").exit_code == 0
    until(lambda: refusals(running), "nothing is refused any more", lambda named: not named)
    assert invoke(running, "status").exit_code == 0


class Cut(Exception):
    """The command is ended, as kill -9 does."""


@dataclass
class Fake:
    """A Vector whose buffers are files below `data`; each thing that is done to it may be the last."""

    data: Path
    running: bool = True
    steps: int = 0
    last: int = 10**9
    lives: list[str] = field(default_factory=list)

    def place(self) -> Place:
        shell = Shell("here", {}, None)
        run = shell.run

        def counted(command: str) -> str:
            self.step()
            return run(command)

        object.__setattr__(shell, "run", counted)
        return Place("here", shell, str(self.data), stop=self.stop, start=self.start)

    def step(self) -> None:
        self.steps += 1
        if self.steps > self.last:
            raise Cut

    def stop(self) -> None:
        self.step()
        self.running = False

    def start(self) -> None:
        self.step()
        if not self.running:
            self.running = True
            (self.data / "buffer/v2/events").mkdir(parents=True, exist_ok=True)

    def revived(self) -> None:
        """Somebody else starts it, as a deploy or `up` does."""
        self.last = 10**9
        self.start()


def wanted() -> Kept:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    return Kept("events-20261101T000000Z", "events", now, now - timedelta(hours=1), "begun", 0)


@pytest.mark.parametrize("last", range(8))
@pytest.mark.parametrize("revived", [False, True])
def test_set_aside_may_be_cut_off_anywhere(tmp_path: Path, access: Access, last: int, revived: bool) -> None:
    vector = Fake(tmp_path, last=last)
    record = tmp_path / "buffer/v2/events/record"
    record.parent.mkdir(parents=True)
    record.write_text("waits")
    buffers = Buffers(access, vector.place())
    try:
        buffers.set_aside(wanted())
    except Cut:
        if revived:
            vector.revived()
    vector.last = 10**9
    (begun,) = buffers.kept() or [wanted()]
    if begun.unfinished:
        buffers.set_aside(begun)
    (kept,) = buffers.kept()
    assert (kept.state, kept.since) == ("moved", wanted().since)
    assert (tmp_path / "buffer-set-aside" / kept.name / "v2/record").read_text() == "waits"
    assert (vector.running, record.parent.exists(), record.exists()) == (True, True, False)


@pytest.mark.parametrize("last", range(9))
@pytest.mark.parametrize("revived", [False, True])
def test_put_back_may_be_cut_off_anywhere(tmp_path: Path, access: Access, last: int, revived: bool) -> None:
    vector = Fake(tmp_path)
    record = tmp_path / "buffer/v2/events/record"
    record.parent.mkdir(parents=True)
    record.write_text("waits")
    buffers = Buffers(access, vector.place())
    moved = buffers.set_aside(wanted())
    buffers.inserted(moved, everything=False)
    record.write_text("came later")
    vector.steps, vector.last = 0, last
    try:
        buffers.put_back(moved.name)
    except Cut:
        if revived:
            vector.revived()
    vector.last = 10**9
    if moved.name in {each.name for each in buffers.kept()}:
        buffers.put_back(moved.name)
    elif not vector.running:
        vector.start()
    found = [file.read_text() for file in tmp_path.rglob("record")]
    assert sorted(found) == ["came later", "waits"], "nothing is lost on the way"
    assert vector.running


def test_what_is_none_of_the_names_is_refused(running: stack.Stack, tmp_path: Path, access: Access) -> None:
    for command in (["set-aside", "metrics"], ["put-back", "nothing"], ["purge", "nothing", "--yes"]):
        assert invoke(running, "buffer", *command).exit_code == 2
    with pytest.raises(InputError, match="there is none"):
        Buffers(access, Fake(tmp_path).place()).named("x")
