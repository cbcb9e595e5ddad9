"""A real engine on a disk that fills up: what is refused and said, that all goes on by itself, and how ClickHouse starts again.

The disk is a small tmpfs. Vector is its substitute; tests/hosts/ has the unit that guards the real one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from clickhouse_connect.driver.exceptions import ClickHouseError

from cvat_analytics.base.project import ROOT
from cvat_analytics.embedded import engine, stack, starting
from cvat_analytics.embedded.stack import Stack
from scripts.cli import main
from tests.clickhouse import free_row
from tests.missing import give_up
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("patience")
MIB = 2**20


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode:
        give_up(f"a disk of its own takes root: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def running(disk: Path) -> Iterator[Stack]:
    started = starting.up(disk / "stack", free_row())
    try:
        yield started
    finally:
        stack.down(started.directory)


def leave(disk: Path, left: int) -> None:
    """Fill the disk until no more than so many bytes are left. A live ClickHouse frees some, and takes some, at any time."""
    with (disk / "filler").open("ab", buffering=0) as file:
        while (room := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - left) > 0:
            try:
                file.write(b"\0" * min(room, MIB))
            except OSError:
                return


def send(running: Stack, name: str) -> int:
    """Send an event as CVAT does, and return the HTTP status."""
    event = {"scope": "load:cvat", "source": "client", "timestamp": f"{time.time():.6f}", "obj_name": name}
    request = urllib.request.Request(
        running.access().vector.url, json.dumps([event]).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def stored(running: Stack) -> list[str]:
    rows = running.access().client().query("SELECT obj_name FROM cvat.events ORDER BY obj_name").result_rows
    return [name for (name,) in rows]


def mutations(running: Stack) -> int:
    return int(str(running.access().client().command("SELECT count() FROM system.mutations")))


def asked(running: Stack, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--dir", str(running.directory)])


def left_by_first_line(status: Result, disk: Path, *effects: str) -> int:
    """Return how many MiB are left by the first line of `status`, all else of which must be so."""
    begin, end = (
        f"host embedded: the disk of ClickHouse, Vector and Grafana ({disk}/stack/var/lib/clickhouse) has ",
        f" MiB of 300 MiB free: {'; '.join([*effects, 'make room (docs/how-to/disk-is-full.md)'])}",
    )
    line = status.stdout.splitlines()[0]
    said = re.fullmatch(rf"{re.escape(begin)}(\d+){re.escape(end)} \[CVA\d+\]", line)
    assert said, line
    return int(said[1])


def only_the_disk_fails_smoke(running: Stack) -> None:
    """Run the smoke test, which must name one cause, once, and what it has not asked for it."""
    result = asked(running, "smoke")
    assert result.exit_code == 1, result.output
    (failed,) = [line for line in result.stdout.splitlines() if line.startswith("FAIL ")]
    assert failed.startswith("FAIL disk-space: host embedded: the disk of ClickHouse, Vector and Grafana ")
    (not_asked,) = [line for line in result.stderr.splitlines() if line.startswith("not asked, because ")]
    assert "because disk-space failed: " in not_asked
    assert (
        "01-event-is-readable, 02-event-sent-twice-is-read-once, 03-refused-event-is-a-dead-letter"
        in not_asked
    )
    assert "PASS schema-version" in result.stdout


def test_a_disk_fills_up_and_gets_room_again(disk: Path, running: Stack) -> None:
    assert send(running, "1 plenty of room") == 200
    before = mutations(running)
    running.access().client().command(
        "INSERT INTO cvat.events (scope, source, timestamp, obj_name) VALUES ('load:cvat', 'client', '2020-01-15 00:00:00', '0 long ago')"
    )

    leave(disk, 100 * MIB)
    assert send(running, "2 little room") == 200
    until(lambda: stored(running), "both events", lambda seen: len(seen) == 3)
    status = until(lambda: asked(running, "status"), "all is well", lambda seen: seen.exit_code == 0)
    effects = (
        "below 64 MiB ClickHouse takes no more inserts",
        "below 32 MiB Vector takes no events, which CVAT keeps",
    )
    assert 70 <= left_by_first_line(status, disk, *effects) < 128
    assert (
        asked(running, "dead-letters", "list")
        .stderr.splitlines()[0]
        .startswith("host embedded: the disk of ClickHouse")
    )
    for words in (
        ("dead-letters", "purge", "--all", "--yes"),
        ("dead-letters", "retry"),
        ("replay", "--since", "2026-01-01"),
        ("working-time", "refresh"),
        ("stock", "convert"),
    ):
        refused = asked(running, *words)
        assert refused.exit_code == 2, words
        assert "is not begun: it needs room on the disk of ClickHouse (host embedded, " in refused.stderr, (
            words
        )
    assert mutations(running) == before

    leave(disk, 48 * MIB)
    assert send(running, "3 Vector still has room") == 200
    leave(disk, 48 * MIB)
    with pytest.raises(Exception, match="None of the disks in volume 'default' have enough free space"):
        running.access().client().command("INSERT INTO cvat.pipeline_metrics (name) VALUES ('x')")
    # what makes room still goes
    for statement in ("OPTIMIZE TABLE cvat.events FINAL", "ALTER TABLE cvat.events DROP PARTITION 202001"):
        running.access().client().command(statement)
    assert len(stored(running)) == 2, "without the one of long ago"
    leave(disk, 48 * MIB)
    status = asked(running, "status")
    assert "ClickHouse takes no more inserts; below 32 MiB Vector" in status.stdout.splitlines()[0]
    assert f"takes nothing: its disk ({disk}/stack/var/lib/clickhouse) has " in status.stdout
    assert status.exit_code == 1

    leave(disk, 20 * MIB)
    assert send(running, "4 refused") == 503
    leave(disk, 20 * MIB)
    found = json.loads(asked(running, "status", "--json").stdout)
    assert (found["clickhouse"], found["vector"], found["viewer"]) == ("failing", "failing", "running")
    assert found["disks"][0]["free"] < 32 * MIB
    assert (found["disks"][0]["is_little"], found["disks"][0]["refuses"]) == (True, ["clickhouse", "vector"])
    leave(disk, 20 * MIB)
    only_the_disk_fails_smoke(running)

    leave(disk, 0)
    only_the_disk_fails_smoke(running)
    assert mutations(running) == before

    def filled() -> Result:
        leave(disk, 0)
        return asked(running, "status")

    effects = (
        "ClickHouse takes no more inserts",
        "Vector takes no events, which CVAT keeps, until 32 MiB are free",
    )
    status = until(filled, "nothing left", lambda seen: left_by_first_line(seen, disk, *effects) < 5)
    assert "\nevents      2 in the last 15 minutes" in status.stdout, (
        "an answer to every question, and the right one"
    )
    assert (status.exit_code, status.exception.__class__) == (1, SystemExit)
    # somebody else's: nothing of ours begins one

    def begun() -> list[Path]:
        leave(disk, 0)
        with contextlib.suppress(ClickHouseError):
            running.access().client().command(
                "ALTER TABLE cvat.deployments DELETE WHERE 0 SETTINGS mutations_sync = 0"
            )
        return empty_notes(running)

    until(begun, "a note for which there was no room", pause=1)

    (disk / "filler").unlink()
    assert send(running, "4 refused") == 200, "CVAT sends it again"
    until(lambda: stored(running), "all events, without anybody's help", lambda seen: len(seen) == 4)
    until(lambda: asked(running, "status").exit_code, "all is well", lambda code: code == 0)


def empty_notes(running: Stack) -> list[Path]:
    data = Path(running.paths.clickhouse_data)
    return [note for note in data.glob("store/*/*/mutation_*.txt") if not note.stat().st_size]


def test_clickhouse_starts_again_after_a_mutation_on_a_full_disk(running: Stack) -> None:
    events = stored(running)
    query = "SELECT data_paths[1] FROM system.tables WHERE database = 'cvat' AND name = 'events'"
    note = Path(str(running.access().client().command(query))) / "mutation_99.txt"
    command = engine.command(f"{running.paths.clickhouse_config}/config.xml")

    # by hand, as the page has it
    running.processes.stop("clickhouse")
    note.touch()
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "expected 'format version: 1" in refused.stdout + refused.stderr, "by itself it never starts again"
    (line,) = re.findall(r"^\$ (find .*)$", (ROOT / "docs/how-to/disk-is-full.md").read_text(), re.M)
    line = line.replace("/var/lib/clickhouse", shlex.quote(running.paths.clickhouse_data))
    printed = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    assert str(note) in printed
    starting.up(running.directory)
    assert stored(running) == events

    # by itself
    running.processes.stop("clickhouse")
    note.touch()
    notes = empty_notes(running)
    told: list[str] = []
    starting.up(running.directory, tell=told.append)
    assert told == [
        f"removed {note}: the empty note of a DELETE or ALTER that met a full disk, which has not been carried out"
        for note in notes
    ]
    assert stored(running) == events
