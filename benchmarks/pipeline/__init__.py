"""The pipeline from HTTP to readable: throughput, delay, what journal and deduplication cost, replay, and catching up.

All of it on one machine: Vector (or its substitute), ClickHouse and what sends share the cores.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.pipeline import delay
from benchmarks.pipeline.crowd import readers
from benchmarks.pipeline.rig import Rig, rig
from benchmarks.report import BenchmarkError, Measurement, Report, Target, tail

if TYPE_CHECKING:
    from benchmarks.sections import Say

CONNECTIONS, SIZES = (1, 8, 64), (1, 10, 1000)
SECONDS = 3.0
"""How long a throughput is measured."""
STEADY, STEADY_SECONDS = 1000, 20
"""Events per second, and for how long, of the measurement of the delay."""
REPLAYED = 500_000
OUTAGE = 100_000
DAY = 50 * 86_400
"""Events of a day at 50 a second."""
MEGABYTE = 1e6
_PROGRAM = Path(sys.executable).with_name("cvat-analytics")
_JOURNAL = re.compile(r"\[sinks\.journal\]\n.*?(?=\n\[|\n#|\Z)", re.DOTALL)


def run(runs: int, say: Say) -> Report:
    """Measure on a fresh stack and report."""
    measurements: list[Measurement] = []
    with rig() as stage:
        vector = machine.vector()
        say(f"warming up ({vector})")
        _throughput(stage, 8, 10)
        for connections, size in itertools.product(CONNECTIONS, SIZES):
            say(f"throughput: {connections} connections, {size} events a body")
            figures = [_throughput(stage, connections, size) for _ in range(runs)]
            name = f"{connections} connections, bodies of {size}"
            measurements.append(Measurement(name, [events for events, _ in figures], "events/s"))
            measurements.append(Measurement(name, [size for _, size in figures], "MB/s"))
        say(f"delay at {STEADY} events/s")
        delays = [delay.measure(stage, STEADY, STEADY_SECONDS) for _ in range(runs)]
        p50 = Measurement(f"delay at {STEADY} events/s, p50", [_percentile(each, 50) for each in delays])
        p99 = Measurement(f"delay at {STEADY} events/s, p99", [_percentile(each, 99) for each in delays])
        say("the same while readers are at their limits")
        with readers(stage) as crowd:
            crowded = [delay.measure(stage, STEADY, STEADY_SECONDS) for _ in range(runs)]
        beside = Measurement(
            f"delay at {STEADY} events/s beside {crowd} queries of readers, p99",
            [_percentile(each, 99) for each in crowded],
        )
        say("without the journal")
        with stage.configured(without_journal):
            bare = [_throughput(stage, 8, 1000)[0] for _ in range(runs)]
        say("catching up, with and without ClickHouse's memory of blocks")
        drains = {window: [_catch_up(stage, window) for _ in range(runs)] for window in (1000, 0)}
        say(f"replay of {REPLAYED} events")
        replays = [_replay(stage) for _ in range(runs)]
    drain = Measurement("catching up after an outage", drains[1000], "events/s")
    replay = Measurement("replay from the journal", replays, "events/s")
    measurements += [
        p50,
        p99,
        beside,
        Measurement("8 connections, bodies of 1000, no journal", bare, "events/s"),
        drain,
        Measurement("catching up, no block deduplication", drains[0], "events/s"),
        replay,
    ]
    minutes = DAY / drain.median / 60
    return Report(
        "pipeline: from HTTP to readable in ClickHouse",
        measurements,
        [
            Target(f"delay at {STEADY} events/s, p99", p99.median, "at most", 2, "s"),
            Target("the same beside readers at their limits", beside.median, "at most", 2, "s"),
            Target("replay", replay.median, "at least", 100_000, "events/s"),
            Target("a day of outage at 50 events/s, caught up (computed)", minutes, "at most", 10, "min"),
        ],
        [
            f"Vector here is {vector}; ClickHouse is the real engine.",
            f"Caught up was an outage with {OUTAGE} events; the day's {DAY} are computed from that rate.",
            "Sender, Vector and ClickHouse share the cores of this machine.",
        ],
    )


def without_journal(text: str) -> str:
    """Return Vector's configuration `text` without the journal."""
    return _JOURNAL.sub("", text)


def _throughput(stage: Rig, connections: int, size: int) -> tuple[float, float]:
    """Return events and megabytes of bodies per second, from the first byte sent to the last event readable."""
    stage.clear()
    load = stage.send(connections, size, seconds=SECONDS)
    seconds = stage.await_events(load.events) - load.began
    return load.events / seconds, load.size / seconds / MEGABYTE


def _catch_up(stage: Rig, window: int) -> float:
    """Return the events per second that become readable once ClickHouse is back from an outage."""
    stage.clear()
    stage.client.command(f"ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = {window}")
    with stage.without_clickhouse():
        load = stage.send(8, 1000, events=OUTAGE)
    # the pause of Vector between two tries is not what is measured
    stage.await_events(1)
    first, began = stage.count(), time.perf_counter()
    rate = (load.events - first) / (stage.await_events(load.events) - began)
    stage.client.command("ALTER TABLE events MODIFY SETTING non_replicated_deduplication_window = 1000")
    return rate


def _replay(stage: Rig) -> float:
    """Return the events per second of `cvat-analytics replay` into an empty table, from start to exit of the command."""
    journal = Path(stage.paths.vector_data) / "journal"
    now = datetime.now(UTC)
    for file in journal.glob("*"):
        file.unlink()
    _write_journal(journal / f"events-{now:%Y-%m-%dT%H}.jsonl", now)
    stage.clear()
    since = f"{now - timedelta(hours=2):%Y-%m-%dT%H:%M:%S}"
    began = time.perf_counter()
    done = subprocess.run(
        [_PROGRAM, "replay", "--dir", stage.running.directory, "--since", since],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise BenchmarkError(f"replay ended with {done.returncode}:\n{tail(done.stdout + done.stderr)}")
    if stage.count() != REPLAYED:
        raise BenchmarkError(f"after the replay {stage.count()} of {REPLAYED} events are readable")
    return REPLAYED / seconds


def _write_journal(path: Path, now: datetime) -> None:
    """Write a journal with REPLAYED events of the last hour, as Vector's file sink does."""
    row = (
        '{"access_token_id":null,"count":1,"duration":2315,"job_id":890,"obj_id":%d,"obj_name":"rectangle","obj_val":null,'
        '"org_id":2,"org_slug":"org","payload":"{\\"client_id\\": \\"889802\\", \\"is_active\\": true}","project_id":38,'
        '"scope":"draw:object","source":"client","task_id":257,"timestamp":"%s","user_email":"user@example.org","user_id":68,'
        '"user_name":"user"}\n'
    )
    with path.open("w") as file:
        for number in range(REPLAYED):
            moment = now - timedelta(milliseconds=7 * (REPLAYED - number))
            file.write(row % (number + 1, f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"))


def _percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]
