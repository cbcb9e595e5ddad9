"""What is asked: the stock dashboards' kind of queries on the stock table, our dashboards' own, and look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from benchmarks.store.engine import Engine
from benchmarks.store.histories import STOCK
from cvat_analytics import dashboards
from cvat_analytics.dashboards import Panel, TimeRange


@dataclass(frozen=True)
class Pair:
    """A query of a stock dashboard, and where our dashboards answer the same question."""

    name: str
    sql: str
    ours: str


_RANGE = "timestamp BETWEEN fromUnixTimestamp64Milli({start}) AND fromUnixTimestamp64Milli({end})"

PAIRS = (
    Pair(
        "Management table",
        f"""SELECT user_id, user_name, project_id, task_id, job_id,
  sum(JSONExtractUInt(payload, 'working_time')) / 3600000 AS hours, count() AS activity
FROM {STOCK} WHERE {_RANGE} GROUP BY ALL ORDER BY hours DESC LIMIT 10000""",
        "Management: Working time",
    ),
    # the server's numbers are not what raw events show: this is what our table answers, asked of raw events
    Pair(
        "Management table, time computed from raw events",
        f"""SELECT user_id, user_name, project_id, task_id, job_id, sum(added) / 3600000 AS hours, count() AS activity
FROM (
  SELECT user_id, user_name, toUnixTimestamp64Milli(timestamp) AS begin, begin + if(scope = 'change:frame', duration, 0) AS finish,
    max(finish) OVER (PARTITION BY user_id ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS furthest,
    lagInFrame(project_id) OVER w AS project_id, lagInFrame(task_id) OVER w AS task_id, lagInFrame(job_id) OVER w AS job_id,
    if(begin > furthest AND begin - furthest < 100000, begin - furthest, 0) + greatest(0, finish - greatest(begin, furthest)) AS added
  FROM {STOCK} WHERE {_RANGE} AND source = 'client'
  WINDOW w AS (PARTITION BY user_id ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
) GROUP BY ALL ORDER BY hours DESC LIMIT 10000""",
        "Management: Working time",
    ),
    Pair(
        "Working time per user for a month",
        f"""SELECT user_id, user_name, sum(JSONExtractUInt(payload, 'working_time')) / 3600000 AS hours
FROM {STOCK} WHERE timestamp BETWEEN fromUnixTimestamp64Milli({{end}}) - INTERVAL 1 MONTH AND fromUnixTimestamp64Milli({{end}})
GROUP BY ALL ORDER BY hours DESC""",
        "Working time per user for a month",
    ),
    # the time range of the dashboard plays no part
    Pair(
        "Active users (now)",
        f"""SELECT uniqExact(user_id) FROM {STOCK}
GROUP BY toStartOfInterval(timestamp, INTERVAL 15 MINUTE) AS time ORDER BY time DESC LIMIT 1""",
        "Monitoring: Active users (now)",
    ),
    Pair(
        "Active users over time",
        f"SELECT toStartOfFifteenMinutes(timestamp) AS time, uniqExact(user_id) FROM {STOCK} WHERE {_RANGE} GROUP BY time ORDER BY time",
        "Monitoring: Active users",
    ),
    Pair(
        "Overall activity",
        f"SELECT toStartOfInterval(timestamp, INTERVAL {{interval}} SECOND) AS time, count() FROM {STOCK} WHERE {_RANGE} GROUP BY time ORDER BY time",
        "All events: Overall activity",
    ),
    Pair(
        "User activity",
        f"SELECT toStartOfInterval(timestamp, INTERVAL {{interval}} SECOND) AS time, user_name, count() FROM {STOCK} WHERE {_RANGE} GROUP BY time, user_name ORDER BY time",
        "Management: User activity",
    ),
    Pair(
        "All events, newest first",
        f"SELECT * FROM {STOCK} WHERE {_RANGE} ORDER BY timestamp DESC LIMIT 5000",
        "All events: All events",
    ),
    *(
        Pair(
            f"All events, newest first, {what}",
            f"SELECT * FROM {STOCK} WHERE {_RANGE} AND {condition} ORDER BY timestamp DESC LIMIT 5000",
            f"All events: All events, {what}",
        )
        for what, condition in (("one user", "user_id = 1"), ("one scope", "scope = 'create:shapes'"))
    ),
    Pair(
        "Number of events",
        f"SELECT scope, source, count() AS events FROM {STOCK} WHERE {_RANGE} GROUP BY scope, source ORDER BY events DESC",
        "Monitoring: Number of events",
    ),
    Pair(
        "Exceptions over time",
        f"SELECT toStartOfInterval(timestamp, INTERVAL {{interval}} SECOND) AS time, count() FROM {STOCK} WHERE {_RANGE} AND scope = 'send:exception' GROUP BY time ORDER BY time",
        "Monitoring: Exceptions",
    ),
    Pair(
        "Operating systems",
        f"SELECT JSONExtractString(payload, 'platform', 'os') AS system, count() FROM {STOCK} WHERE {_RANGE} AND scope = 'load:cvat' GROUP BY system",
        "All events: Operating systems",
    ),
    Pair(
        "Browsers",
        f"SELECT JSONExtractString(payload, 'platform', 'name') AS browser, count() FROM {STOCK} WHERE {_RANGE} AND scope = 'load:cvat' GROUP BY browser",
        "All events: Browsers",
    ),
    Pair(
        "Durations by scope",
        f"SELECT scope, source, avg(duration), quantileExact(0.95)(duration), min(duration), max(duration) FROM {STOCK} WHERE {_RANGE} AND duration > 0 GROUP BY scope, source",
        "Monitoring: Duration of events",
    ),
    Pair(
        "Exceptions table",
        f"""SELECT timestamp, user_id, user_name, source, project_id, task_id, job_id,
  JSONExtractString(payload, 'message') AS error, JSONExtractString(payload, 'stack') AS stack, payload
FROM {STOCK} WHERE {_RANGE} AND scope = 'send:exception' ORDER BY timestamp DESC LIMIT 1000""",
        "Monitoring: Exceptions table",
    ),
)


FILTERED = {
    "All events: All events": {"one user": {"users": ("1",)}, "one scope": {"scopes": ("create:shapes",)}}
}
"""What panels are asked for besides: by name of the panel, with these values of the dashboard's filters."""


def stock(pair: Pair, span: TimeRange) -> str:
    """Return the stock query for a time range."""
    return pair.sql.format(
        start=round(span.start.timestamp() * 1000),
        end=round(span.end.timestamp() * 1000),
        interval=int(span.interval(1000).total_seconds()),
    )


def ours(span: TimeRange) -> dict[str, str]:
    """Return the SQL of every panel of our dashboards, by "dashboard: panel", and of every filter, by "dashboard: $filter"."""
    found = {}
    for dashboard in dashboards.load():
        for variable in dashboard.variables.values():
            if variable.query:
                found[f"{dashboard.title}: ${variable.name}"] = dashboards.expand(
                    variable.query, dashboard, span
                )
        for panel in dashboard.panels:
            for query in panel.queries:
                name = f"{dashboard.title}: {panel.title}"
                if name in found:
                    name += f" ({query.ref_id})"
                found[name] = dashboards.expand(query, dashboard, span, interval=interval_of(panel, span))
                for what, values in FILTERED.get(name, {}).items():
                    found[f"{name}, {what}"] = dashboards.expand(query, dashboard, span, values=values)
    return found


def interval_of(panel: Panel, span: TimeRange) -> timedelta:
    """Return the width of one interval of a panel: a thousand fill a wide screen, and some panels ask for no more than a few."""
    return span.interval(panel.model.get("maxDataPoints") or 1000)


def reports(span: TimeRange) -> dict[str, str]:
    """Return what is asked beside the dashboards: working time per user, of the month before the end of the time range."""
    day = f"{span.end:%Y-%m-%d}"
    return {
        "Working time per user for a month": "SELECT user_id, names.name, hours, reported FROM (SELECT user_id, sum(computed_ms) / 3600000 AS hours, "
        "sum(reported_ms) / 3600000 AS reported FROM working_time "
        f"WHERE day > toDate('{day}') - INTERVAL 1 MONTH AND day <= toDate('{day}') GROUP BY user_id) AS worked "
        "LEFT JOIN user_names AS names ON names.user_id = worked.user_id ORDER BY hours DESC"
    }


def fixed_costs(engine: Engine) -> dict[str, str]:
    """Return queries that read nothing, or nearly: what is left of any answer's time however good the table is."""
    (last,) = [span for name, span in spans(engine).items() if name == "7 days"]
    empty = TimeRange(last.start - timedelta(days=3650), last.end - timedelta(days=3650))
    return {"SELECT 1": "SELECT 1"} | {
        f"{name}, over no events": ours(empty)[name]
        for name in ("Management: Working time", "Monitoring: Number of events")
    }


LOOK_UPS = {
    "one request id": "SELECT * FROM events WHERE request_id = '{request}' ORDER BY timestamp",
    "one job": "SELECT * FROM events WHERE job_id = {job} ORDER BY timestamp",
    "one task": "SELECT * FROM events WHERE task_id = {task} ORDER BY timestamp LIMIT 5000",
    "one user": "SELECT toDate(timestamp) AS day, count(), sum(duration) FROM events WHERE user_id = {user} GROUP BY day",
}


def look_ups(engine: Engine) -> Mapping[str, str]:
    """Return the look-ups, for ids of an event from the middle of the history."""
    moment = engine.value(
        "SELECT toDateTime(intDiv(toUnixTimestamp(min(timestamp)) + toUnixTimestamp(max(timestamp)), 2)) FROM events"
    )
    (ids,) = engine.ask(
        f"""SELECT request_id, job_id, task_id, user_id FROM events
WHERE scope = 'create:shapes' AND timestamp BETWEEN toDateTime('{moment}') - INTERVAL 4 DAY AND toDateTime('{moment}') + INTERVAL 4 DAY
ORDER BY timestamp LIMIT 1"""
    ).cells
    names = dict(zip(("request", "job", "task", "user"), ids, strict=True))
    return {name: sql.format(**names) for name, sql in LOOK_UPS.items()}


def spans(engine: Engine) -> Mapping[str, TimeRange]:
    """Return the time ranges that are asked for: the last 7 days of the history, and all of it."""
    first, last = (
        datetime.fromisoformat(f"{text}+00:00")
        for text in engine.ask("SELECT min(timestamp), max(timestamp) FROM events").cells[0]
    )
    return {"7 days": TimeRange(last - timedelta(days=7), last), "everything": TimeRange(first, last)}
