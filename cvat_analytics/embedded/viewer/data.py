"""What the browser draws: the rows behind panels, filters and annotations, as plain data for JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.dashboards import Dashboard, Panel, Query, Variable, expand
from cvat_analytics.embedded.viewer.choice import Choice
from cvat_analytics.embedded.viewer.clickhouse import ClickHouse

_AT_ONCE = 4
"""Queries of one panel that run at the same time."""
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def panel(
    shown: Dashboard, asked_panel: Panel, made: Choice, points: int, clickhouse: ClickHouse
) -> dict[str, Any]:
    """Return a frame for each query of a panel that is `points` points wide.

    Raises InputError for a query that cannot be expanded, QueryError and UnreachableError from ClickHouse.
    """
    interval = max(
        made.range.interval(asked_panel.model.get("maxDataPoints") or points),
        _duration(asked_panel.model.get("interval")),
    )

    def frame(query: Query) -> dict[str, Any]:
        result = clickhouse.query(expand(query, shown, made.range, interval=interval, values=made.values))
        return {"refId": query.ref_id, "names": result.names, "kinds": result.kinds, "rows": result.rows}

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        frames = list(pool.map(frame, asked_panel.queries))
    return {"frames": frames, "interval": interval.total_seconds() * 1000}


def options(
    shown: Dashboard, variable: Variable, made: Choice, clickhouse: ClickHouse
) -> list[dict[str, str]]:
    """Return what can be chosen in a filter: value and text of each option. Raises as `panel` does."""
    if not variable.query:
        return []
    result = clickhouse.query(expand(variable.query, shown, made.range, values=made.values))
    # one column: value and text alike; two: value, then text (the plugin's convention)
    return [{"value": _text(row[0]), "text": _text(row[-1])} for row in result.rows]


def marks(shown: Dashboard, made: Choice, clickhouse: ClickHouse) -> list[dict[str, Any]]:
    """Return each annotation of a dashboard with its marks. Raises as `panel` does."""
    annotations = []
    for index, model in enumerate(annotation_models(shown)):
        sql = model.get("target", {}).get("rawSql", "")
        query = Query(f"dashboard {shown.title!r}, annotation {model.get('name')!r}", sql)
        result = clickhouse.query(expand(query, shown, made.range, values=made.values))
        rows = [dict(zip(map(str.lower, result.names), row, strict=True)) for row in result.rows]
        annotations.append({"index": index, "marks": rows})
    return annotations


def annotation_models(shown: Dashboard) -> Sequence[dict[str, Any]]:
    """Return the annotations that a dashboard's author has defined; Grafana's built-in one has no query."""
    models = shown.model.get("annotations", {}).get("list", [])
    return [model for model in models if not model.get("builtIn") and model.get("enable", True)]


def _duration(text: str | None) -> timedelta:
    """Return the smallest interval that a panel wants, such as `1m` or `>1m`. Raises InputError for anything else."""
    if not text:
        return timedelta()
    match = re.fullmatch(r">?(\d+)(ms|s|m|h|d|w)", text)
    if not match:
        raise InputError(
            Code.DASHBOARD_FILE,
            f"a panel's smallest interval is {text!r}: write a number and ms, s, m, h, d or w",
        )
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def _text(value: Any) -> str:
    return "" if value is None else str(value)
