"""Readers at their limits: as many queries as ClickHouse lets each reading user run, for as long as something else is measured."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.pipeline.rig import Rig
from benchmarks.report import BenchmarkError
from cvat_analytics.config.query_limits import READERS

_ENDLESS = "SELECT number FROM numbers_mt(100000000000) ORDER BY sipHash64(number) LIMIT 1000 FORMAT Null"
"""It scans and sorts on as many cores as a query may have, until it is ended: the worst that readers can do to an insert."""
_RUNNING = f"SELECT count() FROM system.processes WHERE query LIKE '{_ENDLESS}%'"


@contextmanager
def readers(stage: Rig) -> Iterator[int]:
    """Keep every reader at its limit, and yield how many queries that are. Raises BenchmarkError where they do not get there."""
    settings, access = stage.running.context().settings, stage.running.access()
    most = {user: int(getattr(settings, f"{user}_max_queries")) for user in READERS}
    done = threading.Event()

    def read(user: str) -> None:
        # each has a connection of its own; the driver's pool has fewer for all together
        while not done.is_set():
            connection = http.client.HTTPConnection(*access.clickhouse.address)
            headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": access.secrets[f"clickhouse_{user}"]}
            try:
                connection.request("POST", "/", _ENDLESS, headers)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            done.wait(0.1)  # its time is over, or there is one too many for a moment

    threads = [
        threading.Thread(target=read, args=[user], daemon=True)
        for user, number in most.items()
        for _ in range(number)
    ]
    for each in threads:
        each.start()
    try:
        deadline = time.monotonic() + 60
        while (running := stage.client.query(_RUNNING).result_rows[0][0]) < len(threads):
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{running} of {len(threads)} readers' queries run")
            time.sleep(0.1)
        yield len(threads)
    finally:
        done.set()
        users = ", ".join(f"'{user}'" for user in READERS)
        stage.client.command(f"KILL QUERY WHERE user IN ({users}) SYNC")
        for each in threads:
            each.join()
