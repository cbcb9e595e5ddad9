"""What a choice of filters shows: the panels' rows from the engine, and in Python the events that they must be made of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from cvat_analytics.dashboards import Dashboard, TimeRange, Values, expand
from tests.clickhouse import Store
from tests.dashboards.events import RANGE, Event, time_of

_COLUMNS = {
    "scopes": lambda event: event["scope"],
    "sources": lambda event: event["source"],
    "users": lambda event: event["user_id"],
    "projects": lambda event: event["project_id"],
    "tasks": lambda event: event["task_id"],
    "jobs": lambda event: event["job_id"],
    "organizations": lambda event: event["org_id"],
    "errors": lambda event: payload(event).get("message", ""),
}
"""What a filter looks at."""


class Shown:
    """One dashboard with one choice of time, interval and filters."""

    def __init__(
        self,
        store: Store,
        dashboard: Dashboard,
        events: list[Event],
        values: Values,
        time_range: TimeRange = RANGE,
        interval: timedelta = timedelta(hours=1),
    ) -> None:
        self.store, self.dashboard, self.events = store, dashboard, events
        self.range, self.interval = time_range, interval
        self.values = {name: value for name, value in values.items() if name in dashboard.variables}

    def sql(self, title: str, query: int = 0) -> str:
        """Return what one query of the panel `title` asks."""
        panel = next(panel for panel in self.dashboard.panels if panel.title == title)
        return expand(
            panel.queries[query], self.dashboard, self.range, interval=self.interval, values=self.values
        )

    def rows(self, title: str, query: int = 0) -> list[dict[str, Any]]:
        """Return the rows of one query of the panel `title`."""
        return self.store.rows(self.sql(title, query))

    def options_sql(self, name: str) -> str:
        """Return what is asked for that which the filter `name` offers."""
        query = self.dashboard.variables[name].query
        assert query is not None
        return expand(query, self.dashboard, self.range, values=self.values)

    def options(self, name: str) -> list[list[str]]:
        """Return what the filter `name` offers."""
        return [list(row.values()) for row in self.store.rows(self.options_sql(name))]

    def chosen(self, *ignored: str) -> list[Event]:
        """Return the events that the time range and the filters leave, but for the `ignored` filters."""
        return [
            event
            for event in self.events
            if self.range.start <= time_of(event) <= self.range.end and self.fits(event, *ignored)
        ]

    def fits(self, event: Event, *ignored: str) -> bool:
        """Return whether an event fits the filters."""
        return all(
            str(_COLUMNS[name](event)) in value
            for name, value in self.values.items()
            if name in _COLUMNS and name not in ignored
        )


def payload(event: Event) -> dict[str, Any]:
    """Return an event's payload; what is not JSON is empty."""
    try:
        return dict(json.loads(event["payload"]))
    except (TypeError, ValueError):
        return {}


def beginning(text: str | None) -> str | None:
    """Return what a table shows of a payload."""
    return text if text is None or len(text) <= 1000 else text[:1000] + "…"


def request_id(event: Event) -> str:
    """Return the id of the request that caused an event, from its newer or its older place."""
    content = payload(event)
    return str(content.get("request", {}).get("id") or content.get("request_id") or "")


def names(events: Iterable[Event], kind: str) -> dict[int, str]:
    """Return the latest known name of each project or task."""
    known: dict[int, str] = {}
    for event in sorted(events, key=time_of):
        if event["scope"] == f"create:{kind}":
            name = event["obj_name"]
        elif event["scope"] == f"update:{kind}" and event["obj_name"] == "name":
            name = event["obj_val"]
        else:
            continue
        if event[f"{kind}_id"] is not None:
            known[event[f"{kind}_id"]] = name
    return known


def buckets(events: Iterable[Event], width: timedelta) -> dict[str, int]:
    """Return the number of events by the start of their interval, as ClickHouse writes it."""
    return dict(sorted(Counter(bucket(time_of(event), width) for event in events).items()))


def bucket(time: datetime, width: timedelta) -> str:
    """Return the start of the interval that `time` is in."""
    seconds = width.total_seconds()
    return f"{datetime.fromtimestamp(time.timestamp() // seconds * seconds, time.tzinfo):%Y-%m-%d %H:%M:%S}"


def system_rows(store: Store, sql: str) -> list[dict[str, Any]]:
    """Return what the administrator reads, from the system's own tables too."""
    answer = json.loads(store.post(sql))
    columns = [column["name"] for column in answer["meta"]]
    return [dict(zip(columns, row, strict=True)) for row in answer["data"]]


def first_value(store: Store, dashboard: Dashboard, title: str, database: str) -> Any:
    """Return the number that the panel `title` shows over another database, now."""
    (query,) = next(panel for panel in dashboard.panels if panel.title == title).queries
    now = datetime.now(UTC)
    sql = expand(query, dashboard, TimeRange(now - timedelta(hours=1), now))
    return json.loads(store.post(sql, database=database))["data"][0][0]
