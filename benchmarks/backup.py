"""What a backup and a restore take: against copying the same bytes, and beside events that come in.

The agent as a timer starts it, onto a directory, over a history of twenty million events; restic, ClickHouse and what sends share the machine. The
target and the tables are on one disk, which is no way to keep backups and a fair one to measure them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import BenchmarkError, Measurement, Report, Target
from benchmarks.store import EVENTS, histories
from benchmarks.store.engine import Engine, percentile
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.operate.backup import questions, running
from tests import clickhouse
from tests.clickhouse import Store
from tests.operate.backup_site import Site, site

if TYPE_CHECKING:
    from benchmarks.sections import Say

COPY_SHARE, SLOWER = 0.5, 1.5
"""At least so much of a copy's rate; an insert's 99 % at most so many times longer beside a backup."""
BATCH, EVERY = 100, 0.1
"""Events of an insert, and the seconds from one to the next: a thousand a second."""
QUIET = 20
"""Seconds of inserts with no backup beside them."""
MEGABYTE = 1e6


def run(runs: int, say: Say, events: int = EVENTS) -> Report:
    """Measure over `events` events."""
    if not shutil.which("restic"):
        raise BenchmarkError("there is no restic on this machine: apt install restic")
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        clickhouse.running(
            Path(name, "engine"), memory_profile="medium", clickhouse_memory_limit=8 * 2**30
        ) as store,
    ):
        try:
            return _measured(store, Path(name), say, events, max(1, runs // 2))
        except CvatAnalyticsError as error:
            raise BenchmarkError(f"the agent: {error}") from None


def _measured(store: Store, directory: Path, say: Say, events: int, runs: int) -> Report:
    engine = Engine(store)
    sessions = max(1, round(events / histories.SESSION_EVENTS))
    say(f"making {sessions * histories.SESSION_EVENTS / 1e6:g} M events")
    histories.pause(engine)
    histories.load(engine, 0, sessions)
    histories.settle(engine)
    size, rows = engine.bytes(store.database)
    checks = directory / "checks.json"
    checks.write_text(questions.text())

    def at(target: str) -> Site:
        return site(store, directory / f"agent of {target}", str(directory / target), checks)

    say("copying the tables' files")
    copies = [_timed(lambda: _copy(engine, store.database, directory / "copy")) for _ in range(runs)]
    say("full backups")
    places = [at(f"full {number}") for number in range(runs)]
    full = [_timed(partial(_create, place)) for place in places]
    first = at("kept")
    _create(first)
    stored = _bytes(directory / "kept")
    say("a backup after one more day")
    histories.load(engine, sessions, sessions + histories.DAY_SESSIONS)
    more = engine.bytes(store.database, "events")[1]
    incremental = _timed(lambda: _create(first))
    added = _bytes(directory / "kept") - stored
    say("inserts, with no backup beside them")
    batches = histories.batches(
        engine, sessions + 10 * histories.DAY_SESSIONS, sessions + 11 * histories.DAY_SESSIONS, BATCH
    )
    quiet = _inserts(engine, batches, _after(QUIET))
    say("inserts beside a full backup")
    beside_one = at("beside inserts")
    backup = threading.Thread(target=lambda: _create(beside_one))
    backup.start()
    beside = _inserts(engine, batches[len(quiet) :], lambda: not backup.is_alive())
    backup.join()
    say("proving it, and restoring it into an empty database")
    verified = _timed(lambda: first.agent("verify", "--restore"))
    with store.another() as empty:
        place = site(empty, directory / "agent of the empty one", str(directory / "kept"), checks)
        restored = _timed(place.restore)
        there = Engine(empty).bytes(empty.database, "events")[1]
    if there < more:
        raise BenchmarkError(f"{there} rows of events were restored of {more}")
    copy, rate = Measurement("copying the same files", copies), Measurement("a full backup", full)
    p99 = [percentile(sorted(seconds), 0.99) for seconds in (quiet, beside)]
    return Report(
        f"backup: {rows / 1e6:.1f} M rows of all tables, {size / MEGABYTE:.0f} MB",
        [
            copy,
            rate,
            Measurement("a full backup", [size / each / MEGABYTE for each in full], "MB/s"),
            Measurement("a backup after one more day", [incremental]),
            Measurement("the repository after the first, against the tables", [stored / size], "x"),
            Measurement("what the second added to it", [added / MEGABYTE], "MB"),
            Measurement("an insert of 100 events, p99", [p99[0] * 1000], "ms"),
            Measurement("an insert of 100 events beside a full backup, p99", [p99[1] * 1000], "ms"),
            Measurement("verify --restore: restored, compared, asked", [verified]),
            Measurement("restore into an empty database", [restored]),
        ],
        [
            Target("a full backup's rate against copying", copy.median / rate.median, "at least", COPY_SHARE, "x"),
            Target("inserts beside a full backup, p99", p99[1] / p99[0], "at most", SLOWER, "x"),
        ],
        [
            f"{len(quiet)} inserts with nothing beside them, {len(beside)} beside a backup, one every {EVERY * 1000:.0f} ms.",
            "Copied are the files of the tables' parts, and written to the disk; restic does that too, and encrypts.",
        ],
    )  # fmt: skip


def _create(place: Site) -> None:
    """Make a backup as the timer does: behind everybody else."""
    command = [sys.executable, "-m", running.MODULE, "--config", str(place.file), "create"]
    subprocess.run(["nice", "-n", "19", *command], check=True, stdout=subprocess.DEVNULL)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _copy(engine: Engine, database: str, directory: Path) -> None:
    """Copy the files of all parts into a directory, and have them on the disk."""
    shutil.rmtree(directory, ignore_errors=True)
    paths = engine.ask(f"SELECT path FROM system.parts WHERE active AND database = '{database}'")
    for number, (path,) in enumerate(paths.cells):
        shutil.copytree(path, directory / str(number))
    subprocess.run(["sync", "-f", directory], check=True)


def _bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _inserts(engine: Engine, batches: list[str], ended: Callable[[], bool]) -> list[float]:
    """Insert one batch after the other, each when it is due, until it has `ended`; return the seconds of each from when it was due."""
    seconds: list[float] = []
    began = time.monotonic()
    for number, batch in enumerate(batches):
        if ended():
            break
        due = began + number * EVERY
        time.sleep(max(0.0, due - time.monotonic()))
        histories.send(engine, batch, "incoming_events", "vector")
        seconds.append(time.monotonic() - due)
    return seconds


__all__ = ["run"]
