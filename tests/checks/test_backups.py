"""What `status` says of backups: when the last good one was, whether one was proven, what failed, which timer does not run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.checks import backups
from cvat_analytics.checks.backups import Backups
from cvat_analytics.config.validation import validate
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.shell import Shell
from scripts import status
from scripts.target import Target
from tests.clickhouse import Store, way_to

TARGET = "sftp:keeper@store:/srv/cvat"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
INVENTORY = Target(Path("hosts.py"), None)


@pytest.fixture(scope="module")
def access(shared_engine: Store) -> Iterator[Access]:
    """Return the way to a database that has nothing but the table."""
    way = way_to(shared_engine.context)
    client = way.client()
    client.command("CREATE DATABASE backups_only")
    client.command(f"CREATE TABLE backups_only.backups AS {shared_engine.database}.backups")
    settings = validate({"database": "backups_only", "backup_target": TARGET}, where="test")
    yield replace(way, clickhouse=replace(way.clickhouse, settings=settings))
    client.command("DROP DATABASE backups_only SYNC")


def note(access: Access, *rows: tuple[str, int, str, bool, str], target: str = TARGET) -> None:
    """Note backups: name, days ago, state, whether it was proven, message."""
    columns = ["name", "target", "started", "finished", "state", "bytes", "verified", "message"]
    values = [
        [name, target, NOW - timedelta(days=days), NOW - timedelta(days=days), state, 7 * 2**20, NOW if proven else None, message]
        for name, days, state, proven, message in rows
    ]  # fmt: skip
    access.client().insert("backups", values, column_names=columns, database="backups_only")


def said(found: Backups) -> list[str]:
    return status._backups(found, INVENTORY)


@pytest.fixture
def empty(access: Access) -> Access:
    access.client().command("TRUNCATE TABLE backups_only.backups")
    return access


def test_the_last_good_one_and_the_last_that_was_proven(empty: Access) -> None:
    note(
        empty,
        ("old", 30, "complete", True, ""),
        ("new", 1, "complete", False, ""),
        ("gone", 0, "gone", True, ""),
    )
    note(empty, ("elsewhere", 0, "complete", True, ""), target="/mnt/by-hand")
    found = backups.of(empty, NOW)
    assert (found.last, found.started, found.proven, found.size) == (
        "new",
        NOW - timedelta(days=1),
        "old",
        7 * 2**20,
    )
    assert found.fine
    (line,) = said(found)
    assert "(new, 7.0 MiB of data); the last that was proven by restoring it: old" in line


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], ["backup      NONE yet: make one (", "backup create"]),
        (
            [("one", 3, "complete", False, "")],
            ["TOO OLD: the last good one ", "none was ever proven by restoring it"],
        ),
        (
            [("one", 1, "complete", True, ""), ("two", 0, "failed", False, "target: it is full")],
            ["the last good one ", "two FAILED: target: it is full"],
        ),
        (
            [
                ("one", 2, "complete", True, ""),
                ("two", 1, "damaged", False, "a byte"),
                ("three", 0, "complete", False, ""),
            ],
            ["the last good one ", "(three", "backup two is DAMAGED: a byte"],
        ),
        (
            [
                ("one", 1, "complete", True, ""),
                ("two", 0, "incomplete", False, "it lacks journal of host in"),
            ],
            ["the last good one ", "(one", "backup two is INCOMPLETE: it lacks journal of host in"],
        ),
        (
            [
                ("one", 2, "complete", True, ""),
                ("two", 1, "failed", False, "full"),
                ("three", 0, "running", False, ""),
            ],
            ["two FAILED: full"],
        ),
    ],
    ids=["none", "too old", "failed", "damaged", "incomplete", "failed and running"],
)
def test_what_is_wrong_is_said(empty: Access, rows: list[Any], words: list[str]) -> None:
    if rows:
        note(empty, *rows)
    found = backups.of(empty, NOW)
    assert not found.fine
    text = "\n".join(said(found))
    assert [each for each in words if each not in text] == []


def test_one_that_has_been_tried_again_is_no_failure(empty: Access) -> None:
    note(empty, ("one", 1, "failed", False, "away"), ("two", 0, "complete", False, ""))
    assert backups.of(empty, NOW).fine


def test_a_damaged_one_is_forgotten_as_soon_as_a_newer_one_is_proven(empty: Access) -> None:
    note(empty, ("one", 1, "damaged", False, "a byte"), ("two", 0, "complete", True, ""))
    assert backups.of(empty, NOW).fine


def test_without_a_target_what_was_made_by_hand_is_shown_and_never_too_old(empty: Access) -> None:
    note(empty, ("one", 90, "complete", False, ""), target="/mnt/by-hand")
    settings = validate({"database": "backups_only"}, where="test")
    found = backups.of(replace(empty, clickhouse=replace(empty.clickhouse, settings=settings)), NOW)
    assert (found.last, found.fine) == ("one", True)


def test_of_a_stack_without_the_table_nothing_is_known_and_nothing_fails(shared_engine: Store) -> None:
    """As between an upgrade of this program and its first deploy."""
    way = way_to(shared_engine.context)
    settings = validate({"database": "nowhere", "backup_target": TARGET}, where="test")
    found = backups.of(replace(way, clickhouse=replace(way.clickhouse, settings=settings)))
    assert found.known is False
    assert said(found) == ["backup      not known"]


class _Answering(Shell):
    """A host that answers what it is told to. A substitute for a host."""

    answer = ""

    def run(self, command: str, patience: float | None = None) -> str:
        assert "cvat-analytics-backup.timer" in command
        return self.answer


def asked(answer: str, found: Backups, *components: str, target: str = TARGET) -> Backups:
    shell = _Answering("a", {}, None)
    object.__setattr__(shell, "answer", answer)
    settings = validate({"backup_target": target}, where="test")
    return backups.with_host(found, shell, settings, components)


GOOD = Backups(TARGET, last="one", started=NOW)


def test_a_timer_that_does_not_run_is_said() -> None:
    fine = "timer cvat-analytics-backup active enabled success\ntimer cvat-analytics-backup-verify active enabled success\nnote"
    assert asked(fine, GOOD, "clickhouse").fine
    off = fine.replace("backup active enabled", "backup inactive disabled", 1)
    assert said(asked(off, GOOD, "clickhouse"))[1:] == [
        "            cvat-analytics-backup.timer of a is inactive, so that no backup is made there: "
        "`systemctl enable --now cvat-analytics-backup.timer`, or deploy again [CVA9215]"
    ]
    failed = fine.replace("success", "exit-code", 1)
    assert (
        "failed when it ran last (exit-code): see `journalctl -u cvat-analytics-backup`"
        in said(asked(failed, GOOD, "vector"))[1]
    )
    # whose hosts back nothing up
    assert asked(off, GOOD, "gateway").fine
    assert asked(off, GOOD, "clickhouse", target="").fine


def test_where_clickhouse_is_down_the_note_on_its_host_says_it() -> None:
    name = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"
    unknown = Backups(TARGET, known=False, problems=[])
    for state, words in (
        ("complete", f"the last good one 0 s ago ({name}"),
        ("failed", f"{name} FAILED: it is full"),
        ("incomplete", f"backup {name} is INCOMPLETE: it is full"),
    ):
        last = json.dumps({"name": name, "state": state, "bytes": 5, "message": "it is full"})
        found = asked(f"note {last}", unknown, "clickhouse")
        assert words in "\n".join(said(found)).replace("1 s ago", "0 s ago").replace("2 s ago", "0 s ago")
        # what another host notes is about its own parts
        assert asked(f"note {last}", unknown, "vector") == unknown
    assert asked("note no JSON", unknown, "clickhouse") == unknown


def test_a_host_that_does_not_answer_is_not_waited_for() -> None:
    class Away(_Answering):
        def run(self, command: str, patience: float | None = None) -> str:
            assert patience is not None
            raise UnreachableError(Code.CONNECTION_LOST, "away")

    with pytest.raises(UnreachableError):
        backups.with_host(
            GOOD, Away("a", {}, None), validate({"backup_target": TARGET}, where="test"), ["grafana"]
        )
