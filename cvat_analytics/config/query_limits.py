"""How long a query of whom may run, and how many at the same time: what ClickHouse allows and what its clients ask for.

A limit of a user refuses at once, it lets nobody wait (ClickHouse's `max_concurrent_queries_for_user`). So whoever asks as that
user keeps below it and waits by themselves: Grafana's plugin and the viewer with a pool of connections, the events API with places.
"""

from __future__ import annotations

from typing import NamedTuple

READERS = ("grafana", "events_api", "cvat")
"""The users of ClickHouse that read: each has the settings `NAME_max_queries` and `NAME_memory_percent`."""

LEAST = {"grafana": 3, "events_api": 6}
"""The fewest queries with which a host of that group can do its work; hosts of one group share its user's limit."""

RESERVED_QUERIES = 12
"""What readers together leave of ClickHouse's queries: Vector's sinks take three, background work (refreshable views) as many, a
deploy, `status` and an administrator the rest."""

RESERVED_PERCENT = 20
"""What readers together leave of ClickHouse's memory: inserts, merges and caches live in it."""

READER_NICE = 10
"""Linux' nice value of the threads that read, and of those that merge: a thread that inserts, at 0, weighs as much as nine of them."""

READER_SECONDS = 60
"""The longest query of a dashboard that ClickHouse allows."""

EXPORT_SECONDS = 3600
"""The longest query of the events API that ClickHouse allows; it may be silent for as long (`api/clickhouse.py`)."""

DRIVER_SECONDS = 5
"""What the driver of Grafana's plugin adds to the time that is left: it sends `max_execution_time` = that sum with every query.

https://github.com/ClickHouse/clickhouse-go/blob/v2.47.0/context.go (queryOptions)
"""

PLUGIN_SECONDS = READER_SECONDS - 2 * DRIVER_SECONDS
"""After which the plugin gives a query up. What its driver makes of it lies below what ClickHouse allows."""

PLUGIN_DIAL_SECONDS = 10
"""How long the plugin waits for a connection."""


def connections(most: int) -> int:
    """Return how many connections a pool may have whose user may run `most` queries.

    A query that its reader has given up runs on for a moment while the pool opens another connection in its place.
    """
    return most * 2 // 3


WAIT_SECONDS = 30
"""How long a request to the events API waits for a place."""


class Places(NamedTuple):
    """How many queries the events API runs at the same time, by kind: what takes long takes no place of what is short."""

    exports: int
    streams: int
    questions: int


def places(most: int) -> Places:
    """Return the events API's places, where its user may run `most` queries (at least 6); some are left as in `connections`."""
    exports, streams, spare = min(4, max(1, most * 4 // 15)), most * 2 // 5, max(1, most // 8)
    return Places(exports, streams, most - exports - streams - spare)
