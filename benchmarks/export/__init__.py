"""Exports through the events API against CVAT's way, on the same events in the same run; and clients that send.

CVAT's way reads CVAT's own table, which is sorted by time. Time is that from asking until the file is complete.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.export import clients
from benchmarks.report import BenchmarkError, Measurement, Report, Target, ratio, tail
from benchmarks.store import histories
from benchmarks.store.engine import Engine, percentile
from tests.api.harness import PASSWORD, Api, running_api
from tests.clickhouse import running

if TYPE_CHECKING:
    from benchmarks.sections import Say

EVENTS = 10_000_000
FASTER, FASTER_OF_ALL = 10, 20
MEMORY_MIB, P99_MS = 100, 1000
MIB = 2**20


def run(runs: int, say: Say, events: int = EVENTS) -> Report:
    """Measure exports of a tenth of the events and of all, and report."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        running(Path(name) / "store", memory_profile="medium", clickhouse_memory_limit=8 * 2**30) as store,
        clients.vector() as vector_url,
        running_api(Path(name) / "api", store, vector_url) as api,
    ):
        engine = Engine(store)
        histories.create_stock(engine)
        histories.pause(engine)
        say(f"{events:,} events into both tables")
        sessions = round(events / histories.SESSION_EVENTS)
        histories.load(engine, 0, sessions)
        histories.load_stock(engine, 0, sessions)
        for database, table in (("cvat", "events"), ("stock", "events")):
            engine.optimize(database, table)
        measurements: list[Measurement] = []
        targets: list[Target] = []
        peaks = []
        for size in (events // 10, events):
            last = engine.value(
                f"SELECT timestamp FROM events FINAL ORDER BY timestamp LIMIT 1 OFFSET {int(size * 0.99)}"
            )
            label = f"{size // 1_000_000} M" if size >= 1_000_000 else f"{size:,}"
            times = runs if size < events else max(1, runs // 2)
            say(f"{label} events through the events API")
            ours = Measurement(f"{label} events, events API", [_export(api, last) for _ in range(times)])
            streamed = Measurement(f"{label} events, stream", [_stream(api, last) for _ in range(times)])
            peaks.append(_peak(api))
            say(f"{label} events as CVAT does it")
            theirs, memory = _cvats_way(engine, last, Path(name) / "cvat.csv", max(1, times // 2))
            stock = Measurement(f"{label} events, CVAT's way", theirs)
            measurements += [
                ours,
                streamed,
                stock,
                Measurement(f"{label}: memory of the events API", [peaks[-1] / MIB], "MiB"),
                Measurement(f"{label}: memory of CVAT's way", [memory / MIB], "MiB"),
            ]
            targets.append(
                Target(
                    f"{label} events: faster than CVAT's way",
                    ratio(stock, ours),
                    "at least",
                    FASTER if size < events else FASTER_OF_ALL,
                    "x",
                )
            )
        targets.append(Target("memory of the events API", peaks[-1] / MIB, "at most", MEMORY_MIB, "MiB"))
        say(f"{clients.CLIENTS} clients send {clients.BATCH} events each")
        waits = clients.latencies(api.url, ("boss", PASSWORD.format("boss")), 10 * runs)
    measurements.append(
        Measurement("POST of 100 events, 50 clients at once", [1000 * each for each in waits], "ms")
    )
    targets.append(Target("POST, 99 of 100 within", 1000 * percentile(waits, 0.99), "at most", P99_MS, "ms"))
    return Report("Exports", measurements, targets, NOTES)


NOTES = (
    "Events API: from asking until the file is complete and on disk (fsync), exports waiting for their turn included.",
    "CVAT's way: clickhouse-connect, one query over CVAT's own table in order of time, rows through csv.writer.",
    "Memory is the most that the process ever had (VmHWM, ru_maxrss).",
    "The clients send all in the same moment; in life each has its own timer of 90 seconds.",
)


def _export(api: Api, last: str) -> float:
    """Return the seconds until an export is complete, and remove it."""
    with api.client("boss") as client:
        began = time.perf_counter()
        query_id = client.get("/api/events", params={"from": "1970-01-01", "to": f"{last}Z"}).json()[
            "query_id"
        ]
        while (answer := client.get("/api/events", params={"query_id": query_id})).status_code == 202:
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        if answer.status_code != 201:
            raise BenchmarkError(f"export: HTTP {answer.status_code} {answer.text[:300]}")
        client.delete(f"/api/requests/{query_id}")
    return seconds


def _stream(api: Api, last: str) -> float:
    """Return the seconds of a stream that is thrown away."""
    began = time.perf_counter()
    parameters = {"from": "1970-01-01", "to": f"{last}Z", "format": "csv"}
    headers = {"Accept-Encoding": "identity"}
    with (
        api.client("boss") as client,
        client.stream("GET", "/api/events", params=parameters, headers=headers) as answer,
    ):
        for _ in answer.iter_raw():
            pass
    return time.perf_counter() - began


def _peak(api: Api) -> int:
    """Return the most bytes of memory that the service ever had."""
    assert api.process
    for line in Path(f"/proc/{api.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError("the events API has ended")


def _cvats_way(engine: Engine, last: str, file: Path, runs: int) -> tuple[list[float], int]:
    """Return the seconds of each run, and the most memory."""
    store = engine.store
    seconds, memory = [], 0
    for _ in range(runs):
        done = subprocess.run(
            [
                sys.executable, "-m", "benchmarks.export.cvats_way",
                "127.0.0.1", str(store.http_port), histories.STOCK, last, str(file),
            ],
            input=store.context.secrets["clickhouse_admin"] + "\n", capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise BenchmarkError(f"CVAT's way: {tail(done.stderr)}")
        said = json.loads(done.stdout)
        seconds.append(said["seconds"])
        memory = max(memory, said["memory"])
        file.unlink()
    return seconds, memory
