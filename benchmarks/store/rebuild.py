"""`python -m benchmarks.store.rebuild`: how long it takes to rebuild an installed event table while events come in.

The table is one of the versions before, with 16 bits for `count`. What this prints is in docs/why/store.md.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import click

from benchmarks.store import histories
from benchmarks.store.engine import Engine
from cvat_analytics.store import rebuild
from tests.clickhouse import Store, former_table, running

DATABASE = "installed"


class Ingest(threading.Thread):
    """A busy installation meanwhile: 100 events a request, five requests a second."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store, self._stop_it = store, threading.Event()
        self.seconds: list[float] = []

    def run(self) -> None:
        """Send until it is told to stop."""
        while not self._stop_it.wait(0.2):
            first = 100 * len(self.seconds)
            events = [former_table.event(first + number) for number in range(100)]
            begin = time.monotonic()
            former_table.insert(self._store, DATABASE, events)
            self.seconds.append(time.monotonic() - begin)

    def stop(self) -> None:
        """Let it end."""
        self._stop_it.set()
        self.join()


def measure(store: Store, events: int) -> None:
    """Fill a table with about `events`, rebuild it, and print what that took."""
    engine = Engine(store)
    former_table.make(store, DATABASE)
    seconds = histories.load(engine, 0, events // histories.SESSION_EVENTS, f"{DATABASE}.events")
    size, rows = engine.bytes(DATABASE, "events")
    click.echo(f"{rows:,} events, {size / 2**20:,.0f} MiB, inserted in {seconds:.0f} s")
    ask = former_table.ask(store)
    ingest = Ingest(store)
    ingest.start()
    begin, kinds = time.monotonic(), dict[str, float]()
    for statement in rebuild.steps(former_table.SCRIPTS, DATABASE, ask, click.echo):
        before = time.monotonic()
        store.post(statement, database=DATABASE)
        kind = statement.split()[0]
        kinds[kind] = kinds.get(kind, 0) + time.monotonic() - before
    took = time.monotonic() - begin
    ingest.stop()
    click.echo(
        f"rebuilt in {took:.0f} s, {rows / took:,.0f} events a second; statements: {json.dumps(kinds)}"
    )
    click.echo(f"inserts meanwhile: {len(ingest.seconds)}, median {statistics.median(ingest.seconds) * 1000:.0f} ms, longest {max(ingest.seconds) * 1000:.0f} ms")  # fmt: skip
    click.echo(
        f"inserted in all: {former_table.value(store, f'SELECT count() FROM {DATABASE}.events FINAL')}"
    )


@click.command()
@click.option("--events", default=20_000_000, show_default=True)
def main(events: int) -> None:
    """Measure on an engine of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        running(Path(directory), memory_profile="medium", clickhouse_memory_limit=8 * 2**30) as store,
    ):
        measure(store, events)


if __name__ == "__main__":
    main()
