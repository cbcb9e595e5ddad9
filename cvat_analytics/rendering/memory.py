"""How much memory ClickHouse, its users and Vector may use on a host, chosen from what the host has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cvat_analytics.config.query_limits import READERS
from cvat_analytics.config.settings import Settings

GIB = 2**30
VECTOR_NEEDS = 3 * GIB // 2
"""What Vector has taken at most for one request of the largest size, with room for its neighbours (docs/reference/pipeline.md)."""


@dataclass(frozen=True)
class MemoryProfile:
    """ClickHouse's limits and Vector's, in bytes unless the name says otherwise."""

    name: str
    server_limit: int
    user_limits: Mapping[str, int]
    """Of all queries of a reading user together."""
    query_limits: Mapping[str, int]
    """Of one query of that user."""
    mark_cache: int
    uncompressed_cache: int
    background_pool_size: int
    vector_limit: int


def profile(settings: Settings, memory_bytes: int) -> MemoryProfile:
    """Return the limits for a host with `memory_bytes` of memory.

    `small` leaves half of a 4 GiB host to Vector, Grafana and the page cache. A `clickhouse_memory_limit` in the
    settings replaces the server's limit; a query never gets more than half of it, nor more than its user's share.
    """
    name = settings.memory_profile
    if name == "auto":
        name = "small" if memory_bytes <= 6 * GIB else "medium" if memory_bytes <= 24 * GIB else "large"
    share = {"small": 0.5, "medium": 0.6, "large": 0.75}[name]
    limit = settings.clickhouse_memory_limit or int(memory_bytes * share)
    users = {user: limit * int(getattr(settings, f"{user}_memory_percent")) // 100 for user in READERS}
    caches = {"small": 64, "medium": 512, "large": 2048}[name] * 2**20
    return MemoryProfile(
        name=name,
        server_limit=limit,
        user_limits=users,
        query_limits={user: min(limit // 2, share) for user, share in users.items()},
        mark_cache=min(caches, limit // 8),
        uncompressed_cache=min(caches, limit // 8) // 4,
        background_pool_size={"small": 2, "medium": 4, "large": 16}[name],
        vector_limit=max(memory_bytes // 4, VECTOR_NEEDS),
    )
