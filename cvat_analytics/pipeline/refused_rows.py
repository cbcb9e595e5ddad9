"""Rows that ClickHouse refuses each by itself: they become dead letters, so that they are kept and hold nothing up."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.connect.clickhouse_errors import error_text

REASON = "refused by ClickHouse"
"""The reason of such a letter. Its original is the row, which `dead-letters retry` sends through Vector again."""
MOST = 1000
"""So many rows of one batch are at fault themselves; of more, it is something else."""
_NOT_OF_A_ROW = {
    60, 81, 159, 160, 164, 192, 193, 202, 203, 209, 210, 236, 241, 242, 243, 252, 279, 394, 425, 497, 516, 999,
}  # fmt: skip
"""Errors that say nothing of the row: no table, no time, no memory, no space, no right, no connection."""


@dataclass
class Refused:
    """The rows of one batch that are refused. They are kept when all of them are known."""

    client: Client
    database: str
    rows: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, line: bytes, error: DatabaseError) -> None:
        """Take a row with what ClickHouse says of it. Raises `error` when that is not about the row, and CvatAnalyticsError
        when there are too many for it to be."""
        match = re.search(r"\bcode:? (\d+)", str(error), re.IGNORECASE)
        if match is None or int(match[1]) in _NOT_OF_A_ROW:
            raise error
        words = error_text(error)
        if len(self.rows) >= MOST:
            raise CvatAnalyticsError(
                Code.BATCH_REFUSED,
                f"ClickHouse refuses more than {MOST:,} rows of one batch, the last one with: {words}. That is not about single rows: put "
                "right what it names, then run the same command again. None of this batch became a dead letter",
            )
        self.rows.append((line, words))

    def keep(self) -> int:
        """Make dead letters of the rows and return their number; the same rows again are the same letters."""
        if self.rows:
            now = datetime.now(UTC)
            self.client.insert(
                f"{self.database}.incoming_dead_letters",
                [(now, REASON, words, *_apart(line)) for line, words in self.rows],
                column_names=["received_at", "reason", "message", "original", "sender"],
            )
        return len(self.rows)


def _apart(line: bytes) -> tuple[str, str]:
    """Return the event of a line of the journal, and its sender: no field of the event when it is sent again."""
    text = line.decode(errors="replace")
    try:
        row = json.loads(text)
        sender = row.pop("sender")
    except (ValueError, KeyError, AttributeError):  # of before senders were kept, or no object
        return text, ""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")), str(sender)
