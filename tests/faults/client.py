"""The producer: CVAT's own client, as a CVAT server runs it, in a process of its own that can be killed.

    python -m tests.faults.client --port 8282 --queue queue.sqlite --count sent --first 10000000 --rate 50

Its queue is the client library's sqlite file, which outlives the process. SIGTERM: make no more events, send what the
queue holds, then end.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from logstash_async.constants import constants
from logstash_async.handler import AsynchronousLogstashHandler
from logstash_async.transport import HttpTransport

# What CVAT sets (shared by its server and its workers): small requests, sent soon
constants.QUEUED_EVENTS_BATCH_SIZE = 10
constants.QUEUED_EVENTS_FLUSH_COUNT = 10
constants.QUEUED_EVENTS_FLUSH_INTERVAL = 2.0
constants.QUEUE_CHECK_INTERVAL = 0.25

TIMEOUT = 5.0
"""Seconds that the client waits for an answer (the library's own default)."""
SCOPES = ("draw:object", "change:frame", "save:job", "zoom:image", "update:job", "resize:object")
MALFORMED_EVERY = 25
"""Every so many events, one that must become a dead letter."""


def make(number: int) -> dict[str, Any]:
    """Return the event with `number` (its obj_id), as CVAT sends one; some are malformed."""
    event: dict[str, Any] = {
        "scope": SCOPES[number % len(SCOPES)],
        "obj_name": None,
        "obj_id": number,
        "obj_val": None,
        "source": "client",
        "timestamp": f"{time.time():.6f}",
        "count": None,
        "duration": number % 1000,
        "project_id": 1 + number % 3,
        "task_id": 1 + number % 7,
        "job_id": 1 + number % 11,
        "user_id": 1 + number % 5,
        "user_name": f"annotator{number % 5}",
        "user_email": f"annotator{number % 5}@example.org",
        "org_id": 1,
        "org_slug": "faults",
        "payload": json.dumps({"client_id": "1", "frame": number % 100, "text": "événement " + "x" * 80}),
    }
    if is_malformed(number):
        event[("count", "task_id", "timestamp")[number // MALFORMED_EVERY % 3]] = -1
    return event


def is_malformed(number: int) -> bool:
    """Return whether the event with `number` must become a dead letter."""
    return number % MALFORMED_EVERY == 0


def waiting(queue: str) -> int:
    """Return how many events the queue in the file `queue` holds."""
    with sqlite3.connect(queue, timeout=10) as database:
        (count,) = database.execute("SELECT count(*) FROM event WHERE pending_delete = 0").fetchone()
    database.close()
    return int(count)


def connected(host: str, port: int, queue: str) -> tuple[logging.Logger, AsynchronousLogstashHandler]:
    """Return the logger that CVAT gives its events to, and what sends them."""
    transport = HttpTransport(host, port, timeout=TIMEOUT, ssl_enable=False, ssl_verify=False)
    handler = AsynchronousLogstashHandler(host, port, database_path=queue, transport=transport)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("vector")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    # the library's own complaints about refused requests are what is wanted here, not news
    logging.getLogger("LogProcessingWorker").setLevel(logging.CRITICAL)
    return logger, handler


def finish(handler: AsynchronousLogstashHandler, left: Callable[[], int]) -> None:
    """Send until nothing is `left`."""
    worker = AsynchronousLogstashHandler._worker_thread
    while worker is not None and (not worker._queue.empty() or left()):
        handler.flush()
        time.sleep(0.1)
    handler.close()


def main() -> int:
    """Send events until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--queue", required=True, help="the client's sqlite file")
    parser.add_argument("--count", required=True, help="file in which the number of events made is kept")
    parser.add_argument("--first", type=int, required=True, help="number of the first event")
    parser.add_argument("--rate", type=float, required=True, help="events per second")
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    logger, handler = connected(options.host, options.port, options.queue)
    counter = os.open(options.count, os.O_WRONLY | os.O_CREAT, 0o600)
    began, made, parent = time.monotonic(), 0, os.getppid()
    while os.getppid() == parent and not stop.wait(max(0.0, began + made / options.rate - time.monotonic())):
        logger.info(json.dumps(make(options.first + made)))
        made += 1
        os.pwrite(counter, b"%012d" % made, 0)
    finish(handler, lambda: waiting(options.queue))
    return 0


if __name__ == "__main__":
    sys.exit(main())
