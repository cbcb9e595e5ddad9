"""CVAT's own client as a CVAT server runs it, with a queue that holds what a large server's may hold, and nothing answered yet.

    python -m tests.vector.large_client --port 8282 --queue queue.sqlite --shapes 24000 24000 600000

Makes one event of each number of shapes, between two small ones, and ends when the queue is empty. Prints a JSON line for
each request: its bytes, the status (0: no answer within the client's five seconds) and the seconds.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from typing import Any

import requests
from logstash_async.constants import constants

from tests.faults.client import connected, finish

# What CVAT sets
constants.QUEUED_EVENTS_BATCH_SIZE = 50
constants.QUEUED_EVENTS_FLUSH_COUNT = 50
constants.QUEUED_EVENTS_FLUSH_INTERVAL = 2.0
constants.QUEUE_CHECK_INTERVAL = 0.25

FIRST_ID = 10**9


def event(name: str, shapes: int) -> dict[str, Any]:
    """Return what CVAT makes of one save of that many shapes."""
    ids = [{"id": number} for number in range(FIRST_ID, FIRST_ID + shapes)]
    return {
        "scope": "create:shapes",
        "timestamp": "1733480873.184401",
        "source": "server",
        "payload": json.dumps({"shapes": ids, "request": {"id": "57df9a23-7c6e-493b-8813-2ee9bd439cb4"}}),
        "obj_name": name,
        "count": min(shapes, 65535),
        "user_id": 1,
        "user_name": "annotator",
    }


class Timed(requests.Session):
    """Prints what each request was answered."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        begin, status = time.monotonic(), 0
        try:
            response = super().send(request, **options)
            status = response.status_code
        finally:
            size = len(request.body or b"")
            print(json.dumps([size, status, round(time.monotonic() - begin, 2)]), flush=True)
        return response


def left(queue: str) -> int:
    """Return how many events the queue in the file `queue` has, those on their way included."""
    with sqlite3.connect(queue, timeout=10) as database:
        (count,) = database.execute("SELECT count(*) FROM event").fetchone()
    database.close()
    return int(count)


def main() -> None:
    """Fill the queue, then let the client empty it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--queue", required=True, help="the client's sqlite file")
    parser.add_argument("--shapes", type=int, nargs="+", required=True)
    options = parser.parse_args()
    requests.Session = Timed  # type: ignore[misc]
    logger, handler = connected("127.0.0.1", options.port, options.queue)
    for number, shapes in enumerate([0, *options.shapes, 0]):
        logger.info(json.dumps(event(f"event {number}", shapes)))
    finish(handler, lambda: left(options.queue))


if __name__ == "__main__":
    main()
