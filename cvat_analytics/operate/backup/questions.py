"""What the agent makes of a restored database, which it cannot know itself: the schema's scripts, and the dashboards' queries."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations

_SPAN = timedelta(days=30)
_END = datetime.fromtimestamp(1_987_654_321, UTC)
"""An instant that stands in no query but for the end of the time range: the agent puts another one in its place."""


def text() -> str:
    """Return the file that the agent reads (`checks` of its configuration)."""
    from cvat_analytics import dashboards
    from cvat_analytics.dashboards import TimeRange

    span = TimeRange(_END - _SPAN, _END)
    queries = {
        query.where: dashboards.expand(query, dashboard, span)
        for dashboard in dashboards.load()
        for query in dashboard.queries
    }
    scripts = [
        {
            "name": script.name,
            "checksum": script.checksum,
            "statements": [_quiet(each) for each in migrations.statements(script.sql)],
        }
        for script in migrations.read(ROOT / "clickhouse")
    ]
    end, begin = int(_END.timestamp()), int((_END - _SPAN).timestamp())
    return json.dumps({"begin": begin, "end": end, "scripts": scripts, "queries": queries}, indent=1) + "\n"


def _quiet(statement: str) -> str:
    """Return a statement that makes no background work: beside the live database nobody needs its results."""
    return re.sub(r"REFRESH EVERY \d+ SECOND( DEPENDS ON \S+)?", "REFRESH EVERY 1 YEAR", statement)
