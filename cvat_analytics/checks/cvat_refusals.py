"""What ClickHouse has refused CVAT's own user for want of a right: a newer CVAT wants something, or somebody else has its password."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cvat_analytics.store.rights import Rows

_COLUMNS = re.compile(r"ALTER ADD COLUMN\((?P<columns>\w+(?:, \w+)*)\) ON \w+\.events")
_MOST = 3


@dataclass(frozen=True)
class CvatRefusal:
    """A right that CVAT's user lacked when it asked for something, in the last two days."""

    right: str
    """In ClickHouse's words, as in `ALTER ADD COLUMN(label_id) ON cvat.events`."""
    columns: Sequence[str]
    """Which columns it wanted to add to the event table; none: it wanted something else."""
    last: datetime
    times: int


_REFUSED = """
SELECT extract(text, '(?s)have the grant (.{1,200}?)(?:\\. \\(ACCESS_DENIED\\).*)?$') AS right, max(at) AS last, count()
FROM
(
    SELECT event_time AS at, exception AS text
    -- the log is there only when something has been written to it
    FROM merge(REGEXP('.'), '^(query_log|query_log_form)$')
    WHERE event_date >= today() - 2 AND user = 'cvat' AND exception_code = 497
    UNION ALL
    -- where there is no log (yet): the last error since the server's start
    SELECT last_error_time, last_error_message
    FROM system.errors
    WHERE name = 'ACCESS_DENIED' AND NOT remote AND startsWith(last_error_message, 'cvat: ') AND last_error_time >= today() - 2
        AND last_error_time > (SELECT max(event_time) FROM merge(REGEXP('.'), '^(query_log|query_log_form)$') WHERE event_date >= today() - 2 AND user = 'cvat' AND exception_code = 497)
)
WHERE right != ''
GROUP BY right
ORDER BY last DESC
"""


def look(rows: Rows, cvat_columns: Sequence[str]) -> list[CvatRefusal]:
    """Return what was refused, latest first, without what the setting `cvat_columns` has allowed since. `rows` asks as administrator."""
    found = []
    for right, last, times in rows(_REFUSED):
        match = _COLUMNS.fullmatch(right)
        columns = [each for each in match["columns"].split(", ") if each not in cvat_columns] if match else []
        if columns or not match:
            found.append(CvatRefusal(right, columns, last.astimezone(UTC), int(times)))
    return found[:_MOST]
