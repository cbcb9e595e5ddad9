"""A small host: the whole stack in a control group of two cores and 4 GiB, with events, dashboards, exports and background work together.

Vector and Grafana are the real ones where they are on PATH. Who sends and who looks are outside of the group.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.report import BenchmarkError, Measurement, Report, Target, tail
from benchmarks.small.group import CORES, MEMORY, Cage, cage
from benchmarks.small.load import NOW_AND_THEN, PAUSE, RATE, VIEWERS, Load
from benchmarks.store import histories
from benchmarks.store.engine import Engine, percentile
from cvat_analytics.embedded import stack
from cvat_analytics.rendering import memory
from tests.clickhouse import Store
from tests.waiting import until

if TYPE_CHECKING:
    from benchmarks.sections import Say

EVENTS = 20_000_000
MINUTES = 60.0
DONE = 0.9
"""The share of the load that must have been there, else the run says nothing."""
GIB = 2**30
_PROGRAM = Path(sys.executable).with_name("cvat-analytics")


def run(runs: int, say: Say, events: int = EVENTS, minutes: float = MINUTES) -> Report:
    """Load `events` of a history in the group, let everybody work for `minutes`, and report."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        cage() as group,
        _stack(Path(name), group) as running,
    ):
        profile = memory.profile(running.context().settings, MEMORY)
        engine = Engine(Store(running.context()))
        limit = engine.value(
            "SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'"
        )
        if int(limit) != profile.server_limit:
            raise BenchmarkError(
                f"ClickHouse may have {limit} bytes, which is not the profile {profile.name!r} of this group"
            )
        say(
            f"{machine.vector()}; memory profile {profile.name}, ClickHouse at most {profile.server_limit / GIB:.2f} GiB"
        )
        sessions = round(events / histories.SESSION_EVENTS)
        with _looking(group, running):
            for first in range(0, sessions, 1000):
                histories.load(engine, first, min(sessions, first + 1000))
        say(
            f"{events / 1e6:g} M events are there, {group.used / GIB:.2f} GiB of memory used at most; {minutes:g} minutes of work"
        )
        load = Load(running, engine, sessions)
        group.highest.clear()
        with _looking(group, running), load:
            end = time.monotonic() + 60 * minutes
            tick = 0
            while time.monotonic() < end:
                tick += 1
                if tick % 60 == 0:
                    say(f"{(end - time.monotonic()) / 60:.0f} minutes left: {load.text()}; {group.text()}")
                if group.kills or not all(running.processes.pid(part) for part in stack.PARTS):
                    break
                time.sleep(1)
            worked = minutes - max(0.0, end - time.monotonic()) / 60
        lost = _lost(engine, load)
        return _report(running, group, load, lost, profile.name, worked, minutes)


@contextmanager
def _looking(group: Cage, running: stack.Stack) -> Iterator[None]:
    """Look at the group's memory every second meanwhile."""
    done = threading.Event()

    def look() -> None:
        group.look(running)
        while not done.wait(1):
            group.look(running)

    with ThreadPoolExecutor(1) as eyes:
        looked = eyes.submit(look)
        try:
            yield
        finally:
            done.set()
        looked.result()  # what went wrong there is told


def _lost(engine: Engine, load: Load) -> int:
    """Return how many of the events that Vector took are not stored, once it has had time for all."""

    def missing() -> int:
        return load.taken - load.stored()

    with suppress(AssertionError):
        until(lambda: missing() <= 0, "every event is stored")
    return missing()


def _report(
    running: stack.Stack, group: Cage, load: Load, lost: int, profile: str, worked: float, minutes: float
) -> Report:
    measurements = [
        Measurement("memory of all processes, without the page cache, at most", [group.used / GIB], "GiB"),
        *(Measurement(f"{part}, at most", [size / GIB], "GiB") for part, size in sorted(group.highest.items()) if part),
        Measurement("ClickHouse's own count of its memory, at most", [load.tracked / GIB], "GiB"),
        Measurement("events sent", [load.taken], ""),
        *(Measurement(f"a dashboard, {span}", seconds) for span, seconds in sorted(load.looks.items())),
        *(Measurement(what, values) for what, values in (
            ("age of the newest event that a reader sees", load.ages), ("an export of 30 days", load.exports)) if values),
        Measurement("parts of events at most", [load.parts], ""),
    ]  # fmt: skip
    targets = [
        Target("minutes of work", worked, "at least", minutes, "min"),
        Target("events sent steadily", load.steady, "at least", round(DONE * RATE * 60 * worked), ""),
        Target(
            "dashboards opened",
            sum(map(len, load.looks.values())),
            "at least",
            round(DONE * VIEWERS * 60 * worked / PAUSE),
            "",
        ),
        Target("exports", len(load.exports), "at least", max(1, int(DONE * 60 * worked / NOW_AND_THEN)), ""),
        Target("processes killed for want of memory", group.kills, "at most", 0, ""),
        Target("memory of all processes", group.used / GIB, "at most", 0.9 * MEMORY / GIB, "GiB"),
        Target(
            "parts that ended", sum(not running.processes.pid(part) for part in stack.PARTS), "at most", 0, ""
        ),
        Target("events lost", lost, "at most", 0, ""),
        Target(
            "queries, exports and requests refused or failed", sum(load.refused.values()), "at most", 0, ""
        ),
        Target("background work that failed", load.failures(), "at most", 0, ""),
    ]
    for span, seconds in sorted(load.looks.items()):
        measurements.append(Measurement(f"a dashboard, {span}, 95 %", [percentile(sorted(seconds), 0.95)]))
    notes = [
        f"{CORES} cores and {MEMORY / GIB:g} GiB by a control group; memory profile {profile}; {machine.vector()}.",
        load.described,
        *(f"refused, {count} times: {message}" for message, count in load.refused.items()),
    ]
    return Report("small: the whole stack on two cores and 4 GiB", measurements, targets, notes)


@contextmanager
def _stack(directory: Path, group: Cage) -> Iterator[stack.Stack]:
    """Run an embedded stack in the group."""
    command = [str(_PROGRAM), "up", "--dir", str(directory / "stack"), "--detach", "--json"]
    started = subprocess.run(group.inside(command), capture_output=True, text=True, check=False, timeout=300)
    if started.returncode:
        raise BenchmarkError(f"up: {tail(started.stderr)}")
    json.loads(started.stdout)
    try:
        yield stack.find(directory / "stack")
    finally:
        stack.down(directory / "stack")
