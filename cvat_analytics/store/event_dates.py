"""Which dates an event can have, and what becomes of one with another date: a dead letter, whole, so that nothing counts it for that time.

templates/vector/normalise.vrl has the same rule for what arrives, and a migration for what had arrived before there was a rule.
"""

from __future__ import annotations

from collections.abc import Iterable

from cvat_analytics.store.smoke_events import NOT_IN_MONTH

REASON = "implausible date"
FIRST_DAY = 20180101
"""Before that (as yyyymmdd) there was no CVAT."""
_BEFORE = "timestamp < toDateTime64('2018-01-01 00:00:00', 3, 'UTC')"
IMPLAUSIBLE = f"({_BEFORE} OR timestamp > now64(3) + INTERVAL 1 DAY AND {NOT_IN_MONTH})"
"""What is true, as SQL, of an event that arrives now with a date that cannot be."""


def letters(database: str, columns: Iterable[str], events: str) -> str:
    """Return the statement that makes a dead letter of each of `events`, rows with these `columns` (SQL, from behind FROM).

    The same events again are the same letters.
    """
    return (
        f"INSERT INTO `{database}`.incoming_dead_letters (received_at, reason, message, original) SELECT now64(3), '{REASON}', "
        f"if({_BEFORE}, 'before 2018, when there was no CVAT', 'more than a day after it arrived'), "
        f"formatRowNoNewline('JSONEachRow', {', '.join(columns)}) FROM {events}"
    )
