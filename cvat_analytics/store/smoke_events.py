"""The events of smoke tests: they take the way of all events, and lie apart in the table, in a month of their own.

Nothing happens in that month, whatever the clock: no default of a clock, no overflow and no roll-over of a counter lies in it. So its
partition holds smoke tests' events alone, what is asked of a time range never sees them, and what is derived from events (counts,
working time, who is silent) leaves that month out.

They are taken away without a mutation, which would need room on the disk: part by part, each only after its rows were looked at.
A part never changes, so that what is dropped by its name is what was looked at, and an event that comes meanwhile is in another.
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cvat_analytics.connect.clickhouse_errors import STORE, answered_rows, explained

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MONTH = datetime(2075, 2, 1, tzinfo=UTC)
END = datetime(2075, 3, 1, tzinfo=UTC)
PARTITION = f"{MONTH:%Y%m}"
NOT_IN_MONTH = f"toYYYYMM(timestamp) != {PARTITION}"
"""What is true of every other event, as SQL. In clickhouse/, dashboards and alerts it is written out."""

LETTER = "cvat-analytics smoke test"
"""The dead letter of smoke tests, always the same: one row stays of it, which no list and no count shows."""

IN_USE_SECONDS = 20
"""So long a smoke test that is still running may want to read what it has sent: longer than it waits for it."""

_WORD = "smoke-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
IS_SMOKE = f"(match(ifNull(user_email, ''), '^{_WORD}') OR match(ifNull(payload, ''), '\"{_WORD}\"'))"
"""What is true of an event that a smoke test of this version or an earlier one has sent, as SQL. Earlier ones lie among all others."""


def is_of_smoke_test(line: bytes) -> bool:
    """Return the same of a line of the journal."""
    if b"smoke-" not in line:
        return False
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    name, payload = str(row.get("user_email") or ""), str(row.get("payload") or "")
    return bool(re.match(_WORD, name) or re.search(f'"{_WORD}"', payload))


def new_marker() -> str:
    """Return a word by which the events of one run are known: at the beginning of `user_email`, or their request's id."""
    return f"smoke-{uuid.uuid4()}"


def moment(now: datetime) -> datetime:
    """Return a moment of the month, another one for every `now`, so that no two runs send the same event."""
    return MONTH + (now - MONTH) % timedelta(days=28)


@explained(STORE)
def remove(client: Client, database: str, marker: str) -> None:
    """Drop what smoke tests have left: this run's events, and those of others that nobody waits for any more.

    Where a part holds anything else, it stays as it is. Raises CvatAnalyticsError.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    query = (
        f"SELECT _part FROM {database}.events WHERE _partition_id = '{PARTITION}' GROUP BY _part "
        f"HAVING min({IS_SMOKE} AND (position(ifNull(user_email, ''), {{marker:String}}) > 0 OR position(ifNull(payload, ''), {{marker:String}}) > 0 "
        f"OR received_at < now() - {IN_USE_SECONDS})) "
        "SETTINGS final = 0"
    )
    for _ in range(5):
        parts = answered_rows(client, query, {"marker": marker})
        try:
            for (part,) in parts:
                client.command(f"ALTER TABLE {database}.events DROP PART '{part}'")
        except DatabaseError as error:
            # it was merged with another one meanwhile
            if getattr(error, "name", None) != "NO_SUCH_DATA_PART":
                raise
        else:
            return
