"""Names of people, and how long they are kept: `known_names` remembers the latest of each id (clickhouse/views/names.sql)."""

from __future__ import annotations

from datetime import timedelta

OF_PEOPLE = "kind IN ('user', 'email')"
"""The condition on `known_names` for what is a person's: projects, tasks and organizations keep their names."""


def told_at(state: str) -> str:
    """Return the expression for the time that a name's state holds, in seconds: when an event has told the name last.

    Nothing in SQL gives out what argMax goes by. A state is the name (its length in four bytes, the text, a zero), one byte, and the
    time in eight bytes: https://github.com/ClickHouse/ClickHouse/blob/master/src/AggregateFunctions/SingleValueData.cpp
    """
    text = f"unhex(hex({state}))"
    milliseconds = (
        f"reinterpretAsInt64(substring({text}, 6 + reinterpretAsUInt32(substring({text}, 1, 4)), 8))"
    )
    return f"toDateTime(greatest(0, intDiv({milliseconds}, 1000)), 'Etc/UTC')"


def ttl(keep: timedelta) -> str:
    """Return what is to follow TTL, as ClickHouse writes it, for people's names that go `keep` after an event has told them last."""
    return f"told_at + toIntervalSecond({int(keep.total_seconds())}) WHERE {OF_PEOPLE}"


def ends(database: str) -> str:
    """Return a subquery with a row for each name and e-mail address of a person: `told_at`, when it has been told last.

    It reads a table that an earlier version has made, too, which has no such column.
    """
    return f"(SELECT max({told_at('name')}) AS told_at FROM {database}.known_names WHERE {OF_PEOPLE} GROUP BY kind, id)"
