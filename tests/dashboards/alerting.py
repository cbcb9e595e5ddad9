"""The rendered rules of the alerts, what their queries find at a time, and rows to find."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from cvat_analytics.config.settings import Settings
from cvat_analytics.dashboards import Dashboard, Query, TimeRange, expand
from cvat_analytics.rendering import alerts, render
from tests.clickhouse import Store, context

NAMES = [rule.name for rule in alerts.rules(Settings())]
NO_DASHBOARD = Dashboard("", "", Path(), (), {}, {})
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
MONDAY = TODAY - timedelta(days=TODAY.weekday() + 7)
"""Last week's: what Vector said of itself is kept for 30 days only."""


def rendered(**settings: Any) -> dict[str, Any]:
    made = context(Path("/nowhere"), **settings)
    (file,) = render.alerts_off(made)
    document = yaml.safe_load(file.content)
    assert isinstance(document, dict)
    return document


def rule_named(name: str, **settings: Any) -> dict[str, Any]:
    (group,) = rendered(alerts=True, **settings)["groups"]
    (rule,) = [rule for rule in group["rules"] if rule["uid"] == f"cvat-analytics-{name}"]
    assert isinstance(rule, dict)
    return rule


def sql_at(rule: dict[str, Any], at: datetime) -> str:
    """Return what the plugin makes of a rule's query; there is no browser to replace anything else."""
    query, _ = rule["data"]
    begin = at - timedelta(seconds=query["relativeTimeRange"]["from"])
    return expand(Query(rule["title"], query["model"]["rawSql"]), NO_DASHBOARD, TimeRange(begin, at))


def values_at(store: Store, name: str, at: datetime, **settings: Any) -> list[tuple[float, bool]]:
    """Return what a rule's query finds at a time, row by row, and whether Grafana's threshold is crossed."""
    rule = rule_named(name, **settings)
    rows = store.rows(sql_at(rule, at))
    (condition,) = rule["data"][1]["model"]["conditions"]
    (limit,) = condition["evaluator"]["params"]
    readings = []
    for row in rows:
        # Grafana makes an alert of each row of a table that has one number; texts become labels
        numbers = [value for value in row.values() if not isinstance(value, str)]
        # 64-bit integers stand in quotes in ClickHouse's JSON: by name
        numbers = numbers or [float(row[key]) for key in row if key not in ("disk",)]
        (number,) = numbers
        crossed = number > limit if condition["evaluator"]["type"] == "gt" else number < limit
        readings.append((float(number), crossed))
    return readings


def event_at(at: datetime, arrived: datetime | None = None, **changes: Any) -> dict[str, Any]:
    time = f"{at:%Y-%m-%d %H:%M:%S}.000"
    event = {"scope": "save:job", "source": "client", "timestamp": time, "user_id": 1, "duration": 0}
    return event | {"received_at": f"{arrived or at:%Y-%m-%d %H:%M:%S}"} | changes


def insert_rows(store: Store, table: str, rows: Sequence[dict[str, Any]]) -> None:
    body = "\n".join(json.dumps(row) for row in rows)
    columns = ", ".join(rows[0])
    store.post(
        f"INSERT INTO {table} ({columns}) SETTINGS insert_allow_materialized_columns = 1, date_time_input_format = 'best_effort' FORMAT JSONEachRow\n{body}"
    )


# Rendering
