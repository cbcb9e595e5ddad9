"""By which code what `status` says of a part is looked up: that of the cause where its line tells it, otherwise that of the part's state."""

from __future__ import annotations

from cvat_analytics.base.codes import Code
from cvat_analytics.checks.health import State

STATES: dict[State, Code] = {
    "stopped": Code.PART_STOPPED,
    "not answering": Code.PART_NOT_ANSWERING,
    "failing": Code.PART_FAILING,
}
"""None for `not asked`: why is said once, of its host."""
LINES = {
    "takes nothing: its disk": Code.DISK_FULL,
    "its certificate ends on": Code.CERTIFICATE_ENDS,
    "no client accepts its certificate": Code.CERTIFICATE_ENDS,
    "LETS STRANGERS IN": Code.RIGHT_TOO_WIDE,
    "lets nobody in: ": Code.CVAT_AWAY,
    "lacks what it needs": Code.CLICKHOUSE_RIGHT,
    "ClickHouse refuses it, and all events wait": Code.CLICKHOUSE_LOGIN,
    "ClickHouse refuses a Vector": Code.CLICKHOUSE_LOGIN,
    "no dashboard shows anything": Code.DATASOURCE_FAILS,
    "its datasource does not answer": Code.DATASOURCE_FAILS,
    "a mutation of its table": Code.BACKGROUND_WORK,
    "the parts of its table": Code.BACKGROUND_WORK,
    "its view ": Code.BACKGROUND_WORK,
    "nothing comes into ": Code.SCHEMA_BEHIND,
    ".timer is ": Code.TIMER_OFF,
    ".service is ": Code.UNIT_WRONG,
}
"""By words that health.py, work.py and units.py use in a line about this cause."""


def of_line(state: State, line: str) -> Code | None:
    """Return the code of one line about a part; None where nothing is wrong."""
    return next((code for words, code in LINES.items() if words in line), STATES.get(state))
